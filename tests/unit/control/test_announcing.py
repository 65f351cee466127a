"""What a service manager is told of our state."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

import pytest

from tlsidecar.control.announcing import STATUS_CHARACTERS, reloading, status_line, watchdog_interval_s
from tlsidecar.control.interface import Problem, Severity, State
from tlsidecar.service_manager import ServiceManager

SINCE = datetime(2030, 1, 1, tzinfo=UTC)


class Heard(ServiceManager):
    """Writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def tell(self, *words: str) -> None:
        self.words += words


def problem(message: str, severity: Severity = Severity.CRITICAL) -> Problem:
    return Problem(severity, "reload_refused", message, SINCE, "", "")


@pytest.mark.parametrize(
    ("variables", "interval_s"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_asked(variables: dict[str, str], interval_s: float | None) -> None:
    environ = dict(variables)
    assert watchdog_interval_s(environ) == interval_s
    assert environ == {}


def test_the_status_is_the_state_and_the_worst_problem() -> None:
    assert status_line(State.DEGRADED, []) == "STATUS=degraded"
    assert status_line(State.DEGRADED, [problem("no key")]) == "STATUS=degraded: critical: no key"
    two = [problem("no key"), problem("late", Severity.WARNING)]
    assert status_line(State.DEGRADED, two) == "STATUS=degraded: critical: no key (and 1 more)"


def test_a_hostile_message_stays_on_its_line() -> None:
    line = status_line(State.DEGRADED, [problem("a\nMAINPID=1\x1b[2J" + "x" * 1000)])
    assert line.startswith("STATUS=degraded: critical: a MAINPID=1 [2Jxxx")
    assert len(line) == len("STATUS=") + STATUS_CHARACTERS


async def test_a_reload_is_told_when_it_begins_and_when_it_is_over() -> None:
    manager = Heard()
    reload = asyncio.get_running_loop().create_future()
    reloading(manager, reload)
    begun, since = manager.words
    assert begun == "RELOADING=1"
    assert since.startswith("MONOTONIC_USEC=")
    assert int(since.partition("=")[2]) > 0
    reload.set_result(None)
    await asyncio.sleep(0)
    assert manager.words[2:] == ["READY=1"]
