"""What a service manager is told of our state."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime

import pytest

from tlsidecar.control.announcing import (
    STATUS_CHARACTERS,
    reloading,
    status_line,
    tell_how_we_are,
    watchdog_interval_s,
)
from tlsidecar.control.interface import Problem, Severity, State
from tlsidecar.service_manager import ServiceManager

SINCE = datetime(2030, 1, 1, tzinfo=UTC)


class Heard(ServiceManager):
    """Writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.is_there = True

    @property
    def listens(self) -> bool:
        return self.is_there

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


class Judged:
    """Whose state follows from its problems, when it is asked for them."""

    def __init__(self) -> None:
        self.state = State.READY
        self.found: list[Problem] = []

    def problems(self) -> list[Problem]:
        self.state = State.DEGRADED if self.found else State.READY
        return self.found


@pytest.mark.leaps
async def test_changes_are_told_once_and_the_watchdog_hears_of_every_turn() -> None:
    manager, control = Heard(), Judged()
    telling = asyncio.get_running_loop().create_task(tell_how_we_are(manager, control, {"WATCHDOG_USEC": "1000000"}))
    await asyncio.sleep(1.1)
    assert manager.words == ["STATUS=ready", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]
    manager.words.clear()
    control.found = [problem("web: down")]
    await asyncio.sleep(0.5)
    assert manager.words == ["STATUS=degraded: critical: web: down", "WATCHDOG=1"], "the state that follows from it"
    manager.is_there = False
    await asyncio.wait_for(telling, 5)


@pytest.mark.leaps
async def test_without_a_watchdog_only_changes_are_told() -> None:
    manager, control = Heard(), Judged()
    telling = asyncio.get_running_loop().create_task(tell_how_we_are(manager, control, {}))
    await asyncio.sleep(3.5)
    control.found = [problem("web: down")]
    await asyncio.sleep(1)
    control.found = []
    await asyncio.sleep(1)
    assert manager.words == ["STATUS=ready", "STATUS=degraded: critical: web: down", "STATUS=ready"]
    telling.cancel()
