"""``tlsidecar health`` in the listing of commands; what runs is tlsidecar.cli.health, straight from ``__main__``."""

from __future__ import annotations

import click

from tlsidecar.cli import health as fast


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.pass_context
def health(context: click.Context) -> None:
    """Ask a running sidecar for its health."""
    context.exit(fast.main(context.args))
