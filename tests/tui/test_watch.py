"""Which sidecars are asked again and again, and what becomes of that when one is left or a defect of ours ends it."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from textual.worker import WorkerState
from ui_clock import StillClock

from tui.client import AdminClient
from tui.monitor import Monitor
from tui.plan import Interest
from tui.reach.endpoints import SocketEndpoint
from tui.watch import Watch


@dataclass(eq=False)
class Task:
    group: str
    state: WorkerState = WorkerState.RUNNING

    def cancel(self) -> None:
        self.state = WorkerState.CANCELLED


@dataclass
class Runner:
    """Keeps what it was given to run, without running it."""

    tasks: list[Task] = field(default_factory=list)
    timers: list[Callable[[], None]] = field(default_factory=list)

    def run_worker(self, work: Coroutine[Any, Any, None], *, group: str, exit_on_error: bool) -> Any:
        assert not exit_on_error
        work.close()
        self.tasks.append(Task(group))
        return self.tasks[-1]

    def set_timer(self, delay: float, callback: Callable[[], None]) -> Any:
        assert delay > 0
        self.timers.append(callback)

    def running(self, group: str) -> int:
        return sum(task.group == group and task.state is WorkerState.RUNNING for task in self.tasks)

    def fail(self, watch: Watch, group: str) -> None:
        """The newest task of this group ends by a defect, and time passes."""
        task = next(each for each in reversed(self.tasks) if each.group == group)
        task.state = WorkerState.ERROR
        watch.on_failure(cast("Any", task))

    def time_passes(self) -> None:
        timers, self.timers = self.timers, []
        for callback in timers:
            callback()


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def watch(runner: Runner) -> Watch:
    return Watch(runner, lambda monitor: Interest(), lambda monitor: None)


def _monitor(name: str, clock: StillClock) -> Monitor:
    return Monitor(AdminClient(SocketEndpoint(Path("/nowhere", name))), clock, random.Random(1))


def test_those_that_come_are_asked_and_those_that_go_are_left(watch: Watch, runner: Runner, clock: StillClock) -> None:
    first, second, third = (_monitor(name, clock) for name in "abc")
    watch.keep_to([first, second])
    watch.keep_to([first, second])
    assert (runner.running("watch"), runner.running("closing")) == (2, 0)
    watch.keep_to([second, third])
    assert (runner.running("watch"), runner.running("closing")) == (2, 1)
    assert runner.tasks[0].state is WorkerState.CANCELLED


def test_a_defect_does_not_end_the_watching(watch: Watch, runner: Runner, clock: StillClock) -> None:
    watch.keep_to([_monitor("a", clock)])
    runner.fail(watch, "watch")
    assert runner.running("watch") == 0
    runner.time_passes()
    assert runner.running("watch") == 1


def test_what_was_left_meanwhile_is_not_taken_up_again(watch: Watch, runner: Runner, clock: StillClock) -> None:
    watch.keep_to([_monitor("a", clock)])
    runner.fail(watch, "watch")
    watch.keep_to([])
    runner.time_passes()
    assert runner.running("watch") == 0


def test_events_are_followed_once_and_after_a_defect(watch: Watch, runner: Runner, clock: StillClock) -> None:
    monitor = _monitor("a", clock)
    watch.follow_events(monitor, lambda: None, [])
    watch.follow_events(monitor, lambda: None, [])
    assert watch.follows_events
    assert runner.running("events") == 1
    runner.fail(watch, "events")
    runner.time_passes()
    assert runner.running("events") == 1
    watch.leave_events()
    assert runner.running("events") == 0
    assert not watch.follows_events


def test_events_that_were_left_stay_left(watch: Watch, runner: Runner, clock: StillClock) -> None:
    watch.follow_events(_monitor("a", clock), lambda: None, [])
    runner.fail(watch, "events")
    watch.leave_events()
    runner.time_passes()
    assert runner.running("events") == 0
