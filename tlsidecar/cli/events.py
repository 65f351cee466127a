"""``tlsidecar events``: follow what happens."""

from __future__ import annotations

import json

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.errors import BadReply, Unreachable
from tlsidecar.api.filter import Filter
from tlsidecar.api.filter_fields import EVENT_FIELDS
from tlsidecar.api.sse import SseMessage
from tlsidecar.api.text import SafeText
from tlsidecar.api.times import moment
from tlsidecar.cli.context import Number, json_option, socket_option
from tlsidecar.cli.filtering import filter_option
from tlsidecar.cli.text import fields_line, safe_text, time_text


@click.command()
@click.option(
    "--after",
    type=Number(0),
    metavar="SEQ",
    help="Begin after this sequence number; 0 is the oldest that is kept.  [default: what comes next]",
)
@filter_option(EVENT_FIELDS)
@click.option(
    "--follow/--no-follow",
    default=True,
    help="Go on until interrupted (the default), or end with what is kept now.",
)
@click.option("--count", type=Number(1), metavar="N", help="Leave after so many events.")
@socket_option
@json_option
def events(
    client: AdminClient, after: int | None, wanted: Filter, follow: bool, count: int | None, as_json: bool
) -> None:
    """Follow what happens: state changes, reloads, refusals, connections opened and closed.

    Goes on until interrupted. With --json, one JSON object a line.
    """
    number = 0
    try:
        last = "" if after is None and follow else str(after or 0)
        for number, event in enumerate(client.events(last, wanted=str(wanted), follow=follow), start=1):
            data = _fields(event)
            click.echo(json.dumps({"event": event.event, **data}) if as_json else _line(event.event, data))
            if number == count:
                return
    except KeyboardInterrupt:
        return
    if follow:
        raise Unreachable(SafeText("the sidecar ended the stream"))
    if not number and not as_json:
        click.echo("No event matches the filter." if wanted else "No event is kept.")


def _fields(event: SseMessage) -> dict[str, object]:
    """What an event tells. Raises BadReply."""
    try:
        data = json.loads(event.data)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise BadReply(SafeText("not an admin API: an event is no JSON object"))
    return data


def _line(kind: str, data: dict[str, object]) -> str:
    fields = {name: value for name, value in data.items() if name not in ("seq", "at")}
    return safe_text(f"{time_text(moment(data.get('at')))} {data.get('seq')} {kind} {fields_line(fields)}")
