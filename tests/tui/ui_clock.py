"""A clock that stands still."""

from __future__ import annotations

from datetime import datetime, timedelta

from ui_world import NOW


class StillClock:
    """Moves only when told to."""

    def __init__(self) -> None:
        self.wall = NOW
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def move(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds
