"""What became of each attempt to put new material to use: the last, a time line of the newest, and counts of all."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from tlsidecar.control.interface import Attempt, Outcome, ReloadCounts

KEPT_ATTEMPTS = 200


class AttemptLog:
    """Attempts of one identity, in the order in which they ended."""

    def __init__(self, kept: int = KEPT_ATTEMPTS) -> None:
        self.counts = ReloadCounts()
        self._kept: deque[Attempt] = deque(maxlen=kept)
        # The newest refusal that still stands, and when its row began; by whether it was one of a renewal.
        self._standing: dict[bool, tuple[Attempt, datetime]] = {}

    def __repr__(self) -> str:
        return f"<AttemptLog {len(self._kept)} kept, last {self.last.outcome if self.last else 'none'}>"

    @property
    def last(self) -> Attempt | None:
        return self._kept[-1] if self._kept else None

    @property
    def refusal(self) -> Attempt | None:
        """The newest refusal that nothing has mended since."""
        return self._standing[next(reversed(self._standing))][0] if self._standing else None

    @property
    def refused_since(self) -> datetime | None:
        """When the first refusal came that nothing has mended since."""
        return min((since for _, since in self._standing.values()), default=None)

    def newest(self, limit: int = KEPT_ATTEMPTS) -> Sequence[Attempt]:
        """At most ``limit``, newest first."""
        return [self._kept[-1 - age] for age in range(min(limit, len(self._kept)))]

    def settle(self, *, renewal: bool) -> None:
        """What was refused of that kind is mended."""
        self._standing.pop(renewal, None)

    def record(self, attempt: Attempt, *, renewal: bool = False) -> None:
        """``renewal``: it was to make new material, not just to read what is there. To read the old material once more
        does not mend a renewal that failed, so a refusal stands until :meth:`settle`."""
        counts = self.counts
        assert attempt.at is not None, "who makes one knows when"
        key = (attempt.outcome, attempt.reason)
        counts.by_outcome[key] = counts.by_outcome.get(key, 0) + 1
        if attempt.outcome == Outcome.REFUSED:
            _, since = self._standing.pop(renewal, (attempt, attempt.at))
            self._standing[renewal] = (attempt, since)
        else:
            counts.last_success_at = attempt.at.timestamp()
        last = self.last
        if last is not None and Outcome.UNCHANGED == last.outcome == attempt.outcome:
            self._kept.pop()  # a script that reloads every second must not push out what happened
        self._kept.append(attempt)
