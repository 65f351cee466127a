"""``tlsidecar run | demo``: what serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tlsidecar.cli.serving import RunOptions, serve
from tlsidecar.cli.settings_options import given, settings_options


@click.command()
@settings_options
@click.option("--take-over", is_flag=True, help="Take the listening sockets of the one that runs, then let it drain.")
@click.pass_context
def run(context: click.Context, /, config_file: Path | None, take_over: bool, **flags: Any) -> None:
    """Serve until TERM or INT.

    Everything can be in the configuration file; one listener can be given by flags alone. Every key that `tlsidecar
    config schema` shows has a flag, hidden here but for the most used.
    """
    context.exit(serve(RunOptions(config_file, given(flags), take_over)))


@click.command()
@click.option("--once", is_flag=True, help="Prove every line and leave; do not open the terminal UI.")
@click.pass_context
def demo(context: click.Context, once: bool) -> None:
    """A whole mTLS set-up on loopback, nothing to configure: it proves itself line by line."""
    from tlsidecar.demo import main as demonstrate

    context.exit(demonstrate(once))
