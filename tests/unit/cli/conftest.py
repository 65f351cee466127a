"""The real command line against a real admin server before a controller in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from unit.admin.fake_control import FakeControl

from tlsidecar.admin.server import AdminServer
from tlsidecar.cli.root import root
from tlsidecar.settings import Admin

COMMAND_S = 60


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def tlsidecar(*arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
    """One command in this process: all of it but the interpreter's start."""
    with contextlib.chdir(cwd or Path.cwd()):
        result = CliRunner().invoke(root, [*map(str, arguments)], env=env, prog_name="tlsidecar")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def tlsidecar_process(*arguments: str | Path, env: dict[str, str] | None = None) -> Done:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tlsidecar", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Served:
    """An admin server on a loop in a thread of its own, and its socket."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "run" / "admin.sock"
        self.control = FakeControl(Admin(socket=self.socket))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = AdminServer(self.control, self.control.settings.admin)
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(10)

    def end(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.run_until_complete(_finished())
        self._loop.close()

    def soon(self, callback: Callable[..., object], *arguments: object) -> None:
        """Call on the server's loop, where everything of the controller lives."""
        self._loop.call_soon_threadsafe(callback, *arguments)

    def run(self, command: str, *arguments: str | Path) -> Done:
        return tlsidecar(command, "--socket", self.socket, *arguments)


async def _finished() -> None:
    """What the loop was still to do, so that no socket is left to the garbage collector."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # transports that were closed close their sockets a turn later


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.end()
