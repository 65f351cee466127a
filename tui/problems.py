"""What is wrong, ranked: what the sidecar judges, and the two things that only a watcher can know. No toolkit, no
socket."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tui.amounts import age, duration
from tui.model import Snapshot
from tui.records import Problem, Severity
from tui.sheet import Look
from tui.text import SafeText

LOST_SOCKET = SafeText("admin_socket")


def problems(snapshot: Snapshot) -> list[Problem]:
    """Everything that is wrong, worst first; among equals ours first, then in the sidecar's order."""
    found = [*_lost_socket(snapshot), *_skew(snapshot)]
    if snapshot.status is not None:
        found += snapshot.status.problems
    return sorted(found, key=lambda problem: problem.severity.rank)


def problem_age(problem: Problem, look: Look) -> SafeText:
    """How long it has been there: what the sidecar told of by the time it was told, a lost socket by the present."""
    return age(problem.since, (look.present or look.now) if problem.code == LOST_SOCKET else look.now)


def worst_severity(found: Iterable[Problem]) -> Severity | None:
    """None when nothing is wrong."""
    return min((problem.severity for problem in found), key=lambda severity: severity.rank, default=None)


def _lost_socket(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.link.is_lost:
        yield Problem(
            severity=Severity.CRITICAL,
            code=LOST_SOCKET,
            message=SafeText(f"the admin socket does not answer: {snapshot.link.error}"),
            since=snapshot.taken_at,
            subject=snapshot.socket,
            advice=SafeText(
                "Traffic may be flowing all the same: the data path does not need this socket. Look at the process "
                "and its log (systemctl status, kubectl logs), then at the owner and mode of the socket."
            ),
        )


def _skew(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.is_skewed:
        return
    direction = "ahead of" if snapshot.skew_s > 0 else "behind"
    yield Problem(
        severity=Severity.WARNING,
        code=SafeText("clock_skew"),
        message=SafeText(f"the sidecar's clock is {duration(abs(snapshot.skew_s))} {direction} this terminal's"),
        since=None,
        advice=SafeText(
            "One of the two clocks is wrong (timedatectl, chronyc tracking). Countdowns here go by this terminal's "
            "clock, certificates are judged by the sidecar's."
        ),
    )
