"""Moving about in a recording: what the keys of a replay do to its playback and to the models that watch it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from tlsidecar.api.decode import decoded
from tlsidecar.api.history import History
from tui.amounts import clock_time
from tui.model import Model
from tui.monitor import Monitor
from tui.plan import Interest
from tui.replay.playback import Playback
from tui.text import SafeText

_WARM_UP_S = 10.0
"""How long before a moment one begins, so that there is something to compare its totals with."""


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

    def mark(self, direction: int, model: Model) -> float | None:
        """Where the next reload or problem is, or the one before; None where there is none."""
        moments = self._marks(model)
        here = self.playback.t
        if direction > 0:
            return next((t for t in moments if t > here + 0.5), None)
        return next((t for t in reversed(moments) if t < here - 0.5), None)

    def _marks(self, model: Model) -> Sequence[float]:
        """Of the sidecar shown, in seconds since the beginning."""
        recording = self.playback.recording
        found = set()
        for track in recording.tracks.values():
            if len(recording.tracks) > 1 and str(model.socket) != track.name:
                continue
            told = [track.reply(target, recording.end_s) for target in track.targets("/v1/history")]
            for _, reply in (each for each in told if each is not None):
                for mark in decoded(History[SafeText], reply).marks:
                    if mark.at is not None:
                        found.add((mark.at - recording.at) / timedelta(seconds=1))
        return sorted(t for t in found if 0 <= t <= recording.end_s)
