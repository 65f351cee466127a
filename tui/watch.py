"""The tasks behind the screens: each sidecar is asked again and again, and of the one shown the events are followed
where they are looked at."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from textual.timer import Timer
from textual.worker import Worker, WorkerState

from tui.monitor import Monitor
from tui.plan import Interest

_RESTART_S = 2.0

_STAGGER_S = 0.005
"""Between the first looks at two sidecars: hundreds at one moment would hold up the keys."""


class Runner(Protocol):
    """Who runs the tasks; :class:`tui.app.Console` is it."""

    def run_worker(self, work: Coroutine[Any, Any, None], *, group: str, exit_on_error: bool) -> Worker[None]: ...

    def set_timer(self, delay: float, callback: Callable[[], None]) -> Timer: ...


class Watch:
    """``interest`` says what is looked at of a sidecar; ``told`` is called whenever one was asked."""

    def __init__(
        self, runner: Runner, interest: Callable[[Monitor], Interest], told: Callable[[Monitor], None]
    ) -> None:
        self._runner = runner
        self._interest = interest
        self._told = told
        self._tasks: dict[Monitor, Worker[None]] = {}
        self._events: Worker[None] | None = None
        self._subscribe: Callable[[], None] | None = None  # once more to what is followed

    @property
    def follows_events(self) -> bool:
        return self._events is not None

    def keep_to(self, monitors: Sequence[Monitor]) -> None:
        """Begin with those that are new, and leave those that are gone."""
        for gone in [each for each in self._tasks if each not in monitors]:
            self._tasks.pop(gone).cancel()
            self._runner.run_worker(gone.client.close(), group="closing", exit_on_error=False)
        for number, monitor in enumerate([each for each in monitors if each not in self._tasks]):
            self._begin(monitor, number * _STAGGER_S)

    def _begin(self, monitor: Monitor, delay_s: float = 0.0) -> None:
        task = monitor.watch(lambda: self._interest(monitor), lambda: self._told(monitor), delay_s)
        self._tasks[monitor] = self._runner.run_worker(task, group="watch", exit_on_error=False)

    def follow_events(self, monitor: Monitor, came: Callable[[], None], hidden: Sequence[str]) -> None:
        """Follow what happens there, but for the kinds ``hidden``; nothing where that is done already."""
        if self._events is not None:
            return

        def subscribe() -> None:
            task = monitor.follow_events(came, hidden)
            self._events = self._runner.run_worker(task, group="events", exit_on_error=False)

        self._subscribe = subscribe
        subscribe()

    def leave_events(self) -> None:
        task, self._events, self._subscribe = self._events, None, None
        if task is not None:
            task.cancel()

    def on_failure(self, task: Worker[object]) -> None:
        """A task ended by a defect of ours: unless it is left meanwhile, the watching goes on after a while."""
        assert task.state is WorkerState.ERROR

        def again() -> None:
            if task is self._events and self._subscribe is not None:
                self._subscribe()
            for monitor in [each for each, watch in self._tasks.items() if watch is task]:
                self._begin(monitor)

        self._runner.set_timer(_RESTART_S, again)
