"""What a shell completes beyond the names of commands and options: sockets, connections, refusals, identities.

The sidecar is asked while somebody waits with a finger on the tab key: briefly, and without a word where it cannot
be had.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import click
from click.shell_completion import CompletionItem

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.connections import Connection, Connections
from tlsidecar.api.decode import decoded
from tlsidecar.api.denials import Denials
from tlsidecar.api.errors import AdminError
from tlsidecar.api.refusals import Refusal, Refusals
from tlsidecar.api.sockets import usual_sockets
from tlsidecar.api.text import SafeText
from tlsidecar.cli.text import safe_text
from tlsidecar.config import default_admin_socket

_ANSWER_S = 1.0
_MOST_ROWS = 50
_HELP_CHARACTERS = 60

R = TypeVar("R")


def sockets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The admin sockets of this machine; of files, whatever else begins so."""
    found = [CompletionItem(path) for path in usual_sockets(os.environ) if path.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def connections(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The numbers of open connections, each with whose it is."""
    return _items(((str(each.id), _whose(each)) for each in _newest(context)), incomplete)


def explainable(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Refusals (``r17``), and open connections (``c42``)."""
    found = [(each.id, f"{each.reason} {each.identity}") for each in _refusals(context)]
    if incomplete[:1] == "c":
        found += [(SafeText(f"c{each.id}"), _whose(each)) for each in _newest(context)]
    return _items(found, incomplete)


def identities(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Who is connected, the most connections first, and who was refused; whole names, as the commands want them."""
    query = {"group": "identity", "sort": "connections", "order": "desc", "limit": _MOST_ROWS}
    groups = _told(context, Connections[SafeText], "/v1/connections", query).groups
    connected = [(each.key, f"{each.connections} connections") for each in groups]
    refused = [(each.identity, f"refused: {each.reason}") for each in _refusals(context)]
    return _items([*connected, *refused], incomplete)


def denied(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Whom an operator keeps out."""
    denials = _told(context, Denials[SafeText], "/v1/denials", {}).denials
    return _items(((each.identity, "") for each in denials), incomplete)


def _newest(context: click.Context) -> Sequence[Connection[SafeText]]:
    query = {"sort": "opened_at", "order": "desc", "limit": _MOST_ROWS}
    return _told(context, Connections[SafeText], "/v1/connections", query).connections


def _refusals(context: click.Context) -> Sequence[Refusal[SafeText]]:
    return _told(context, Refusals[SafeText], "/v1/refusals", {"limit": _MOST_ROWS}).refusals


def _whose(connection: Connection[SafeText]) -> str:
    return f"{connection.listener} {connection.identity or connection.peer_address}"


def _told(context: click.Context, kind: type[R], path: str, query: Mapping[str, object]) -> R:
    """An empty one where the sidecar cannot be asked."""
    named: Path | None = context.params.get("socket_path")
    client = AdminClient(named or default_admin_socket(os.environ))
    try:
        document = client.call("GET", f"{path}?{urlencode(query)}" if query else path, answer_s=_ANSWER_S)
    except AdminError:
        document = {}
    return decoded(kind, document)


def _items(found: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    """Each once. A name that would not reach the shell as it is (spaces, quotes, controls, or too long to be whole) is
    left out: it could be anybody's."""
    items: dict[str, CompletionItem] = {}
    for value, words in found:
        if value.startswith(incomplete) and value not in items and _is_plain(value):
            items[value] = CompletionItem(value, help=safe_text(words, _HELP_CHARACTERS))
    return list(items.values())


def _is_plain(value: str) -> bool:
    return bool(value) and value.isascii() and all(each.isalnum() or each in "/:._@=,+-" for each in value)
