"""Moving about in a recording: what the keys of a replay do to its playback and to the models that watch it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from tlsidecar.api.decode import decoded
from tlsidecar.api.history import History
from tlsidecar.api.recording import Track
from tui.amounts import clock_time
from tui.monitor import Monitor
from tui.plan import Interest
from tui.replay.playback import Playback
from tui.replay.source import ReplayEndpoint
from tui.text import SafeText

_WARM_UP_S = 10.0
"""How long before a moment one begins, so that there is something to compare its totals with."""

_AT_A_MARK_S = 0.5
"""So near to a mark one is at it, and not before or after."""


class Player:
    """The controls of one playback."""

    def __init__(self, playback: Playback) -> None:
        self.playback = playback

    @property
    def label(self) -> SafeText:
        """For the first row: ``REPLAY 23:15:07Z 2x``."""
        playback = self.playback
        state = "paused" if playback.is_paused else "end" if playback.is_over else f"{playback.speed:g}x"
        return SafeText(f"REPLAY {clock_time(playback.now())} {state}")

    async def seek(self, t: float, monitors: Iterable[Monitor], interest: Callable[[Monitor], Interest]) -> None:
        """To the moment ``t``: the models forget what they know, and learn what was known then."""
        playback = self.playback
        t = min(max(t, playback.recording.start_s), playback.recording.end_s)
        watched = list(monitors)
        for monitor in watched:
            monitor.model.rewind()
        for moment in (t - _WARM_UP_S, t):
            playback.seek(moment)
            for monitor in watched:
                await monitor.poll(interest(monitor))

    def mark(self, direction: int, monitor: Monitor) -> float | None:
        """Where the next reload or problem of this sidecar is, or the one before; None where there is none."""
        endpoint = monitor.client.endpoint
        moments = self._marks(endpoint.answers.track) if isinstance(endpoint, ReplayEndpoint) else []
        here = self.playback.t
        if direction > 0:
            return next((t for t in moments if t > here + _AT_A_MARK_S), None)
        return next((t for t in reversed(moments) if t < here - _AT_A_MARK_S), None)

    def _marks(self, track: Track) -> Sequence[float]:
        """In seconds since the beginning."""
        recording = self.playback.recording
        told = (track.reply(target, recording.end_s) for target in track.targets("/v1/history"))
        marks = [mark for each in told if each is not None for mark in decoded(History[SafeText], each[1]).marks]
        found = {(mark.at - recording.at) / timedelta(seconds=1) for mark in marks if mark.at is not None}
        return sorted(t for t in found if 0 <= t <= recording.end_s)
