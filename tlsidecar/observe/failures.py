"""What could not be done, and is nobody's guilt who asked: by listener, upstream and reason, the newest first."""

from __future__ import annotations

from collections import OrderedDict

from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Failure, Reason

# Listeners and upstreams are ours and few: this is only reached by a configuration of hundreds of addresses.
KEPT_GROUPS = 1000
KEPT_TEXT_CHARACTERS = 512


@dataclass(slots=True)
class FailureGroup:
    """The failures of one listener at one upstream for one reason; times are POSIX seconds. ``detail`` and
    ``last_identity`` are the newest's."""

    listener: str
    upstream: str
    reason: Reason
    first_at: float
    last_at: float = 0.0
    count: int = 0
    detail: str = ""
    last_identity: str = ""


class FailureLog:
    """Failures since the process began, grouped; the newest groups are kept."""

    def __init__(self, kept_groups: int = KEPT_GROUPS) -> None:
        self._kept_groups = kept_groups
        self._groups: OrderedDict[tuple[str, str, Reason], FailureGroup] = OrderedDict()
        self._total = 0

    def __repr__(self) -> str:
        return f"<FailureLog {self._total} recorded in {len(self._groups)} groups>"

    @property
    def total(self) -> int:
        """How many were ever recorded, those no longer kept included."""
        return self._total

    def record(self, failure: Failure) -> int:
        """Count one; returns its number."""
        self._total += 1
        key = (failure.listener, failure.upstream, failure.reason)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= self._kept_groups:
                self._groups.popitem(last=False)
            group = self._groups[key] = FailureGroup(*key, first_at=failure.at)
        self._groups.move_to_end(key)
        group.count += 1
        group.last_at = failure.at
        group.detail = failure.detail[:KEPT_TEXT_CHARACTERS]
        group.last_identity = failure.identity[:KEPT_TEXT_CHARACTERS]
        return self._total

    @property
    def kept(self) -> int:
        """How many groups there are."""
        return len(self._groups)

    def newest(self, limit: int = 100) -> list[FailureGroup]:
        """At most ``limit``, those that came last first."""
        return [group for group, _ in zip(reversed(self._groups.values()), range(limit), strict=False)]
