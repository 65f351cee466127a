"""A real admin server on a real socket, before a controller in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from unit.admin.fake_control import FakeControl
from unit.admin.transcript import Wire

from tlsidecar.admin.server import AdminServer
from tlsidecar.observe.audit import AuditLog
from tlsidecar.observe.sink import LineSink
from tlsidecar.settings import Address, Admin


@dataclass
class Served:
    """The server, what it serves, and how to talk to it."""

    control: FakeControl
    server: AdminServer
    socket: Path
    view_socket: Path
    sink: LineSink

    def wire(self, path: Path | None = None) -> Wire:
        return Wire(path or self.socket)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    admin = Admin(
        socket=tmp_path / "run" / "admin.sock",
        view_socket=tmp_path / "view" / "view.sock",
        http=Address(host="127.0.0.1", port=0),
    )
    control = FakeControl(admin)
    sink = LineSink.file(tmp_path / "log")
    server = AdminServer(control, admin, AuditLog(control.clock, sink))
    await server.start()
    assert admin.view_socket is not None
    yield Served(control, server, admin.socket, admin.view_socket, sink)
    await server.close()
    sink.close()
    assert not admin.socket.exists()


@pytest.fixture
def private_directory(tmp_path: Path) -> Callable[[], Path]:
    def make() -> Path:
        path = tmp_path / "run"
        path.mkdir(mode=0o700)
        return path

    return make
