"""One sidecar at one moment with what is wrong with it, and how sidecars are ranked by that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from tui.model import Snapshot
from tui.problems import problems, worst_severity
from tui.records import Problem, Severity


class Exit(IntEnum):
    """What the exit code says, as monitoring plug-ins have it; the higher, the worse."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNREACHABLE = 3


@dataclass(frozen=True, slots=True)
class Sight:
    """One sidecar at one moment, and what is wrong with it, worst first."""

    snapshot: Snapshot
    found: Sequence[Problem]

    @staticmethod
    def of(snapshot: Snapshot) -> Sight:
        return Sight(snapshot, problems(snapshot))

    @property
    def exit(self) -> Exit:
        if self.snapshot.status is None or self.snapshot.link.is_lost:
            return Exit.UNREACHABLE
        match worst_severity(self.found):
            case Severity.CRITICAL:
                return Exit.CRITICAL
            case Severity.WARNING:
                return Exit.WARNING
            case _:
                return Exit.OK


def worst_first(sights: Iterable[Sight]) -> list[Sight]:
    """Among equals the one with more problems first, then in the order they came in."""
    return sorted(sights, key=lambda sight: (-sight.exit, -len(sight.found)))
