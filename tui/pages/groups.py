"""Connections counted together by the sidecar, with what they move a second."""

from __future__ import annotations

from collections.abc import Sequence

from tui.amounts import count, counted, grouped, octets, per_minute, size
from tui.lines import Kind, Role, Span
from tui.model import GroupSort, Snapshot
from tui.pages.columns import no_connections, not_known
from tui.plan import Ask
from tui.records import ConnectionGroup
from tui.sheet import Column, Look, Page, Table
from tui.text import EMPTY, SafeText, shorten_identity

NO_KEY = SafeText("(none)")


def _failing(each: ConnectionGroup) -> Role:
    return Role.CRITICAL if each.failures_per_s else Role.MUTED


GROUP_COLUMNS: Sequence[Column[ConnectionGroup]] = (
    Column(
        "WHAT",
        20,
        lambda each, look: Span(each.key or NO_KEY, Role.STRONG),
        share=1,
        wish=40,
        most=110,
        sort=GroupSort.KEY,
        letter="W",
        shorten=shorten_identity,
        factored=True,
    ),
    Column(
        "OPEN",
        6,
        lambda each, look: Span(count(each.connections)),
        right=True,
        sort=GroupSort.CONNECTIONS,
        letter="N",
    ),
    Column(
        "REQ/S",
        6,
        lambda each, look: Span(per_minute(each.requests_per_s)),
        right=True,
        sort=GroupSort.REQUESTS_PER_S,
        letter="Q",
    ),
    Column(
        "FAILED/S",
        9,
        lambda each, look: Span(per_minute(each.failures_per_s), _failing(each)),
        right=True,
        sort=GroupSort.FAILURES_PER_S,
        letter="F",
    ),
    Column(
        "IN B/S",
        8,
        lambda each, look: Span(octets(each.bytes_in_per_s)),
        right=True,
        sort=GroupSort.BYTES_IN_PER_S,
        letter="I",
    ),
    Column(
        "OUT B/S",
        8,
        lambda each, look: Span(octets(each.bytes_out_per_s)),
        right=True,
        sort=GroupSort.BYTES_OUT_PER_S,
        letter="U",
    ),
    Column(
        "REQS",
        6,
        lambda each, look: Span(count(each.requests), Role.MUTED),
        right=True,
        rank=3,
        sort=GroupSort.REQUESTS,
        letter="R",
    ),
    Column(
        "IN",
        6,
        lambda each, look: Span(size(each.bytes_in), Role.MUTED),
        right=True,
        rank=4,
        sort=GroupSort.BYTES_IN,
        letter="B",
    ),
    Column(
        "OUT",
        6,
        lambda each, look: Span(size(each.bytes_out), Role.MUTED),
        right=True,
        rank=5,
        sort=GroupSort.BYTES_OUT,
        letter="O",
    ),
)


def groups_table(snapshot: Snapshot, look: Look) -> Table[ConnectionGroup] | Page:
    """Connections in groups, or what there is to say in their place."""
    page = snapshot.connections
    query = snapshot.connections_query
    if page is None or Ask.CONNECTIONS in snapshot.troubles or not query.group:
        return not_known(snapshot, Ask.CONNECTIONS, look)
    if not page.groups_matched:
        return no_connections(snapshot, look)
    return Table(
        columns=GROUP_COLUMNS,
        items=page.groups,
        look=look,
        kind=Kind.GROUP,
        key=lambda group: group.filter,
        offset=page.offset,
        total=page.groups_matched,
        sort=query.sort,
        descending=query.descending,
    )


def groups_note(snapshot: Snapshot, by: str) -> SafeText:
    """How many groups there are, of how many connections."""
    page = snapshot.connections
    if page is None or not snapshot.connections_query.group:
        return EMPTY
    connections = counted(page.matched, "connection")
    return SafeText(f"by {by}: {grouped(page.groups_matched)} of {connections}")
