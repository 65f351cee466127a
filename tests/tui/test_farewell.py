"""A signal ends the console with its code, and the process even where the terminal takes nothing any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import ClassVar

import pytest

from tui.farewell import leave
from tui.reach.processes import Processes

_LEAVES = """
import asyncio, os, signal, sys
import tui.farewell as farewell
from tui.reach.processes import Processes

class App:
    def __init__(self): self.code = asyncio.get_running_loop().create_future()
    def exit(self, result): self.code.set_result(result)

async def main(hangs):
    app = App()
    farewell._FAREWELL_S = 0.2
    farewell.leave_on_signals(app, Processes())
    print("ready", flush=True)
    code = await app.code
    if hangs:
        signal.pause()
    os._exit(code)

asyncio.run(main(sys.argv[1] == "hangs"))
"""


class App:
    def __init__(self) -> None:
        self.codes: list[int] = []

    def exit(self, result: int) -> None:
        self.codes.append(result)


class Timer:
    """Whose time never comes by itself."""

    made: ClassVar[list[Timer]] = []

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self.seconds, self.call, self.daemon, self.is_started = seconds, call, False, False
        self.made.append(self)

    def start(self) -> None:
        self.is_started = True


def test_it_is_asked_to_end_and_has_so_long_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[object] = []
    monkeypatch.setattr("tui.farewell.threading.Timer", Timer)
    monkeypatch.setattr("tui.farewell.os._exit", ended.append)
    app, processes = App(), Processes()
    monkeypatch.setattr(processes, "kill", lambda: ended.append("killed"))
    leave(app, 143, processes)
    assert (app.codes, ended) == ([143], [])
    timer = Timer.made.pop()
    assert (timer.seconds, timer.daemon, timer.is_started) == (3.0, True, True)
    timer.call()
    assert ended == ["killed", 143], "what it started must not outlive it"


@pytest.mark.parametrize(("number", "way"), [(signal.SIGTERM, "ends"), (signal.SIGHUP, "hangs")])
def test_the_process_ends_with_the_signals_code(number: signal.Signals, way: str) -> None:
    with subprocess.Popen([sys.executable, "-c", _LEAVES, way], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, number)
        assert process.wait(30) == 128 + number
