"""What the service manager is told while we live: that the loop turns, and how we are."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, Protocol

from tlsidecar.control.interface import Problem, State
from tlsidecar.service_manager import READY, RELOADING, ServiceManager

STATUS_EVERY_S = 1.0
STATUS_CHARACTERS = 200


def watchdog_interval_s(environ: MutableMapping[str, str]) -> float | None:
    """Half of what ``WATCHDOG_USEC`` allows (sd_watchdog_enabled(3)), if it is meant for us; taken out."""
    allowed, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
    if not (allowed.isdecimal() and int(allowed)) or (pid and pid != str(os.getpid())):
        return None
    return int(allowed) / 2e6


def status_line(state: State, problems: Sequence[Problem]) -> str:
    """``STATUS=``: the state, and the worst problem, on one line."""
    if not problems:
        return f"STATUS={state.value}"
    worst = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    text = f"{state.value}: {worst.severity.value}: {worst.message}{more}"
    printable = "".join(character if character.isprintable() else " " for character in text)
    return f"STATUS={printable[:STATUS_CHARACTERS]}"


class Judged(Protocol):
    """See :class:`tlsidecar.control.interface.Control`."""

    @property
    def state(self) -> State: ...

    def problems(self) -> Sequence[Problem]: ...


async def tell_how_we_are(manager: ServiceManager, control: Judged, environ: MutableMapping[str, str]) -> None:
    """From the loop that serves: that it turns, as often as the watchdog wants to hear it, and how we are. Ends when
    nobody listens any more."""
    watchdog_s = watchdog_interval_s(environ)
    told_last = ""
    while manager.listens:
        problems = control.problems()  # first, for the state follows from them
        status = status_line(control.state, problems)
        if status != told_last:
            manager.tell(status)
            told_last = status
        if watchdog_s is not None:
            manager.tell("WATCHDOG=1")
        await asyncio.sleep(min(STATUS_EVERY_S, watchdog_s or STATUS_EVERY_S))


def reloading(manager: ServiceManager, reload: asyncio.Future[Any]) -> None:
    """As ``Type=notify-reload`` wants it: that it begins, with the time, and that it is over."""
    manager.tell(RELOADING, f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    reload.add_done_callback(lambda _: manager.tell(READY))
