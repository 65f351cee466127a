"""The last two hours: what happened on each listener, and when something was reloaded or went wrong.

Once a second the counters that the workers keep anyway are looked at, and what they grew by is kept: the last two
minutes second by second, the last two hours in steps of ten seconds (:mod:`tlsidecar.control.series`). The data plane
knows nothing of it. Seconds are counted on the monotonic clock, so that a wall clock that jumps tears no hole; what is
told is on the wall clock of the moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from certs.clock import Clock
from tlsidecar.api.problems import Problem
from tlsidecar.api.words import Severity
from tlsidecar.control.series import Ring, Sums
from tlsidecar.dataplane.snapshot import WorkerSnapshot, merge_listeners

FINE_STEP_S = 1
FINE_SPAN_S = 120
COARSE_STEP_S = 10
COARSE_SPAN_S = 7200

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

    @property
    def listeners(self) -> Sequence[str]:
        return tuple(self._rings)

    def of(self, listener: str) -> Sequence[Sums]:
        """The steps of one listener. Two hours of them take milliseconds: let the loop turn between two."""
        ring = self._rings[listener]
        each = self.step_s // ring.step_s
        return [
            ring.joined(number * each, (number + 1) * each) for number in range(self._first, self._first + self.steps)
        ]


class _Track:
    """One listener."""

    def __init__(self, second: int) -> None:
        self.fine = Ring(FINE_STEP_S, FINE_SPAN_S)
        self.coarse = Ring(COARSE_STEP_S, COARSE_SPAN_S // COARSE_STEP_S + 1)
        self._counted = Sums()
        self._second = second  # up to which it is counted

    def take(self, second: int, counted: Sums) -> None:
        """The counters as they are at the beginning of ``second``."""
        passed = second - self._second
        if passed <= 0:
            return
        shares = counted.since(self._counted).shares(min(passed, COARSE_SPAN_S))
        for number, happened in enumerate(shares, second - len(shares)):
            self.fine.add(number, happened)
            self.coarse.add(number, happened)
        self._counted, self._second = counted, second


class History:
    """All listeners; shown the workers' counters every second, and the problems as they are judged."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_s = clock.now().timestamp() - clock.monotonic()  # of the wall clock, as it was when we began
        self._began = int(self._position())
        self._until = self._began
        self._tracks: dict[str, _Track] = {}
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
                self._tracks[name] = _Track(self._until)
            self._tracks[name].take(second, Sums.of(counters))
        self._until = max(self._until, second)

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
        )


def _mark(problem: Problem[str], at: datetime, *, over: bool) -> ProblemMark:
    return ProblemMark(at, over, problem.severity, problem.code, problem.subject, problem.message[:_MESSAGE_CHARACTERS])
