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
        self.refused_since: datetime | None = None  # the first refusal since something was good
        self._kept: deque[Attempt] = deque(maxlen=kept)

    def __repr__(self) -> str:
        return f"<AttemptLog {len(self._kept)} kept, last {self.last.outcome if self.last else 'none'}>"

    @property
    def last(self) -> Attempt | None:
        return self._kept[-1] if self._kept else None

    def newest(self, limit: int = KEPT_ATTEMPTS) -> Sequence[Attempt]:
        """At most ``limit``, newest first."""
        return [self._kept[-1 - age] for age in range(min(limit, len(self._kept)))]

    def record(self, attempt: Attempt) -> None:
        counts = self.counts
        assert attempt.at is not None, "who makes one knows when"
        key = (attempt.outcome, attempt.reason)
        counts.by_outcome[key] = counts.by_outcome.get(key, 0) + 1
        if attempt.outcome == Outcome.REFUSED:
            self.refused_since = self.refused_since or attempt.at
        else:
            self.refused_since = None
            counts.last_success_at = attempt.at.timestamp()
        last = self.last
        if last is not None and Outcome.UNCHANGED == last.outcome == attempt.outcome:
            self._kept.pop()  # a script that reloads every second must not push out what happened
        self._kept.append(attempt)
