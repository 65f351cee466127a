"""``tlsidecar certs``: the commands of the certs package, with running sidecars to ask."""

from __future__ import annotations

import click

from certs.cli import CertsContext
from certs.cli import certs as _certs
from tlsidecar.cli.reach import sidecars


@click.pass_context
def _begin(context: click.Context) -> None:
    context.obj = CertsContext(reach=sidecars)


certs = click.Group(name="certs", commands=_certs.commands, callback=_begin, help=_certs.help)
