"""Counters of whatever is charted, turned into steps; and the busiest of many, a bounded number of them.

A track is what is kept of one listener, one upstream or one identity: the last two minutes second by second, the last
two hours in steps of ten seconds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping

from tlsidecar.control.series import Ring, Sums

FINE_STEP_S = 1
FINE_SPAN_S = 120
COARSE_STEP_S = 10
COARSE_SPAN_S = 7200

_RANKED_EVERY_S = 10
_KEPT_OF_SCORE = 0.98  # at each ranking: half of it is gone after six minutes
_MARGIN = 2  # who did so many times as much takes another's place

# Which counter: of which process, say. A new one begins at nothing.
Source = Hashable


class Track:
    """What is kept of one."""

    def __init__(self, second: int, shift: int = 0) -> None:
        """Counted from ``second`` on."""
        self.began = second
        self.fine = Ring(FINE_STEP_S, FINE_SPAN_S, shift)
        self.coarse = Ring(COARSE_STEP_S, COARSE_SPAN_S // COARSE_STEP_S + 1, shift)
        self._counted: Mapping[Source, Sums] = {}
        self._second = second  # up to which it is counted

    def __repr__(self) -> str:
        return f"<Track from {self.began} to {self._second}>"

    @property
    def bytes_kept(self) -> int:
        return self.fine.bytes_kept + self.coarse.bytes_kept

    def take(self, second: int, counted: Mapping[Source, Sums]) -> None:
        """The counters as they are at the beginning of ``second``."""
        passed = second - self._second
        if passed <= 0:
            return
        grown = Sums()
        for source, sums in counted.items():
            grown.beside(sums.since(self._counted.get(source) or Sums()))
        shares = grown.shares(min(passed, COARSE_SPAN_S))
        for number, happened in enumerate(shares, second - len(shares)):
            self.fine.add(number, happened)
            self.coarse.add(number, happened)
        self._counted, self._second = counted, second

    def begin_with(self, counted: Mapping[Source, Sums]) -> None:
        """What was counted by now does not belong to it."""
        self._counted = counted


class Busiest:
    """Tracks of the ``most`` that do most. Who comes later and does more takes the place of who did least: its track
    begins then, and the other's is no more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tracks: dict[str, Track] = {}
        self._names: dict[str, str] = {}
        self._done: dict[str, float] = {}  # by the last look
        self._score: dict[str, float] = {}
        self._ranked = 0
        self._made = 0

    def __repr__(self) -> str:
        return f"<Busiest {len(self._tracks)} of {len(self._done)}>"

    def __iter__(self) -> Iterator[tuple[str, str, Track]]:
        """Key, name and track of each, the busiest first."""
        for key in sorted(self._tracks, key=lambda key: -self._score[key]):
            yield key, self._names[key], self._tracks[key]

    def observe(
        self, until: int, second: int, counted: Mapping[str, Mapping[Source, Sums]], names: Mapping[str, str]
    ) -> None:
        """The counters of each at the beginning of ``second``; the last look was at that of ``until``."""
        for key, sources in counted.items():
            done = sum(sums.done for sums in sources.values())
            self._score[key] = self._score.get(key, 0.0) + max(0.0, done - self._done.get(key, 0.0))
            self._done[key] = done
            if key not in self._tracks and len(self._tracks) < self._most:
                self._begin(key, until)
        self._names.update(names)
        for key, track in self._tracks.items():
            track.take(second, counted.get(key, {}))
        if second - self._ranked >= _RANKED_EVERY_S:
            self._ranked = second
            self._rank(second, counted)

    def _begin(self, key: str, second: int) -> Track:
        self._made += 1
        track = self._tracks[key] = Track(second, shift=7 * self._made)
        return track

    def _rank(self, second: int, counted: Mapping[str, Mapping[Source, Sums]]) -> None:
        waiting = sorted((key for key in counted if key not in self._tracks), key=lambda key: -self._score[key])
        for key in waiting:
            least = min(self._tracks, key=lambda key: self._score[key])
            if self._score[key] <= _MARGIN * self._score[least]:
                break
            del self._tracks[least]
            self._begin(key, second).begin_with(counted[key])
        self._score = {
            key: score * _KEPT_OF_SCORE
            for key, score in self._score.items()
            if key in counted or (key in self._tracks and score > _FORGOTTEN)
        }
        known = self._score.keys()
        for table in (self._tracks, self._names, self._done):
            for key in [key for key in table if key not in known]:
                del table[key]


# A track of one that is gone goes when hardly anything of its score is left: after two hours or more.
_FORGOTTEN = 1e-6
