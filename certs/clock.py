"""The one place that reads the system's clocks; everything else takes a :class:`Clock` as a parameter."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Wall and monotonic time. The wall clock may jump; the monotonic one never goes back."""

    def now(self) -> datetime:
        """The wall clock: an aware datetime in UTC."""
        ...

    def timestamp(self) -> float:
        """The wall clock as POSIX seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        ...


class SystemClock:
    """The machine's own clocks."""

    # Functions of C itself: some of those who ask do so for each connection.
    now = staticmethod(partial(datetime.now, UTC))  # noqa: TID251 - this is the one file that may
    timestamp = staticmethod(time.time)  # noqa: TID251 - as above
    monotonic = staticmethod(time.monotonic)


SYSTEM_CLOCK = SystemClock()
