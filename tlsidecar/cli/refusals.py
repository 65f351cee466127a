"""``tlsidecar refusals | failures``: who was turned away, and what could not be done."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from typing import Any
from urllib.parse import urlencode

import click

from tlsidecar.admin.client import AdminClient, Row, rows_in
from tlsidecar.api.decode import decoded, integer
from tlsidecar.api.failures import Failures
from tlsidecar.api.filter import Filter
from tlsidecar.api.filter_fields import FAILURE_FIELDS, REFUSAL_FIELDS
from tlsidecar.api.refusals import Refusal, RefusalGroup, Refusals
from tlsidecar.api.text import SafeText
from tlsidecar.api.words import PAGE_ROWS
from tlsidecar.cli.context import Number, echo_json, json_option, socket_option
from tlsidecar.cli.filtering import filter_option
from tlsidecar.cli.follow import news
from tlsidecar.cli.text import fields_line, table, time_text

_limit_option = click.option("--limit", type=Number(1, PAGE_ROWS), default=100, show_default=True, help="Rows at most.")
_follow_option = click.option(
    "--follow", is_flag=True, help="Go on with what is new, until interrupted; with --json, one object a line."
)


@click.command()
@filter_option(REFUSAL_FIELDS)
@_limit_option
@click.option("--groups", is_flag=True, help="By party, reason, rule and listener, with how often and since when.")
@_follow_option
@socket_option
@json_option
def refusals(client: AdminClient, wanted: Filter, limit: int, groups: bool, follow: bool, as_json: bool) -> None:
    """Who was turned away and why, newest first."""
    if follow and groups:
        raise click.UsageError("--follow tells of each refusal, --groups of many together: one of the two")
    look = _look(client, "refusals", wanted)
    if follow:
        _follow(look, "refusals", limit, as_json, key=lambda row: None, stamp=lambda row: integer(row.get("seq")))
        return
    document = look(limit)
    if as_json:
        echo_json(document)
        return
    found = decoded(Refusals[SafeText], document)
    if not (found.groups if groups else found.refusals):
        click.echo(_nothing(found.total, "Nobody was refused since the sidecar began.", "No refusal"))
        return
    click.echo(_groups_table(found.groups) if groups else _refusals_table(found.refusals))
    if len(found.refusals) < found.total:
        click.echo(f"{len(found.refusals)} of {found.total} shown", err=True)


@click.command()
@filter_option(FAILURE_FIELDS)
@_limit_option
@_follow_option
@socket_option
@json_option
def failures(client: AdminClient, wanted: Filter, limit: int, follow: bool, as_json: bool) -> None:
    """What could not be served, by listener, upstream and reason, newest first: nobody's fault who asked."""
    look = _look(client, "failures", wanted)
    if follow:
        _follow(
            look,
            "failures",
            limit,
            as_json,
            key=lambda row: tuple(str(row.get(name)) for name in ("listener", "upstream", "reason")),
            stamp=lambda row: integer(row.get("count")),
        )
        return
    document = look(limit)
    if as_json:
        echo_json(document)
        return
    found = decoded(Failures[SafeText], document)
    if not found.failures:
        click.echo(_nothing(found.total, "Nothing failed since the sidecar began.", "No failure"))
        return
    click.echo(
        table(
            ("LAST", "TIMES", "LISTENER", "UPSTREAM", "REASON", "SINCE", "LAST FOR", "DETAIL"),
            [
                (
                    time_text(row.last_at),
                    row.count,
                    row.listener,
                    row.upstream or "-",
                    row.reason,
                    time_text(row.first_at),
                    row.last_identity or "-",
                    row.detail or row.sentence,
                )
                for row in found.failures
            ],
            frozenset({"TIMES"}),
        )
    )


def _look(client: AdminClient, what: str, wanted: Filter) -> Callable[[int], dict[str, Any]]:
    filtered = {"filter": str(wanted)} if wanted else {}
    return lambda limit: client.get(f"/v1/{what}?{urlencode({'limit': limit, **filtered})}")


def _nothing(total: int, none_at_all: str, which: str) -> str:
    return f"{which} of {total} matches the filter." if total else none_at_all


def _refusals_table(rows: Sequence[Refusal[SafeText]]) -> str:
    return table(
        ("ID", "AT", "LISTENER", "PEER", "BY", "STAGE", "REASON", "WHO", "DETAIL"),
        [
            (
                row.id,
                time_text(row.at),
                row.listener,
                row.peer_address,
                _by(row),
                row.stage,
                row.reason,
                row.identity or row.subject or "-",
                row.detail or row.sentence,
            )
            for row in rows
        ],
    )


def _groups_table(rows: Sequence[RefusalGroup[SafeText]]) -> str:
    return table(
        ("NEWEST", "LAST", "TIMES", "FIRST", "LISTENER", "BY", "STAGE", "REASON", "WHO", "RULE"),
        [
            (
                f"r{row.newest_seq}",
                time_text(row.last_at),
                row.count,
                time_text(row.first_at),
                row.listener,
                _by(row),
                row.stage,
                row.reason,
                row.who,
                row.rule or "-",
            )
            for row in rows
        ],
        frozenset({"TIMES"}),
    )


def _by(row: Refusal[SafeText] | RefusalGroup[SafeText]) -> str:
    return "us" if row.side == "local" else "peer"


def _follow(
    look: Callable[[int], dict[str, Any]],
    name: str,
    limit: int,
    as_json: bool,
    *,
    key: Callable[[Row], Hashable],
    stamp: Callable[[Row], int],
) -> None:
    try:
        for row in news(lambda: rows_in(look(PAGE_ROWS), name), limit, key, stamp):
            click.echo(json.dumps(row) if as_json else fields_line(row))
    except KeyboardInterrupt:
        return
