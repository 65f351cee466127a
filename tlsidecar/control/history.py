"""The last two hours: what happened on each listener, at each upstream and for the busiest identities, and when
something was reloaded or went wrong.

Once a second the counters that the workers keep anyway are looked at, and what they grew by is kept
(:mod:`tlsidecar.control.tracks`): a few hundred KB of it, one megabyte at the very most for one listener. The data
plane knows nothing of it. Seconds are counted on the monotonic clock, so that a wall clock that jumps tears no hole;
what is told is on the wall clock of the moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from certs.clock import Clock
from tlsidecar.api.problems import Problem
from tlsidecar.api.words import Severity
from tlsidecar.control.series import Ring, Sums
from tlsidecar.control.tracks import (
    COARSE_SPAN_S,
    COARSE_STEP_S,
    FINE_SPAN_S,
    FINE_STEP_S,
    Busiest,
    Source,
    Track,
)
from tlsidecar.dataplane.snapshot import WorkerSnapshot, merge_listeners
from tlsidecar.lazy_dataclass import dataclass

# Upstreams and identities that are kept, the busiest: of the others nothing is known but that they are part of all.
MOST_UPSTREAMS = 6
MOST_IDENTITIES = 10

# Steps that make up the last minute, the one that is being filled included.
_LATELY_STEPS = 60 // COARSE_STEP_S

# Beginnings and ends of problems that are kept.
KEPT_MARKS = 500
_MESSAGE_CHARACTERS = 200

# A look so soon after another one would find no second that is over.
_LEAST_PAUSE_S = 0.2


class TooFine(ValueError):
    """Steps are asked for that are shorter than what is kept of so long ago. The text is for who asked."""


@dataclass(frozen=True, slots=True)
class ProblemMark:
    """A problem began, or was over."""

    at: datetime
    over: bool
    severity: Severity
    code: str
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class Charted:
    """An upstream or an identity that is kept, ``since`` when."""

    key: str
    name: str
    since: datetime
    ring: Ring


@dataclass(frozen=True, slots=True)
class Window:
    """What happened from ``since`` to ``until``, in ``steps`` steps of ``step_s`` seconds, of which the first begins at
    ``first_at``."""

    first_at: datetime
    since: datetime
    until: datetime
    step_s: int
    steps: int
    _first: int  # the number of the first step
    _rings: Mapping[str, Ring]
    upstreams: Sequence[Charted]
    identities: Sequence[Charted]  # both: the busiest first

    @property
    def listeners(self) -> Sequence[str]:
        return tuple(self._rings)

    def of(self, listener: str) -> Sequence[Sums]:
        """The steps of one listener. Two hours of them take milliseconds: let the loop turn between two."""
        return self.steps_of(self._rings[listener])

    def steps_of(self, ring: Ring) -> Sequence[Sums]:
        """The same of an upstream or an identity."""
        each = self.step_s // ring.step_s
        return ring.spans(self._first * each, each, self.steps)


class History:
    """All listeners; shown the workers' counters every second, and the problems as they are judged."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_s = clock.now().timestamp() - clock.monotonic()  # of the wall clock, as it was when we began
        self._began = int(self._position())
        self._until = self._began
        self._tracks: dict[str, Track] = {}
        self._upstreams = Busiest(MOST_UPSTREAMS)
        self._identities = Busiest(MOST_IDENTITIES)
        self._present: dict[str, Problem[str]] = {}
        self._marks: deque[ProblemMark] = deque(maxlen=KEPT_MARKS)

    def __repr__(self) -> str:
        return f"<History of {self._until - self._began}s, {len(self._marks)} marks>"

    def _position(self) -> float:
        """Seconds since 1970, by a clock that does not jump."""
        return self._clock.monotonic() + self._ahead_s

    def _second(self) -> int:
        """The second that begins now: a timer may be a little early."""
        return round(self._position())

    def _wall(self, position: float) -> datetime:
        """On the wall clock as it is now."""
        jumped_s = round(self._clock.now().timestamp() - self._position())
        return datetime.fromtimestamp(position + jumped_s, UTC)

    def due_in_s(self) -> float:
        """Until the next second begins, and its counters are to be looked at."""
        left_s = 1.0 - self._position() % 1.0
        return left_s if left_s >= _LEAST_PAUSE_S else left_s + 1.0

    def observe(self, snapshots: Sequence[WorkerSnapshot]) -> None:
        """The counters of now. Those of a second between two looks are its share of what they grew by."""
        second = self._second()
        for name, counters in merge_listeners(snapshots).items():
            if name not in self._tracks:
                self._tracks[name] = Track(self._until, shift=len(self._tracks))
            self._tracks[name].take(second, {"": Sums.of(counters)})
        if second > self._until:
            self._observe_peers(second, snapshots)
            self._until = second

    def _observe_peers(self, second: int, snapshots: Sequence[WorkerSnapshot]) -> None:
        """Upstreams, by their address, and identities, on whichever listeners and in whichever workers."""
        upstreams: dict[str, dict[Source, Sums]] = {}
        identities: dict[str, dict[Source, Sums]] = {}
        names: dict[str, str] = {}
        for snapshot in snapshots:
            for record in snapshot.listeners:
                source = (snapshot.worker, snapshot.pid, record.name)
                for upstream in record.upstreams:
                    upstreams.setdefault(upstream.address, {})[source] = Sums.of(upstream.traffic)
                for party in record.parties:
                    identities.setdefault(party.key, {})[*source, party.number] = Sums.of(party.traffic)
                    names[party.key] = party.name
        self._upstreams.observe(self._until, second, upstreams, {address: address for address in upstreams})
        self._identities.observe(self._until, second, identities, names)

    @property
    def bytes_kept(self) -> int:
        """Roughly what the rings take, without the steps that are being filled."""
        peers = [track for busiest in (self._upstreams, self._identities) for _, _, track in busiest]
        return sum(track.bytes_kept for track in (*self._tracks.values(), *peers))

    def note(self, problems: Sequence[Problem[str]]) -> None:
        """The problems of now: what is new among them began, what is missing is over."""
        now = self._clock.now()
        present = {problem.key: problem for problem in problems}
        for key, problem in present.items():
            if key not in self._present:
                began = self._wall(self._began)
                since = problem.since if problem.since is not None and began <= problem.since <= now else now
                self._marks.append(_mark(problem, since, over=False))
        for key, problem in self._present.items():
            if key not in present:
                self._marks.append(_mark(problem, now, over=True))
        self._present = present

    def marks(self, since: datetime) -> Sequence[ProblemMark]:
        """Where problems began and were over since then, the oldest first."""
        return sorted((mark for mark in self._marks if mark.at >= since), key=lambda mark: mark.at)

    def lately(self, listener: str) -> Sums:
        """What happened on it in the last minute, or up to ten seconds less."""
        track = self._tracks.get(listener)
        beyond = self._until // COARSE_STEP_S + 1
        return Sums() if track is None else track.coarse.joined(beyond - _LATELY_STEPS, beyond)

    def window(self, since: datetime, step_s: int) -> Window:
        """What happened since then, or since as long ago as is kept, in steps of so many seconds; of more where
        what is kept has longer ones. Raises :class:`TooFine`."""
        now = self._clock.now()
        age_s = (now - since).total_seconds()
        is_recent = age_s < FINE_SPAN_S + 1  # asking takes a moment
        if step_s < COARSE_STEP_S and not is_recent:
            raise TooFine(f"step is {COARSE_STEP_S}s at least for more than the last {FINE_SPAN_S}s")
        kept_s = FINE_SPAN_S if is_recent else COARSE_SPAN_S
        grain_s = FINE_STEP_S if is_recent else COARSE_STEP_S
        step_s = -(-step_s // grain_s) * grain_s
        asked = int(self._position() - min(age_s, kept_s))
        begin = min(max(asked, self._until - kept_s, self._began), self._until)
        first, beyond = begin // step_s, -(-self._until // step_s)
        return Window(
            first_at=self._wall(first * step_s),
            since=self._wall(max(first * step_s, self._until - kept_s, self._began)),
            until=self._wall(self._until),
            step_s=step_s,
            steps=beyond - first,
            _first=first,
            _rings={name: track.fine if is_recent else track.coarse for name, track in self._tracks.items()},
            upstreams=self._charted(self._upstreams, is_recent=is_recent),
            identities=self._charted(self._identities, is_recent=is_recent),
        )

    def _charted(self, busiest: Busiest, *, is_recent: bool) -> Sequence[Charted]:
        return tuple(
            Charted(key, name, self._wall(track.began), track.fine if is_recent else track.coarse)
            for key, name, track in busiest
        )


def _mark(problem: Problem[str], at: datetime, *, over: bool) -> ProblemMark:
    return ProblemMark(at, over, problem.severity, problem.code, problem.subject, problem.message[:_MESSAGE_CHARACTERS])
