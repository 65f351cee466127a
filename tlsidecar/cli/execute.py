"""``tlsidecar exec``: the sidecar first, then the command in front."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from tlsidecar.cli.context import Seconds
from tlsidecar.cli.settings_options import given, report, settings_options
from tlsidecar.config import ConfigError, Recipe


@click.command("exec", context_settings={"allow_interspersed_args": False})
@settings_options
@click.option(
    "--on-sidecar-exit",
    type=click.Choice(["stop", "keep"]),
    default="stop",
    show_default=True,
    help="What becomes of the command when the sidecar dies.",
)
@click.option(
    "--ready-timeout", type=Seconds(), default="60s", show_default=True, help="How long the sidecar may take to serve."
)
@click.option(
    "--kill-after",
    type=Seconds(),
    default="10s",
    show_default=True,
    help="When the sidecar has died: how long after TERM the command is killed.",
)
@click.argument("in_front", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]...")
@click.pass_context
def execute(
    context: click.Context,
    /,
    config_file: Path | None,
    on_sidecar_exit: str,
    ready_timeout: float,
    kill_after: float,
    in_front: tuple[str, ...],
    **flags: Any,
) -> None:
    """Serve for as long as COMMAND runs.

    The sidecar is ready before COMMAND is started, and drains after it has ended. COMMAND runs in front: stdin, stdout,
    terminal and signals are its own, and its exit code is ours (126 when it cannot be run, 127 when there is no such
    command, 128 and the signal's number when a signal ended it). Exit code 1 when the sidecar died, 2 for a bad
    configuration or material. Takes every flag of `tlsidecar run`.
    """
    recipe = Recipe(config_file, given(flags), dict(os.environ))  # the command's own changes are not ours
    try:
        settings = recipe()
    except ConfigError as error:
        report(error)
    from tlsidecar import foreground
    from tlsidecar.activation import Handed
    from tlsidecar.service_manager import ServiceManager

    handed = Handed.from_environment(os.environ)

    def serve(manager: ServiceManager) -> int:
        from tlsidecar import daemon

        return daemon.run(settings, daemon.Start(manager, handed), recipe)

    patience = foreground.Patience(ready_timeout, kill_after)
    context.exit(foreground.run(serve, in_front, foreground.OnSidecarExit(on_sidecar_exit), patience))
