"""``tlsidecar events``: follow what happens."""

from __future__ import annotations

import json

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.errors import Unreachable
from tlsidecar.api.text import SafeText
from tlsidecar.cli.context import Number, json_option, socket_option
from tlsidecar.cli.text import moment, safe_text


@click.command()
@click.option(
    "--after",
    type=Number(0),
    metavar="SEQ",
    help="Begin after this sequence number; 0 is the oldest that is kept.  [default: what comes next]",
)
@click.option("--count", type=Number(1), metavar="N", help="Leave after so many events.")
@socket_option
@json_option
def events(client: AdminClient, after: int | None, count: int | None, as_json: bool) -> None:
    """Follow what happens: state changes, reloads, refusals, connections opened and closed.

    Goes on until interrupted. With --json, one JSON object a line.
    """
    try:
        for told, event in enumerate(client.events("" if after is None else str(after)), start=1):
            data = json.loads(event.data)
            click.echo(json.dumps({"event": event.event, **data}) if as_json else _line(event.event, data))
            if told == count:
                return
    except KeyboardInterrupt:
        return
    raise Unreachable(SafeText("the sidecar ended the stream"))


def _line(kind: str, data: dict[str, object]) -> str:
    fields = [f"{name}={_word(value)}" for name, value in data.items() if name not in ("seq", "at") and value != ""]
    return safe_text(f"{moment(data.get('at'))} {data.get('seq')} {kind} {' '.join(fields)}")


def _word(value: object) -> str:
    """Quoted when it has a space, so that no value can pass for the field after it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if any(character in text for character in ' "=') else text
