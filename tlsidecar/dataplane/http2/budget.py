"""What a peer may do that costs us something and serves nobody: so much at once, and so much a second."""

from __future__ import annotations

from typing import Final

from tlsidecar.dataplane.http2.errors import Flood

# So many at once, and so many a second.
RESETS: Final = (200, 20)
IDLE_FRAMES: Final = (1000, 100)  # those that carry nothing
SWALLOWED_FRAMES: Final = (10_000, 1000)  # DATA for streams that have ended: as much as was under way, and no more


class Budget:
    """``burst`` at once and ``rate`` a second of what ``what`` names. Time is the caller's, in seconds.

    It is looked at only when the burst is used up, which makes spending cheap: after a pause twice the burst may go by.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate", "_what")

    def __init__(self, burst: int, rate: int, what: str, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._what = what
        self._left = float(burst)
        self._at = now

    def __repr__(self) -> str:
        return f"<Budget {self._what} {self._left:.0f} of {self._burst}>"

    def spend(self, now: float) -> None:
        """One more. Raises :class:`Flood`."""
        self._left -= 1
        if self._left < 0:
            self._left = min(float(self._burst), self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 0:
                raise Flood(f"too many {self._what}")


class Budgets:
    """Those of one side of a connection, beginning at ``now``."""

    __slots__ = ("idle", "resets", "swallowed")

    def __init__(self, now: float) -> None:
        self.resets = Budget(*RESETS, "resets", now)
        self.idle = Budget(*IDLE_FRAMES, "frames that carry nothing", now)
        self.swallowed = Budget(*SWALLOWED_FRAMES, "DATA frames for streams that have ended", now)
