"""``tlsidecar snapshot``: all that the admin API shows, as one file."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import click

from certs.clock import SYSTEM_CLOCK
from tlsidecar.admin.client import AdminClient, rows_in
from tlsidecar.api.errors import AdminError, Refused, Unreachable
from tlsidecar.api.history import CHARTED_SPANS, history_target
from tlsidecar.api.recording import Full, Writer
from tlsidecar.cli.context import EXIT_FAILED, CommandFailed, socket_option
from tlsidecar.cli.text import say, size

SUFFIX = ".tlsidecar.gz"

CALLS = (
    "/v1/status",
    "/v1/certificates",
    "/v1/connections?sort=opened_at&order=desc&limit=1000",
    "/v1/refusals?limit=1000",
    "/v1/failures?limit=1000",
    "/v1/denials",
    *(history_target(span_s, step_s, of_each=True) for span_s, step_s in CHARTED_SPANS),
)
TEXTS = ("/metrics", "/healthz", "/readyz")
# Connections and refusals that are written with the chain that their peer showed, the newest first.
IN_FULL = 100


@click.command()
@click.option(
    "-o",
    "--output",
    "output",
    type=click.Path(allow_dash=True),
    metavar="FILE",
    help="Where to; - for stdout.  [default: tlsidecar-NODE-TIME.tlsidecar.gz in this directory]",
)
@socket_option
def snapshot(client: AdminClient, output: str | None) -> None:
    """All that the admin API shows, as one file to attach to a ticket: `tlsidecar ui --replay FILE` opens it.

    State, certificates, the newest connections, refusals and failures, the last two hours, the events that are kept,
    the metrics. No key is in it, for the admin API shows none; names and addresses of peers are.
    """
    status = client.get("/v1/status")  # before there is a file
    path = Path(output) if output is not None else Path(_default_name(status.get("node")))
    with _opened(path) as file:
        packed_bytes, left_out = _write(client, file)
    for line in left_out:
        say(f"left out: {line}", err=True)
    if output != "-":
        say(path)
        say(f"{size(packed_bytes)}: tlsidecar ui --replay {path}", err=True)


def _default_name(node: object) -> str:
    """With the node and the time; a node's name may hold anything."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", str(node))[:64].strip(".-") or "node"
    return f"tlsidecar-{plain}-{SYSTEM_CLOCK.now():%Y%m%dT%H%M%SZ}{SUFFIX}"


def _write(client: AdminClient, file: BinaryIO) -> tuple[int, list[str]]:
    """Everything, from one moment on: how much that is, and what could not be had and why. Raises Unreachable."""
    began = time.monotonic()
    writer = Writer(file, SYSTEM_CLOCK.now())
    left_out: list[str] = []

    def t() -> float:
        return time.monotonic() - began

    try:
        number = writer.sidecar(str(client.path))
        in_full: list[str] = []
        for target in CALLS:
            try:
                reply = client.get(target)
            except Refused as error:
                left_out.append(f"{target}: {error.message}")
                continue
            writer.reply(t(), number, target, reply)
            for name in ("connections", "refusals"):
                in_full += [f"/v1/{name}/{quote(str(row.get('id')))}" for row in rows_in(reply, name)[:IN_FULL]]
        for target in in_full:
            with contextlib.suppress(Refused):  # it is gone meanwhile
                writer.reply(t(), number, target, client.get(target))
        for target in TEXTS:
            writer.text(t(), number, target, client.request("GET", target).body.decode(errors="replace"))
        for event in client.events("0", follow=False):
            data = json.loads(event.data)
            if isinstance(data, dict):
                writer.event(t(), number, event.event, event.id, data)
    except Full:
        left_out.append("the rest, for the file would be too large")
    except Unreachable:
        raise
    except (AdminError, ValueError) as error:
        left_out.append(f"the rest: {error}")
    writer.close()
    return writer.packed_bytes, left_out


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file for its owner only, there as a whole or not at all; stdout for ``-``. Raises :class:`CommandFailed`."""
    try:
        if str(path) == "-":
            yield sys.stdout.buffer
        elif path.exists() and not stat.S_ISREG(path.stat().st_mode):
            with path.open("wb") as file:
                yield file
        else:
            with _replacing(path) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandFailed(f"cannot write {path}: {error.strerror or error}", EXIT_FAILED) from None


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with open(descriptor, "wb") as file:
            yield file
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
