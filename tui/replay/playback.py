"""Where in a recording one is: a clock that runs, stands still, jumps, and goes faster."""

from __future__ import annotations

from datetime import datetime

from tlsidecar.api.recording import Recording
from tui.clock import SYSTEM_CLOCK, Clock

SPEEDS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)

_BEFORE_S = 100_000.0
"""What the recording's monotonic clock shows at its beginning: later than any age that is reckoned with."""


class Playback:
    """The time within ``recording``, as a :class:`~tui.clock.Clock`: from its first status to its end."""

    def __init__(
        self,
        recording: Recording,
        real: Clock = SYSTEM_CLOCK,
        *,
        at_end: bool = False,
        at_s: float | None = None,
        speed: float = 1.0,
    ) -> None:
        """It begins at the second ``at_s``, else at the beginning or the end."""
        assert speed in SPEEDS
        self.recording = recording
        self.speed = speed
        self.is_paused = False
        self._real = real
        otherwise = recording.end_s if at_end else recording.start_s
        self._from = otherwise if at_s is None else at_s  # where it was at the real moment below
        self._since = real.monotonic()

    def __repr__(self) -> str:
        return f"<Playback {self.t:.1f} of {self.recording.end_s:.1f}s at {self.speed:g}x>"

    @property
    def t(self) -> float:
        """Seconds since the beginning."""
        passed = 0.0 if self.is_paused else (self._real.monotonic() - self._since) * self.speed
        return min(self._from + passed, self.recording.end_s)

    @property
    def is_over(self) -> bool:
        return self.t >= self.recording.end_s

    def seek(self, t: float) -> None:
        """To this moment, or the nearest there is."""
        self._from = max(self.recording.start_s, min(t, self.recording.end_s))
        self._since = self._real.monotonic()

    def pause(self, paused: bool) -> None:
        self.seek(self.t)
        self.is_paused = paused

    def faster(self, steps: int) -> None:
        """The next speed, or the one before."""
        self.seek(self.t)
        index = SPEEDS.index(self.speed) + steps
        self.speed = SPEEDS[max(0, min(index, len(SPEEDS) - 1))]

    # The clock.

    def now(self) -> datetime:
        return self.recording.wall(self.t)

    def monotonic(self) -> float:
        return _BEFORE_S + self.t
