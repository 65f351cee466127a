"""One sidecar in the list of several."""

from __future__ import annotations

from dataclasses import dataclass

from tui.records import Status
from tui.sight import Exit, Sight
from tui.text import EMPTY, SafeText

_LATE_S = 12.0
"""More than two looks in the background."""


@dataclass(frozen=True, slots=True)
class FleetRow:
    """``monotonic`` is the moment the list is of."""

    name: str
    label: SafeText
    sight: Sight
    monotonic: float = 0.0
    is_marked: bool = False

    @property
    def status(self) -> Status | None:
        return self.sight.snapshot.status

    @property
    def is_lost(self) -> bool:
        return self.sight.exit is Exit.UNREACHABLE

    @property
    def is_awaited(self) -> bool:
        """Neither an answer nor a failure yet."""
        return self.status is None and not self.sight.snapshot.link.is_lost

    @property
    def late_s(self) -> float | None:
        """Seconds since the last answer, when these are more than they should be."""
        replied_at = self.sight.snapshot.link.last_reply_at
        age_s = None if replied_at is None else self.monotonic - replied_at
        return age_s if age_s is not None and age_s > _LATE_S else None

    @property
    def rank(self) -> tuple[int, int]:
        """The smaller, the worse; who has not answered yet is not known to be bad."""
        if self.is_awaited:
            return (-Exit.OK, 0)
        return (-self.sight.exit, -len(self.sight.found))

    @property
    def state(self) -> SafeText:
        return EMPTY if self.status is None else self.status.state

    @property
    def node(self) -> SafeText:
        return EMPTY if self.status is None else self.status.node

    @property
    def version(self) -> SafeText:
        return EMPTY if self.status is None else self.status.version

    @property
    def open(self) -> int:
        """Connections."""
        return 0 if self.status is None else self.status.totals.connections_active

    @property
    def generation(self) -> int:
        return 0 if self.status is None else self.status.generation
