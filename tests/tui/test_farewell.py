"""A signal ends the console with its code, and the process even where the terminal takes nothing any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("way", ["ends", "hangs"])
def test_the_process_ends_with_the_signals_code(number: signal.Signals, way: str) -> None:
    with subprocess.Popen([sys.executable, "-c", _LEAVES, way], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.kill(process.pid, number)
        assert process.wait(30) == 128 + number
