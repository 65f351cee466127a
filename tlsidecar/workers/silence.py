"""For how long a worker's event loop has not been seen to turn. Pure: seconds in, seconds out."""

from __future__ import annotations


class Silence:
    """``seconds`` since the worker's last beat, as far as this process was awake to see it."""

    def __init__(self, now: float) -> None:
        self.seconds = 0.0
        self._beat = 0.0
        self._looked_at = now

    def look(self, now: float, beat: float, tick_s: float) -> float:
        """The worker beat last at ``beat``, and is looked at every ``tick_s`` or so; all in monotonic seconds."""
        if beat == self._beat:
            # No more than two ticks: when all of us were stopped (a frozen container), nobody has stood still.
            self.seconds += min(now - self._looked_at, 2 * tick_s)
        else:
            self.seconds = 0.0
        self._beat, self._looked_at = beat, now
        return self.seconds
