"""``tlsidecar certs …``, also alone as ``python -m certs``."""

from __future__ import annotations

import click

from certs.cli.authority import crl, init, rollover
from certs.cli.context import CertsContext
from certs.cli.issuing import issue, rotate
from certs.cli.reading import show, verify
from certs.cli.revoking import list_issued, revoke

__all__ = ["CertsContext", "certs"]


@click.group()
def certs() -> None:
    """A local CA; issue, inspect, rotate, roll over and revoke certificates."""


for command in (init, issue, rotate, rollover, list_issued, revoke, crl, show, verify):
    certs.add_command(command)
