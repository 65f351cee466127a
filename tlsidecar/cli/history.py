"""``tlsidecar history``: what the last two hours were like."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from urllib.parse import urlencode

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.decode import decoded
from tlsidecar.api.errors import Refused
from tlsidecar.api.history import SPAN_S, Charted, ChartedSeries, History, ListenerSeries, Mark, Series
from tlsidecar.api.text import SafeText
from tlsidecar.api.words import MarkKind
from tlsidecar.cli.context import EXIT_BAD_INPUT, CommandFailed, echo_json, json_option, socket_option
from tlsidecar.cli.text import say, size, table, time_text

N = TypeVar("N")

_NUMBERS = (
    "REQUESTS",
    "4XX",
    "5XX",
    "FAILED",
    "REFUSED",
    "NEW",
    "OPEN",
    "HS",
    "HS FAILED",
    "IN",
    "OUT",
    "HS P99",
    "REQ P99",
)


@click.command()
@click.option("--since", default="", metavar="WHEN", help="A time (RFC 3339), or so long ago: 15m.  [default: 2h]")
@click.option("--step", default="", metavar="DURATION", help="The length of a step: 10s or more; 1s for the last 2m.")
@click.option("--listener", default="", metavar="NAME", help="One listener only.")
@click.option("--upstream", default="", metavar="ADDRESS", help="What went to one upstream.")
@click.option("--identity", default="", metavar="NAME", help="What one identity did; others: all that are not listed.")
@socket_option
@json_option
def history(
    client: AdminClient, since: str, step: str, listener: str, upstream: str, identity: str, as_json: bool
) -> None:
    """What the last two hours were like, step by step, and when something was reloaded or went wrong.

    Counts are of one step each, and so are HS P99 and REQ P99: 99 % of its handshakes and of its requests took no
    longer. The six busiest upstreams and the ten busiest identities are kept each by itself.
    """
    if sum(map(bool, (listener, upstream, identity))) > 1:
        raise click.UsageError("--listener, --upstream and --identity exclude each other")
    asked = {"since": since, "step": step, "upstream": upstream, "identity": identity}
    query = {name: value for name, value in asked.items() if value}
    try:
        document = client.get(f"/v1/history?{urlencode(query)}" if query else "/v1/history")
    except Refused as error:
        if error.status != 400:
            raise
        raise CommandFailed(error.message, EXIT_BAD_INPUT) from None  # what was asked for is no time, or no step
    if as_json:
        echo_json(document)
        return
    past = decoded(History[SafeText], document)
    series: Series[SafeText] = past.total
    if listener:
        series = _listener(past.listeners, listener)
    elif upstream:
        series = _charted("upstream", upstream, past.upstreams, past.kept_upstreams)
    elif identity:
        series = _charted("identity", identity, past.identities, past.kept_identities)
    click.echo(table(("FROM", *_NUMBERS), _rows(past, series), frozenset(_NUMBERS)))
    if past.marks:
        click.echo()
        for mark in past.marks:
            say(f"{time_text(mark.at)} {mark_text(mark)}")


def _listener(listeners: Sequence[ListenerSeries[SafeText]], name: str) -> Series[SafeText]:
    found = next((each for each in listeners if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in listeners)
        raise CommandFailed(f"no listener is called {name!a}; known: {known}", EXIT_BAD_INPUT)
    return found


def _charted(
    kind: str, name: str, found: Sequence[ChartedSeries[SafeText]], kept: Sequence[Charted[SafeText]]
) -> Series[SafeText]:
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(each.key for each in found if each.key)
        raise CommandFailed(f"{len(found)} go by {name!a}: ask for one by its key, {keys}", EXIT_BAD_INPUT)
    known = ", ".join(each.name for each in kept) or "none"
    raise CommandFailed(f"no {kind} that is kept is called {name!a}; known: {known}", EXIT_BAD_INPUT)


def _rows(past: History[SafeText], series: Series[SafeText]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for step in range(min(past.steps, SPAN_S)):  # what answers may be anybody
        requests = {str(name): _at(counts, step, 0) for name, counts in series.requests.items()}
        rows.append(
            (
                time_text(_beginning(past, step)),
                sum(requests.values()),
                requests.get("4xx", 0),
                requests.get("5xx", 0),
                sum(_at(counts, step, 0) for counts in series.failures.values()),
                _at(series.refusals, step, 0),
                _at(series.connections, step, 0),
                _at(series.connections_active, step, 0),
                _at(series.handshakes, step, 0),
                _at(series.handshakes_failed, step, 0),
                size(_at(series.bytes_in, step, 0)),
                size(_at(series.bytes_out, step, 0)),
                _milliseconds(_at(series.handshake_p99_s, step, None)),
                _milliseconds(_at(series.request_p99_s, step, None)),
            )
        )
    return rows


def _beginning(past: History[SafeText], step: int) -> datetime | None:
    """None where it is not known, or not in the calendar."""
    try:
        return None if past.first_at is None else past.first_at + timedelta(seconds=step * past.step_s)
    except OverflowError:
        return None


def _at(values: Sequence[N], step: int, nothing: N) -> N:
    return values[step] if step < len(values) else nothing


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.3g} ms"


def mark_text(mark: Mark[SafeText]) -> str:
    """A mark in one line, but for its time."""
    if mark.kind == MarkKind.RELOAD.value:
        words = f"reload {mark.name} ({mark.subject}), generation {mark.generation}"
    else:
        ended = " is over" if mark.kind == MarkKind.PROBLEM_OVER.value else ""
        words = f"{mark.severity}{ended}: {mark.name}" + (f" [{mark.subject}]" if mark.subject else "")
    return f"{words}: {mark.message}" if mark.message else words
