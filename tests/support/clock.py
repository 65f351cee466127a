"""A loop's clock in hand, for what only asks a loop for the time and for timers."""

from __future__ import annotations

from collections.abc import Callable


class Timer:
    def __init__(self, at: float, act: Callable[[], object]) -> None:
        self.at = at
        self.act = act
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ClockLoop:
    """Stands for an event loop whose time moves when it is told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self._timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, act: Callable[..., object], *arguments: object) -> Timer:
        timer = Timer(at, lambda: act(*arguments))
        self._timers.append(timer)
        return timer

    def call_later(self, after_s: float, act: Callable[..., object], *arguments: object) -> Timer:
        return self.call_at(self.now + after_s, act, *arguments)

    def pass_s(self, seconds: float) -> None:
        """Let time pass, and what falls due happen in its order."""
        until = self.now + seconds
        while due := [timer for timer in self._timers if timer.at <= until and not timer.cancelled]:
            timer = min(due, key=lambda each: each.at)
            self._timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.act()
        self.now = until
