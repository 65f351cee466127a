"""What a shell completes beyond the names of commands and options: sockets, connections, refusals, identities.

The sidecar is asked while somebody waits with a finger on the tab key: briefly, and without a word where it cannot
be had.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
from click.shell_completion import CompletionItem

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.errors import AdminError
from tlsidecar.api.sockets import usual_sockets
from tlsidecar.cli.text import safe_text
from tlsidecar.config import default_admin_socket

_ANSWER_S = 1.0
_MOST_ROWS = 50
_HELP_CHARACTERS = 60


def sockets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The admin sockets of this machine; of files, whatever else begins so."""
    found = [CompletionItem(path) for path in usual_sockets(os.environ) if path.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def connections(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The numbers of open connections, each with whose it is."""
    rows = _rows(context, "connections", sort="opened_at", order="desc", limit=_MOST_ROWS)
    return _items(((str(row["id"]), _of_connection(row)) for row in rows), incomplete)


def explainable(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Refusals (``r17``), and open connections (``c42``)."""
    refused = (
        (str(row["id"]), f"{row['reason']} {row['identity']}") for row in _rows(context, "refusals", limit=_MOST_ROWS)
    )
    rows = (
        _rows(context, "connections", sort="opened_at", order="desc", limit=_MOST_ROWS) if incomplete[:1] == "c" else ()
    )
    opened = ((f"c{row['id']}", _of_connection(row)) for row in rows)
    return _items((*refused, *opened), incomplete)


def identities(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Who is connected, the most connections first, and who was refused; whole names, as the commands want them."""
    query = {"group": "identity", "sort": "connections", "order": "desc", "limit": _MOST_ROWS}
    groups = _rows(context, "groups", path="connections", **query)
    connected = ((str(each["key"]), f"{each['connections']} connections") for each in groups)
    refused = (
        (str(row["identity"]), f"refused: {row['reason']}") for row in _rows(context, "refusals", limit=_MOST_ROWS)
    )
    return _items((*connected, *refused), incomplete)


def denied(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Whom an operator keeps out."""
    return _items(((str(row["identity"]), "") for row in _rows(context, "denials")), incomplete)


def _of_connection(row: dict[str, Any]) -> str:
    return f"{row['listener']} {row['identity'] or row['peer_address']}"


def _rows(context: click.Context, name: str, path: str = "", **query: object) -> list[dict[str, Any]]:
    """The rows of this name in a reply of ``/v1/path``; none where the sidecar cannot be asked."""
    named: Path | None = context.params.get("socket_path")
    client = AdminClient(named or default_admin_socket(os.environ))
    target = f"/v1/{path or name}" + (f"?{urlencode(query)}" if query else "")
    try:
        listed = client.call("GET", target, answer_s=_ANSWER_S).get(name)
    except AdminError:
        return []
    return listed if isinstance(listed, list) else []


def _items(found: Iterator[tuple[str, str]] | tuple[tuple[str, str], ...], incomplete: str) -> list[CompletionItem]:
    """Each once. A name that would not reach the shell as it is (spaces, quotes, controls) is left out: it could be
    anybody's."""
    items: dict[str, CompletionItem] = {}
    for value, words in found:
        if value.startswith(incomplete) and value not in items and _is_plain(value):
            items[value] = CompletionItem(value, help=safe_text(words, _HELP_CHARACTERS))
    return list(items.values())


def _is_plain(value: str) -> bool:
    return bool(value) and value.isascii() and all(each.isalnum() or each in "/:._@=,+-" for each in value)
