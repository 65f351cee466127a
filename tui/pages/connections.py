"""The connections: a window on the table that the sidecar sorts and filters, and one of them in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.amounts import age, count, counted, duration, grouped, size, utc
from tui.lines import BLANK, Kind, Line, Role, Span, heading
from tui.model import Snapshot, Sort
from tui.pages.certificates import certificate_lines
from tui.pages.columns import LISTENER, no_connections, not_known
from tui.plan import Ask
from tui.records import Connection
from tui.sheet import Column, Look, Page, Table, field_lines, message_page
from tui.text import EMPTY, SafeText, shorten_identity, shorten_middle

CONNECTION_COLUMNS: Sequence[Column[Connection]] = (
    Column(
        "ID",
        7,
        lambda each, look: Span(SafeText(str(each.id)), Role.MUTED),
        right=True,
        rank=3,
        sort=Sort.ID,
        letter="N",
    ),
    replace(LISTENER, rank=2, sort=Sort.LISTENER),
    Column(
        "PEER",
        21,
        lambda each, look: Span(each.peer_address),
        rank=1,
        sort=Sort.PEER,
        letter="P",
        shorten=shorten_middle,
    ),
    Column(
        "IDENTITY",
        24,
        lambda each, look: Span(each.identity or each.subject, Role.STRONG),
        share=1,
        wish=40,
        most=100,
        sort=Sort.IDENTITY,
        letter="I",
        shorten=shorten_identity,
        factored=True,
    ),
    Column("STATE", 10, lambda each, look: Span(each.state), sort=Sort.STATE, rank=4, letter="T"),
    Column(
        "AGE",
        7,
        lambda each, look: Span(age(each.opened_at, look.now)),
        right=True,
        mirrored=True,
        sort=Sort.OPENED,
        letter="A",
    ),
    Column("IDLE", 7, lambda each, look: Span(duration(each.idle_s)), right=True, sort=Sort.IDLE, letter="D"),
    Column("IN", 6, lambda each, look: Span(size(each.bytes_in)), right=True, sort=Sort.BYTES_IN, letter="B"),
    Column("OUT", 6, lambda each, look: Span(size(each.bytes_out)), right=True, sort=Sort.BYTES_OUT, letter="O"),
    Column(
        "REQS", 5, lambda each, look: Span(count(each.requests)), right=True, rank=5, sort=Sort.REQUESTS, letter="R"
    ),
    Column(
        "GEN", 4, lambda each, look: Span(count(each.generation)), right=True, rank=6, sort=Sort.GENERATION, letter="E"
    ),
    Column("TLS", 7, lambda each, look: Span(each.tls_version, Role.MUTED), rank=7),
    Column("ALPN", 8, lambda each, look: Span(each.alpn, Role.MUTED), rank=8),
    Column("SNI", 18, lambda each, look: Span(each.sni, Role.MUTED), rank=9, shorten=shorten_middle),
    Column("UPSTREAM", 21, lambda each, look: Span(each.upstream, Role.MUTED), rank=10, shorten=shorten_middle),
    Column("RULE", 30, lambda each, look: Span(each.rule, Role.MUTED), rank=11, shorten=shorten_identity),
)


def connections_table(snapshot: Snapshot, look: Look) -> Table[Connection] | Page:
    """The page at hand, or what there is to say in its place."""
    page = snapshot.connections
    query = snapshot.connections_query
    if page is None or Ask.CONNECTIONS in snapshot.troubles or query.group:
        return not_known(snapshot, Ask.CONNECTIONS, look)
    if page.matched == 0:
        return no_connections(snapshot, look)
    return Table(
        columns=CONNECTION_COLUMNS,
        items=page.connections,
        look=look,
        kind=Kind.CONNECTION,
        key=lambda connection: connection.id,
        offset=page.offset,
        total=page.matched,
        sort=query.sort,
        descending=query.descending,
    )


def connections_note(snapshot: Snapshot) -> SafeText:
    """How many there are, and how many match."""
    page = snapshot.connections
    if page is None or snapshot.connections_query.group:
        return EMPTY
    if page.matched == page.total:
        return counted(page.total, "connection")
    return SafeText(f"{grouped(page.matched)} of {counted(page.total, 'connection')}")


def connection_page(snapshot: Snapshot, look: Look) -> Page:
    """One connection: who, by which rule, how it was negotiated, what it moved, and the chain it showed."""
    connection = snapshot.connection
    if connection is None:
        if snapshot.connection_gone:
            return message_page([Span(SafeText("this connection has closed"), Role.NOTICE)], look)
        return not_known(snapshot, Ask.CONNECTION, look)
    lines: list[Line] = []
    if snapshot.connection_gone:
        lines += field_lines(
            "closed", SafeText("this connection has closed; this is what it last was"), look, Role.WARNING
        )
    lines += [heading("Peer")]
    lines += field_lines("identity", connection.identity, look, Role.STRONG)
    lines += field_lines("subject", connection.subject, look)
    lines += field_lines("address", connection.peer_address, look)
    lines += field_lines("admitted by", connection.rule, look)
    lines += field_lines("certificate", _certificate(connection, look), look)
    lines += [BLANK, heading("Connection")]
    lines += field_lines("state", connection.state, look)
    lines += field_lines("listener", _words(connection.listener, connection.mode, connection.protocol), look)
    lines += field_lines("upstream", connection.upstream, look)
    lines += field_lines(
        "opened", SafeText(f"{utc(connection.opened_at)}, {age(connection.opened_at, look.now)} ago"), look
    )
    lines += field_lines("idle", duration(connection.idle_s), look)
    lines += field_lines("in", SafeText(f"{grouped(connection.bytes_in)} bytes"), look)
    lines += field_lines("out", SafeText(f"{grouped(connection.bytes_out)} bytes"), look)
    if connection.protocol == "http":
        lines += field_lines("requests", grouped(connection.requests), look)
    lines += field_lines("generation", _generation(connection, snapshot), look)
    lines += [BLANK, heading("TLS")]
    lines += field_lines("version", connection.tls_version, look)
    lines += field_lines("cipher", connection.cipher, look)
    lines += field_lines("group", connection.group, look)
    lines += field_lines("SNI", connection.sni, look)
    lines += field_lines("ALPN", connection.alpn, look)
    for number, certificate in enumerate(connection.chain):
        title = "Peer certificate" if number == 0 else f"Chain {number}"
        lines += [BLANK, heading(title), *certificate_lines(certificate, look)]
    return Page(lines)


def _certificate(connection: Connection, look: Look) -> SafeText:
    if connection.not_after is None:
        return connection.serial
    return SafeText(f"serial {connection.serial}, until {utc(connection.not_after)}")


def _generation(connection: Connection, snapshot: Snapshot) -> SafeText:
    current, of = 0, ""
    if snapshot.status is not None:
        current = snapshot.status.generation
        if len(snapshot.status.identities) > 1:
            of = f" of {connection.own_identity}"
            own = [each for each in snapshot.status.identities if each.name == connection.own_identity]
            current = own[0].generation if own else 0
    if connection.generation == current:
        return SafeText(f"{connection.generation}{of} (current)")
    return SafeText(f"{connection.generation}{of} (an older one; current is {current})")


def _words(*words: SafeText) -> SafeText:
    return SafeText(", ".join(word for word in words if word))
