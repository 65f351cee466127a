"""When a worker that ended is started again. Pure: seconds in, seconds out."""

from __future__ import annotations

from collections import deque

# Long enough for a worker to count as well again; so many ends within the window are a crash loop.
WELL_AFTER_S = 10.0
LOOP_WINDOW_S = 60.0
LOOP_ENDS = 5

FIRST_DELAY_S = 0.1
SLOW_DELAY_S = 10.0


class Restarts:
    """How long to wait before one worker's next start: not at all after a single end, ever longer when it does not stay
    up, and with the breaker open a long time."""

    def __init__(self) -> None:
        self._ends: deque[float] = deque(maxlen=LOOP_ENDS)
        self._short_lives = 0
        self.total = 0
        self.is_looping = False

    def __repr__(self) -> str:
        return f"<Restarts total={self.total} short_lives={self._short_lives} looping={self.is_looping}>"

    def ended(self, now: float, lived_s: float) -> float:
        """It ended at ``now`` (monotonic seconds); how long to wait."""
        self.total += 1
        self._short_lives = 0 if lived_s >= WELL_AFTER_S else self._short_lives + 1
        self._ends.append(now)
        full = len(self._ends) == LOOP_ENDS and now - self._ends[0] <= LOOP_WINDOW_S
        self.is_looping = full and bool(self._short_lives)
        if self.is_looping:
            return SLOW_DELAY_S
        return FIRST_DELAY_S * 2 ** (self._short_lives - 2) if self._short_lives > 1 else 0.0

    def well(self) -> None:
        """It has been up for WELL_AFTER_S."""
        self._short_lives = 0
        self.is_looping = False
        self._ends.clear()
