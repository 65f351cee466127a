"""Leaving because of a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Protocol

from tui.reach.processes import Processes

_FAREWELL_S = 3.0
"""What the terminal gets to be put in order."""


class Ending(Protocol):
    """Who leaves; :class:`tui.app.Console` is it."""

    def exit(self, result: int) -> None: ...


def leave_on_signals(app: Ending, processes: Processes) -> None:
    """From now on, in the loop that runs. By default these end the process at once, with the terminal still in the
    hands of the console."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, leave, app, 128 + number, processes)


def leave(app: Ending, code: int, processes: Processes) -> None:
    """End with this code. Writing to a terminal that is gone can hang the toolkit's farewell for ever."""

    def at_once() -> None:
        processes.kill()
        os._exit(code)

    last_resort = threading.Timer(_FAREWELL_S, at_once)
    last_resort.daemon = True
    last_resort.start()
    app.exit(code)
