"""Who was turned away, and why; and one refusal with everything that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.amounts import age, clock_time, counted, grouped, utc
from tui.lines import BLANK, Kind, Line, Role, Span, Target, heading
from tui.model import Snapshot
from tui.pages.arrange import ListSort, arranged_groups, arranged_refusals, group_party, party_of
from tui.pages.columns import IN_WORDS, LAST, LISTENER, PEER, SINCE, STAGE, TIMES, WHO, WHY, not_known, nothing
from tui.pages.explanation import explanation_lines
from tui.plan import Ask
from tui.records import Refusal, RefusalGroup
from tui.sheet import Column, Look, Page, Table, field_lines, layout, message_page, row_line
from tui.text import EMPTY, SafeText, shorten_identity, shorten_middle

REFUSAL_COLUMNS: Sequence[Column[Refusal]] = (
    Column("TIME", 9, lambda each, look: Span(clock_time(each.at), Role.MUTED), rank=6),
    Column(
        "AGE",
        7,
        lambda each, look: Span(age(each.at, look.now)),
        right=True,
        mirrored=True,
        sort=ListSort.AT,
        letter="A",
    ),
    WHO,
    WHY,
    STAGE,
    LISTENER,
    IN_WORDS,
    PEER,
    Column("BY", 6, lambda each, look: Span(each.side, Role.MUTED), rank=7),
    Column("SERIAL", 20, lambda each, look: Span(each.serial, Role.MUTED), rank=8, shorten=shorten_middle),
    Column("DETAIL", 40, lambda each, look: Span(each.detail, Role.MUTED), rank=9),
)

PARTY_COLUMNS: Sequence[Column[RefusalGroup]] = (
    LAST,
    TIMES,
    WHO,
    WHY,
    LISTENER,
    replace(SINCE, rank=2),
    replace(STAGE, rank=4),
    replace(IN_WORDS, rank=5),
    Column(
        "RULE", 20, lambda each, look: Span(each.rule, Role.MUTED), rank=6, share=1, wish=30, shorten=shorten_identity
    ),
    replace(PEER, rank=7),
)

_EXAMPLE_COLUMNS: Sequence[Column[Refusal]] = (
    Column("AGE", 7, lambda each, look: Span(age(each.at, look.now), Role.MUTED), right=True),
    Column("PEER", 21, lambda each, look: Span(each.peer_address), shorten=shorten_middle),
    Column("DETAIL", 20, lambda each, look: Span(each.detail or each.target, Role.MUTED), share=1),
)


def refusals_table(
    snapshot: Snapshot, look: Look, wanted: str = "", sort: ListSort = ListSort.AT, descending: bool = True
) -> Table[Refusal] | Page:
    """Each refusal, or what there is to say in their place."""
    if snapshot.refusals is None or Ask.REFUSALS in snapshot.troubles:
        return not_known(snapshot, Ask.REFUSALS, look)
    if not snapshot.refusals.refusals:
        return nothing("nobody was refused since the start", look)
    kept = arranged_refusals(snapshot.refusals.refusals, wanted, sort, descending, look.now)
    if not kept:
        return nothing("no refusal matches the filter", look)
    return Table(
        columns=REFUSAL_COLUMNS,
        items=kept,
        look=look,
        kind=Kind.REFUSAL,
        key=lambda refusal: refusal.seq,
        sort=sort,
        descending=descending,
    )


def parties_table(
    snapshot: Snapshot, look: Look, wanted: str = "", sort: ListSort = ListSort.AT, descending: bool = True
) -> Table[RefusalGroup] | Table[Refusal] | Page:
    """Who was refused, one row for each party and reason; one by one, where a sidecar tells of no groups."""
    refusals = snapshot.refusals
    if refusals is None or not refusals.groups or Ask.REFUSALS in snapshot.troubles:
        return refusals_table(snapshot, look, wanted, sort, descending)
    kept = arranged_groups(refusals.groups, refusals.refusals, wanted, sort, descending, look.now)
    if not kept:
        return nothing("no refusal matches the filter", look)
    return Table(
        columns=PARTY_COLUMNS,
        items=kept,
        look=look,
        kind=Kind.PARTY,
        key=party_key,
        sort=sort,
        descending=descending,
    )


def party_key(group: RefusalGroup) -> str:
    """What a group is known by while its counts change."""
    return "\n".join(group_party(group))


def party_page(snapshot: Snapshot, key: str, look: Look) -> Page:
    """The refusals of one party for one reason: how many, since when, and the newest, each of which can be opened."""
    refusals = snapshot.refusals
    group = None if refusals is None else next((each for each in refusals.groups if party_key(each) == key), None)
    if refusals is None or group is None:
        return message_page([Span(SafeText("the sidecar does not keep these refusals any more"), Role.NOTICE)], look)
    known = "vouched for by the trust bundle" if group.known else "claimed, and not proved"
    lines: list[Line] = [heading("Refused"), *field_lines("who", group.who, look, Role.STRONG)]
    lines += field_lines("", SafeText(known), look, Role.MUTED)
    lines += field_lines("why", group.sentence or group.reason, look, Role.WARNING)
    by = "this sidecar" if group.side == "local" else "the other end"
    lines += field_lines("reason", SafeText(f"{group.reason}, at stage {group.stage}, by {by}"), look)
    lines += _given("rule", group.rule, look)
    lines += field_lines("listener", group.listener, look)
    lines += field_lines("how often", SafeText(f"{grouped(group.count)} since start"), look, Role.STRONG)
    lines += field_lines("first", SafeText(f"{utc(group.first_at)}, {age(group.first_at, look.now)} ago"), look)
    lines += field_lines("last", SafeText(f"{utc(group.last_at)}, {age(group.last_at, look.now)} ago"), look)
    kept = [each for each in refusals.refusals if party_of(each) == group_party(group)]
    lines += [BLANK, heading("The newest", SafeText(f"{grouped(len(kept))} in full; enter opens one"))]
    placed = layout(_EXAMPLE_COLUMNS, look.width - 2)
    lines += [row_line(placed, each, look, Target(Kind.REFUSAL, each.seq), indent=2) for each in kept]
    return Page(lines)


def refusals_note(snapshot: Snapshot, *, each: bool) -> SafeText:
    """How many there were, and, of ``each`` by itself, how many are kept."""
    if snapshot.refusals is None:
        return EMPTY
    shown = len(snapshot.refusals.refusals)
    if not each or snapshot.refusals.total <= shown:
        return SafeText(f"{counted(snapshot.refusals.total, 'refusal')} since start")
    return SafeText(f"the last {grouped(shown)} of {grouped(snapshot.refusals.total)} refusals")


def refusal_page(snapshot: Snapshot, seq: int, look: Look) -> Page:
    """One refusal, known by its sequence number."""
    held = () if snapshot.refusals is None else snapshot.refusals.refusals
    refusal = next((each for each in held if each.seq == seq), None)
    if refusal is None:
        return message_page([Span(SafeText("the sidecar does not keep this refusal any more"), Role.NOTICE)], look)
    who_refused = "this sidecar" if refusal.side == "local" else "the other end"
    lines: list[Line] = [heading("Refused")]
    lines += field_lines("why", refusal.sentence or refusal.reason, look, Role.WARNING)
    lines += field_lines("reason", SafeText(f"{refusal.reason}, at stage {refusal.stage}, by {who_refused}"), look)
    lines += _given("detail", refusal.detail, look)
    lines += field_lines("when", SafeText(f"{utc(refusal.at)}, {age(refusal.at, look.now)} ago"), look)
    lines += field_lines("listener", refusal.listener, look)
    lines += _given("rule", refusal.rule, look)
    if refusal.connection_id:
        lines += field_lines("connection", SafeText(str(refusal.connection_id)), look)
    lines += [BLANK, heading("Who")]
    lines += field_lines("address", refusal.peer_address, look)
    lines += field_lines("identity", refusal.identity or SafeText("none known"), look, Role.STRONG)
    lines += _given("subject", refusal.subject, look)
    lines += _given("issuer", refusal.issuer, look)
    lines += _given("serial", refusal.serial, look)
    if refusal.not_after is not None:
        lines += field_lines("valid until", utc(refusal.not_after), look)
    if refusal.method or refusal.target or refusal.status:
        lines += [BLANK, heading("Request")]
        lines += _given("method", refusal.method, look)
        lines += _given("target", refusal.target, look)
        lines += field_lines("answered", SafeText(str(refusal.status)), look)
        lines += _given("request id", refusal.request_id, look)
    lines += explanation_lines(snapshot, refusal, look)
    same = [each for each in held if (each.who, each.reason) == (refusal.who, refusal.reason)]
    lines += [
        BLANK,
        heading("Same party, same reason", SafeText(f"{grouped(len(same))} of the last {grouped(len(held))}")),
    ]
    for each in same[:10]:
        when = SafeText(f"{age(each.at, look.now)} ago")
        lines += field_lines(when, SafeText(f"{each.peer_address} on {each.listener}"), look, Role.MUTED)
    return Page(lines)


def _given(label: str, value: SafeText, look: Look) -> list[Line]:
    return field_lines(label, value, look) if value else []
