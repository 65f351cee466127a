"""What two sidecars cannot share: there while one serves, and let go of for whoever takes over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from unit.admin.fake_control import FakeControl
from unit.admin.transcript import Wire

from tlsidecar.admin.server import AdminServer, AdminSocketError
from tlsidecar.entrances import Entrances
from tlsidecar.handover import Successor, handover_path
from tlsidecar.settings import Admin


class Control(FakeControl):
    """With what a controller has to be told to end."""

    def __init__(self, admin: Admin) -> None:
        super().__init__(admin)
        self.stopping = asyncio.Event()


class Running:
    """Entrances before a controller in memory, with one socket that listens."""

    def __init__(self, directory: Path) -> None:
        self.admin = Admin(socket=directory / "run" / "admin.sock")
        self.control = Control(self.admin)
        (listener,) = self.control.settings.listeners
        self.bound = {listener.name: [socket.create_server(("127.0.0.1", 0))]}
        server = AdminServer(self.control, self.admin)
        self.entrances = Entrances(self.control, server, self.control.settings, self.bound)  # type: ignore[arg-type] - of a controller it knows this much

    def files(self) -> set[str]:
        return {path.name for path in self.admin.socket.parent.iterdir() if path.is_socket()}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    running = Running(tmp_path)
    yield running
    await running.entrances.close()
    for sockets in running.bound.values():
        for sock in sockets:
            sock.close()


async def test_they_are_there_from_open_to_close(running: Running) -> None:
    assert repr(running.entrances).endswith("closed>")
    await running.entrances.open()
    assert repr(running.entrances).endswith("open>")
    assert running.files() == {"admin.sock", "admin.take"}
    assert (await Wire(running.admin.socket).get("/healthz")).status == 200
    for _ in range(2):
        await running.entrances.close()
        assert running.files() == set()
    assert not running.entrances.handed_over
    assert not running.control.stopping.is_set()


async def test_a_socket_that_is_taken_leaves_nothing_behind(running: Running, tmp_path: Path) -> None:
    await running.entrances.open()
    second = Running(tmp_path)
    with contextlib.closing(second.bound["web"][0]), pytest.raises(AdminSocketError, match="another tlsidecar"):
        await second.entrances.open()
    await second.entrances.close()
    assert running.files() == {"admin.sock", "admin.take"}, "the first one's are still there"


async def test_whoever_takes_over_has_them_to_itself(running: Running) -> None:
    """The admin socket is free before the successor is told that it is alone, and then the end begins."""
    await running.entrances.open()
    waiting = asyncio.create_task(running.entrances.wait_for_successor())
    successor = await asyncio.to_thread(Successor.call, handover_path(running.admin.socket))
    assert successor is not None
    taken = await asyncio.to_thread(successor.sockets, running.control.settings.listeners)
    with contextlib.closing(taken.get("web", running.bound["web"])[0]):
        await successor.take()
        assert running.files() == set()
        async with asyncio.timeout(10):
            await waiting
    assert running.entrances.handed_over
    assert running.control.stopping.is_set()
    assert repr(running.entrances).endswith("handed over>")
