"""``tlsidecar connections | certificates``: what a running sidecar tells."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.filter import Filter
from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tlsidecar.api.words import CONNECTION_GROUPS, CONNECTION_SORT_KEYS, GROUP_SORT_KEYS, PAGE_ROWS
from tlsidecar.cli.context import Number, echo_json, json_option, socket_option
from tlsidecar.cli.filtering import filter_option
from tlsidecar.cli.text import duration, moment, remaining, safe_text, size, table

RATES_WITHIN_S = 4.0
LOOK_AGAIN_S = 0.25


@click.command()
@filter_option(CONNECTION_FIELDS)
@click.option(
    "--group",
    type=click.Choice(CONNECTION_GROUPS),
    help="Counted together by this, with what moves a second, most connections first.",
)
@click.option(
    "--sort",
    type=click.Choice(tuple(dict.fromkeys((*CONNECTION_SORT_KEYS, *GROUP_SORT_KEYS)))),
    help="[default: id; of groups connections]",
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
        _show_groups(group, document, as_json)
        return
    document = _pages(client, str(wanted), sort or "id", desc, limit, offset)
    if as_json:
        echo_json(document)
        return
    rows = document["connections"]
    if not document["matched"]:
        click.echo("No connection matches the filter." if document["total"] else "Nobody is connected.")
        return
    named = any(row["own_identity"] != rows[0]["own_identity"] for row in rows)
    click.echo(
        table(
            ("ID", "LISTENER", "PEER", "IDENTITY", "STATE", "AGE", "IDLE", "IN", "OUT", "REQUESTS", "GEN"),
            [_connection_row(row, document["now"], named) for row in rows],
            frozenset({"ID", "AGE", "IDLE", "IN", "OUT", "REQUESTS", "GEN"}),
        )
    )
    if len(rows) < document["matched"]:
        click.echo(f"{len(rows)} of {document['matched']} shown: see --limit and --filter", err=True)


def _groups(client: AdminClient, group: str, wanted: str, sort: str, limit: int, offset: int) -> dict[str, Any]:
    """With rates, which the sidecar measures only while somebody asks: where it began with this call, once more."""
    query = {"group": group, "filter": wanted, "sort": sort, "limit": min(PAGE_ROWS, limit), "offset": offset}
    deadline = time.monotonic() + RATES_WITHIN_S
    while True:
        document = client.get(f"/v1/connections?{urlencode(query)}")
        rates = [row["requests_per_s"] for row in document["groups"]]
        if None not in rates or time.monotonic() > deadline:
            return document
        time.sleep(LOOK_AGAIN_S)


def _show_groups(group: str, document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        echo_json(document)
        return
    rows = document["groups"]
    if not rows:
        click.echo("No connection matches the filter." if document["total"] else "Nobody is connected.")
        return
    headings = (group.upper(), "OPEN", "REQ/S", "FAILED/S", "IN/S", "OUT/S", "REQUESTS", "IN", "OUT")
    cells = [
        (
            row["key"] or "-",
            row["connections"],
            _rate(row["requests_per_s"]),
            _rate(row["failures_per_s"]),
            "-" if row["bytes_in_per_s"] is None else size(row["bytes_in_per_s"]),
            "-" if row["bytes_out_per_s"] is None else size(row["bytes_out_per_s"]),
            row["requests"],
            size(row["bytes_in"]),
            size(row["bytes_out"]),
        )
        for row in rows
    ]
    click.echo(table(headings, cells, frozenset(headings[1:])))
    if len(rows) < document["groups_matched"]:
        click.echo(f"{len(rows)} of {document['groups_matched']} shown: see --limit and --filter", err=True)


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}"


def _pages(client: AdminClient, wanted: str, sort: str, desc: bool, limit: int, offset: int) -> dict[str, Any]:
    """One document of as many rows as were asked for, from as many calls as that takes."""
    document: dict[str, Any] = {}
    rows: list[Any] = []
    while len(rows) < limit:
        query = {
            "filter": wanted,
            "sort": sort,
            "order": "desc" if desc else "asc",
            "limit": min(PAGE_ROWS, limit - len(rows)),
            "offset": offset + len(rows),
        }
        document = client.get(f"/v1/connections?{urlencode(query)}")
        rows += document["connections"]
        if not document["connections"] or offset + len(rows) >= document["matched"]:
            break
    return document | {"connections": rows, "limit": limit, "offset": offset}


def _connection_row(row: dict[str, Any], now: str, named: bool) -> tuple[object, ...]:
    """``named``: say which of our identities the generation is of."""
    return (
        row["id"],
        row["listener"],
        row["peer_address"],
        row["identity"] or row["subject"] or "-",
        row["state"],
        remaining(row["opened_at"], now).removesuffix(" ago").removeprefix("in "),
        duration(row["idle_s"]),
        size(row["bytes_in"]),
        size(row["bytes_out"]),
        row["requests"],
        f"{row['own_identity']}/{row['generation']}" if named else row["generation"],
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
    identities = document["identities"]
    for at, identity in enumerate(identities):
        if at:
            click.echo()
        if len(identities) > 1:
            listeners = f", shown by {', '.join(identity['listeners'])}" if identity["listeners"] else ""
            click.echo(safe_text(f"identity {identity['name']}{listeners}"))
        _print_material(identity, document["now"])


def _print_material(document: dict[str, Any], now: str) -> None:
    lines = [f"generation {document['generation']}, in use since {moment(document['activated_at'])}"]
    lines.append(f"from {document['source']}")
    if document["next_renewal_at"]:
        lines.append(f"renews {remaining(document['next_renewal_at'], now)} ({moment(document['next_renewal_at'])})")
    attempt = document["last_attempt"]
    if attempt:
        why = ": ".join(part for part in (attempt["reason"], attempt["detail"]) if part)
        outcome = ", ".join(part for part in (attempt["outcome"], why) if part)
        lines.append(f"last attempt {moment(attempt['at'])} ({attempt['trigger']}): {outcome}")
        lines += [
            f"  {each['what']}: {each['before'] or 'none'} -> {each['after'] or 'none'}"
            for each in attempt["differences"]
        ]
    by_generation = document["connections_by_generation"]
    if by_generation:
        counts = ", ".join(f"{count} on {number}" for number, count in by_generation.items())
        lines.append(f"connections by generation: {counts}")
    for line in lines:
        click.echo(safe_text(line))
    click.echo()
    roles = [("leaf", document["leaf"])] if document["leaf"] else []
    roles += [(role, each) for role in ("chain", "trust") for each in document[role]]
    click.echo(
        table(
            ("ROLE", "IDENTITY", "ISSUER", "SERIAL", "KEY", "EXPIRES", ""),
            [
                (
                    role,
                    certificate["identity"] or certificate["subject"],
                    certificate["issuer"],
                    certificate["serial"],
                    certificate["key"],
                    moment(certificate["not_after"]),
                    remaining(certificate["not_after"], now),
                )
                for role, certificate in roles
            ],
        )
    )
    for crl in document["crls"]:
        click.echo(
            safe_text(
                f"revocation list of {crl['issuer']}: {crl['revoked']} revoked, "
                f"next update {remaining(crl['next_update'], now)} ({moment(crl['next_update'])})"
            )
        )
