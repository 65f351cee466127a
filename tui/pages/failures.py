"""What could not be done, by listener, upstream and reason; and one such failure with all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.amounts import age, counted, grouped, utc
from tui.lines import BLANK, Kind, Line, Role, Span, heading
from tui.model import Snapshot
from tui.pages.arrange import ListSort, arranged_failures
from tui.pages.columns import LAST, LISTENER, SINCE, TIMES, WHY, not_known, nothing
from tui.plan import Ask
from tui.records import Failure
from tui.sheet import Column, Look, Page, Table, field_lines, message_page
from tui.text import EMPTY, SafeText, shorten_identity, shorten_middle

FAILURE_COLUMNS: Sequence[Column[Failure]] = (
    LAST,
    TIMES,
    WHY,
    Column(
        "UPSTREAM",
        15,
        lambda each, look: Span(each.upstream),
        share=1,
        wish=24,
        most=48,
        sort=ListSort.UPSTREAM,
        letter="U",
        shorten=shorten_middle,
    ),
    replace(LISTENER, rank=0),
    SINCE,
    Column("DETAIL", 20, lambda each, look: Span(each.detail or each.sentence), rank=4, share=3, wish=28),
    Column(
        "LAST FOR",
        20,
        lambda each, look: Span(each.last_identity, Role.MUTED),
        rank=5,
        share=2,
        wish=36,
        shorten=shorten_identity,
    ),
)


def failure_key(failure: Failure) -> str:
    """What a row is known by while its counts change."""
    return f"{failure.listener} {failure.upstream} {failure.reason}"


def failures_table(
    snapshot: Snapshot, look: Look, wanted: str = "", sort: ListSort = ListSort.AT, descending: bool = True
) -> Table[Failure] | Page:
    """In groups, or what there is to say in their place."""
    if snapshot.failures is None or Ask.FAILURES in snapshot.troubles:
        return not_known(snapshot, Ask.FAILURES, look)
    if not snapshot.failures.failures:
        return nothing("nothing failed since the start", look)
    kept = arranged_failures(snapshot.failures.failures, wanted, sort, descending, look.now)
    if not kept:
        return nothing("no failure matches the filter", look)
    return Table(
        columns=FAILURE_COLUMNS,
        items=kept,
        look=look,
        kind=Kind.FAILURE,
        key=failure_key,
        sort=sort,
        descending=descending,
    )


def failures_note(snapshot: Snapshot) -> SafeText:
    """How many there were."""
    failures = snapshot.failures
    return EMPTY if failures is None else SafeText(f"{counted(failures.total, 'failure')} since start")


def failure_page(snapshot: Snapshot, key: str, look: Look) -> Page:
    """One row, known by :func:`failure_key`, and how its upstream is now."""
    held = () if snapshot.failures is None else snapshot.failures.failures
    failure = next((each for each in held if failure_key(each) == key), None)
    if failure is None:
        return message_page([Span(SafeText("the sidecar does not keep this failure any more"), Role.NOTICE)], look)
    lines: list[Line] = [heading("Failed", SafeText("nobody's fault who asked"))]
    lines += field_lines("why", failure.sentence or failure.reason, look, Role.WARNING)
    lines += field_lines("reason", failure.reason, look)
    lines += field_lines("detail", failure.detail, look)
    lines += field_lines("how often", SafeText(f"{grouped(failure.count)} since start"), look, Role.STRONG)
    lines += field_lines("first", SafeText(f"{utc(failure.first_at)}, {age(failure.first_at, look.now)} ago"), look)
    lines += field_lines("last", SafeText(f"{utc(failure.last_at)}, {age(failure.last_at, look.now)} ago"), look)
    lines += field_lines("last for", failure.last_identity, look)
    lines += [BLANK, heading("Where")]
    lines += field_lines("listener", failure.listener, look)
    lines += field_lines("upstream", failure.upstream or SafeText("none was chosen"), look)
    lines += _upstream_now(snapshot, failure, look)
    return Page(lines)


def _upstream_now(snapshot: Snapshot, failure: Failure, look: Look) -> list[Line]:
    listeners = () if snapshot.status is None else snapshot.status.listeners
    upstreams = (each for listener in listeners if listener.name == failure.listener for each in listener.upstreams)
    upstream = next((each for each in upstreams if each.address == failure.upstream), None)
    if upstream is None:
        return []
    state, role = ("up", Role.GOOD) if upstream.healthy else ("DOWN", Role.CRITICAL)
    lines = field_lines("now", SafeText(state), look, role)
    if upstream.last_error:
        lines += field_lines("its last error", upstream.last_error, look)
    return lines
