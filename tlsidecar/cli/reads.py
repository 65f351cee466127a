"""``tlsidecar status | connections | certificates``: what a running sidecar tells."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.filter import Filter
from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tlsidecar.api.words import CONNECTION_SORT_KEYS
from tlsidecar.cli.context import Number, echo_json, json_option, socket_option
from tlsidecar.cli.filtering import filter_option
from tlsidecar.cli.text import duration, moment, remaining, safe_text, size, table

PAGE_ROWS = 1000


@click.command()
@socket_option
@json_option
def status(client: AdminClient, as_json: bool) -> None:
    """State, listeners and whatever needs attention."""
    document = client.get("/v1/status")
    if as_json:
        echo_json(document)
        return
    click.echo(
        safe_text(
            f"tlsidecar {document['version']} on {document['node']}, pid {document['pid']}, "
            f"up {duration(document['uptime_s'])}: {document['state']}"
        )
    )
    certificate = document["certificate"]
    if certificate:
        click.echo(
            safe_text(
                f"{certificate['identity']}, serial {certificate['serial']}, generation {document['generation']}, "
                f"expires {remaining(certificate['not_after'], document['now'])} ({moment(certificate['not_after'])})"
            )
        )
    for problem in document["problems"]:
        subject = f" [{problem['subject']}]" if problem["subject"] else ""
        told = f"{problem['severity']}: {problem['message']}{subject} since {moment(problem['since'])}"
        click.echo(safe_text(f"! {told}"))
    click.echo()
    click.echo(
        table(
            ("LISTENER", "MODE", "PROTOCOL", "LISTEN", "UPSTREAM", "OPEN", "TOTAL", "REFUSED", "P99", "IN", "OUT"),
            [_listener_row(listener) for listener in document["listeners"]],
            frozenset({"OPEN", "TOTAL", "REFUSED", "P99", "IN", "OUT"}),
        )
    )


def _listener_row(listener: dict[str, Any]) -> tuple[object, ...]:
    upstreams = ", ".join(
        upstream["address"] + ("" if upstream["healthy"] else " (down)") for upstream in listener["upstreams"]
    )
    p99_s = listener["handshake_p99_s"]
    return (
        listener["name"],
        listener["mode"],
        listener["protocol"],
        listener["bound"] or f"{listener['listen']} (not bound)",
        upstreams,
        listener["connections_active"],
        listener["connections_total"],
        listener["refusals_total"],
        "-" if p99_s is None else f"{p99_s * 1000:g} ms",
        size(listener["bytes_in"]),
        size(listener["bytes_out"]),
    )


@click.command()
@filter_option(CONNECTION_FIELDS)
@click.option("--sort", type=click.Choice(CONNECTION_SORT_KEYS), default="id", show_default=True)
@click.option("--desc", is_flag=True, help="The largest first.")
@click.option("--limit", type=Number(1), default=100, show_default=True, help="Rows at most.")
@click.option("--offset", type=Number(0), default=0, help="Rows to skip.")
@socket_option
@json_option
def connections(
    client: AdminClient, wanted: Filter, sort: str, desc: bool, limit: int, offset: int, as_json: bool
) -> None:
    """Who is connected."""
    document = _pages(client, str(wanted), sort, desc, limit, offset)
    if as_json:
        echo_json(document)
        return
    rows = document["connections"]
    if not document["matched"]:
        click.echo("No connection matches the filter." if document["total"] else "Nobody is connected.")
        return
    click.echo(
        table(
            ("ID", "LISTENER", "PEER", "IDENTITY", "STATE", "AGE", "IDLE", "IN", "OUT", "REQUESTS", "GEN"),
            [_connection_row(row, document["now"]) for row in rows],
            frozenset({"ID", "AGE", "IDLE", "IN", "OUT", "REQUESTS", "GEN"}),
        )
    )
    if len(rows) < document["matched"]:
        click.echo(f"{len(rows)} of {document['matched']} shown: see --limit and --filter", err=True)


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


def _connection_row(row: dict[str, Any], now: str) -> tuple[object, ...]:
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
        row["generation"],
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
    now = document["now"]
    lines = [f"generation {document['generation']}, in use since {moment(document['activated_at'])}"]
    lines.append(f"from {document['source']}")
    if document["next_renewal_at"]:
        lines.append(f"renews {remaining(document['next_renewal_at'], now)} ({moment(document['next_renewal_at'])})")
    attempt = document["last_attempt"]
    if attempt:
        why = ": ".join(part for part in (attempt["reason"], attempt["detail"]) if part)
        outcome = ", ".join(part for part in (attempt["outcome"], why) if part)
        lines.append(f"last attempt {moment(attempt['at'])} ({attempt['trigger']}): {outcome}")
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
