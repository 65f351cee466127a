"""``tlsidecar connections | certificates``: what a running sidecar tells."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import click

from tlsidecar.admin.client import AdminClient, Row, rows_in
from tlsidecar.api.certificates import Attempt, Certificates, OwnMaterial
from tlsidecar.api.connections import Connection, ConnectionGroup, Connections
from tlsidecar.api.decode import decoded, integer
from tlsidecar.api.filter import Filter
from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tlsidecar.api.text import SafeText
from tlsidecar.api.words import CONNECTION_GROUPS, CONNECTION_SORT_KEYS, GROUP_SORT_KEYS, PAGE_ROWS
from tlsidecar.cli.context import Number, echo_json, json_option, socket_option
from tlsidecar.cli.filtering import filter_option
from tlsidecar.cli.text import duration, remaining, say, size, table, time_text

# Rates are of two seconds, which begin with the first call.
RATES_WITHIN_S = 4.0
LOOK_AGAIN_S = 0.25


@click.command()
@filter_option(CONNECTION_FIELDS)
@click.option(
    "--group",
    type=click.Choice(CONNECTION_GROUPS),
    help="Count them together by this, with rates; most connections first.",
)
@click.option(
    "--sort",
    type=click.Choice(tuple(dict.fromkeys((*CONNECTION_SORT_KEYS, *GROUP_SORT_KEYS)))),
    metavar="FIELD",
    help=f"Of connections {', '.join(CONNECTION_SORT_KEYS)}; of groups {', '.join(GROUP_SORT_KEYS)}.  [default: id; of "
    "groups connections]",
)
@click.option("--desc", is_flag=True, help="The largest first.")
@click.option("--limit", type=Number(1), default=100, show_default=True, help="Rows at most.")
@click.option("--offset", type=Number(0), default=0, help="Rows to skip.")
@socket_option
@json_option
def connections(
    client: AdminClient,
    wanted: Filter,
    group: str | None,
    sort: str | None,
    desc: bool,
    limit: int,
    offset: int,
    as_json: bool,
) -> None:
    """Who is connected."""
    sorts = GROUP_SORT_KEYS if group else CONNECTION_SORT_KEYS
    if sort is not None and sort not in sorts:
        raise click.UsageError(f"--sort {sort}: {'groups' if group else 'connections'} have {', '.join(sorts)}")
    if group is not None:
        document = _groups(client, group, str(wanted), sort or GROUP_SORT_KEYS[0], limit, offset)
    else:
        document = _pages(client, str(wanted), sort or "id", desc, limit, offset)
    if as_json:
        echo_json(document)
        return
    found = decoded(Connections[SafeText], document)
    if group is not None:
        _show(_groups_table(group, found.groups), len(found.groups), found.groups_matched, found.total)
    else:
        _show(_connections_table(found), len(found.connections), found.matched, found.total)


def _show(shown: str, rows: int, matched: int, total: int) -> None:
    if not matched:
        click.echo("No connection matches the filter." if total else "Nobody is connected.")
        return
    click.echo(shown)
    if rows < matched:
        click.echo(f"{rows} of {matched} shown: see --limit and --filter", err=True)


def _groups(client: AdminClient, group: str, wanted: str, sort: str, limit: int, offset: int) -> dict[str, Any]:
    """With rates, which the sidecar measures only while somebody asks: where it began with this call, once more."""
    query = {"group": group, "filter": wanted, "sort": sort, "limit": min(PAGE_ROWS, limit), "offset": offset}
    deadline = time.monotonic() + RATES_WITHIN_S
    while True:
        document = client.get(f"/v1/connections?{urlencode(query)}")
        rates = [row.get("requests_per_s") for row in rows_in(document, "groups")]
        if None not in rates or time.monotonic() > deadline:
            return document
        time.sleep(LOOK_AGAIN_S)


def _groups_table(group: str, rows: Sequence[ConnectionGroup[SafeText]]) -> str:
    headings = (group.upper(), "OPEN", "REQ/S", "FAILED/S", "IN/S", "OUT/S", "REQUESTS", "IN", "OUT")
    cells = [
        (
            row.key or "-",
            row.connections,
            _rate(row.requests_per_s),
            _rate(row.failures_per_s),
            "-" if row.bytes_in_per_s is None else size(row.bytes_in_per_s),
            "-" if row.bytes_out_per_s is None else size(row.bytes_out_per_s),
            row.requests,
            size(row.bytes_in),
            size(row.bytes_out),
        )
        for row in rows
    ]
    return table(headings, cells, frozenset(headings[1:]))


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def _pages(client: AdminClient, wanted: str, sort: str, desc: bool, limit: int, offset: int) -> dict[str, Any]:
    """One document of as many rows as were asked for, from as many calls as that takes."""
    document: dict[str, Any] = {}
    rows: list[Row] = []
    while len(rows) < limit:
        query = {
            "filter": wanted,
            "sort": sort,
            "order": "desc" if desc else "asc",
            "limit": min(PAGE_ROWS, limit - len(rows)),
            "offset": offset + len(rows),
        }
        document = client.get(f"/v1/connections?{urlencode(query)}")
        page = rows_in(document, "connections")
        rows += page
        if not page or offset + len(rows) >= integer(document.get("matched")):
            break
    return document | {"connections": rows, "limit": limit, "offset": offset}


def _connections_table(found: Connections[SafeText]) -> str:
    rows = found.connections
    # Which of our identities the generation is of, where that has to be said.
    is_named = any(row.own_identity != rows[0].own_identity for row in rows)
    return table(
        ("ID", "LISTENER", "PEER", "IDENTITY", "STATE", "AGE", "IDLE", "IN", "OUT", "REQUESTS", "GEN"),
        [_connection_row(row, found.now, is_named) for row in rows],
        frozenset({"ID", "AGE", "IDLE", "IN", "OUT", "REQUESTS", "GEN"}),
    )


def _connection_row(row: Connection[SafeText], now: datetime | None, is_named: bool) -> tuple[object, ...]:
    age_s = None if row.opened_at is None or now is None else abs((now - row.opened_at).total_seconds())
    return (
        row.id,
        row.listener,
        row.peer_address,
        row.identity or row.subject or "-",
        row.state,
        "-" if age_s is None else duration(age_s),
        duration(row.idle_s),
        size(row.bytes_in),
        size(row.bytes_out),
        row.requests,
        f"{row.own_identity}/{row.generation}" if is_named else row.generation,
    )


@click.command()
@socket_option
@json_option
def certificates(client: AdminClient, as_json: bool) -> None:
    """What is served and trusted now, and how the last attempt to renew it ended."""
    document = client.get("/v1/certificates")
    if as_json:
        echo_json(document)
        return
    found = decoded(Certificates[SafeText], document)
    if len(found.identities) < 2:
        _show_material(found, found.now)
        return
    for at, identity in enumerate(found.identities):
        if at:
            click.echo()
        listeners = f", shown by {', '.join(identity.listeners)}" if identity.listeners else ""
        say(f"identity {identity.name}{listeners}")
        _show_material(identity, found.now)


def _show_material(own: OwnMaterial[SafeText], now: datetime | None) -> None:
    say(f"generation {own.generation}, in use since {time_text(own.activated_at)}")
    say(f"from {own.source}")
    if own.next_renewal_at is not None:
        say(f"renews {remaining(own.next_renewal_at, now)} ({time_text(own.next_renewal_at)})")
    if own.last_attempt is not None:
        _show_attempt(own.last_attempt)
    if own.connections_by_generation:
        counts = ", ".join(f"{count} on {number}" for number, count in own.connections_by_generation.items())
        say(f"connections by generation: {counts}")
    click.echo()
    roles = [("leaf", own.leaf)] if own.leaf is not None else []
    roles += [("chain", each) for each in own.chain] + [("trust", each) for each in own.trust]
    roles += [(f"trust of {held.trust_domain}", each) for held in own.federated for each in held.trust]
    click.echo(
        table(
            ("ROLE", "IDENTITY", "ISSUER", "SERIAL", "KEY", "EXPIRES", ""),
            [
                (
                    role,
                    certificate.identity or certificate.subject,
                    certificate.issuer,
                    certificate.serial,
                    certificate.key,
                    time_text(certificate.not_after),
                    remaining(certificate.not_after, now),
                )
                for role, certificate in roles
            ],
        )
    )
    for crl in own.crls:
        due = f"{remaining(crl.next_update, now)} ({time_text(crl.next_update)})"
        say(f"revocation list of {crl.issuer}: {crl.revoked} revoked, next update {due}")


def _show_attempt(attempt: Attempt[SafeText]) -> None:
    why = ": ".join(part for part in (attempt.reason, attempt.detail) if part)
    outcome = ", ".join(part for part in (attempt.outcome, why) if part)
    say(f"last attempt {time_text(attempt.at)} ({attempt.trigger}): {outcome}")
    for each in attempt.differences:
        say(f"  {each.what}: {each.before or 'none'} -> {each.after or 'none'}")
