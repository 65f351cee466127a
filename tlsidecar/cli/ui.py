"""``tlsidecar ui``: the terminal UI, where it is installed."""

from __future__ import annotations

import functools

import click

from tlsidecar.cli.context import EXIT_BAD_INPUT, CommandFailed
from tlsidecar.extras import install_line


def _installed() -> click.Command | None:
    try:
        from tui.cli import ui as found
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("tui", "textual"):
            raise
        return None
    found.context_settings["obj"] = functools.partial(install_line, "ui")
    return found


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def _absent() -> None:
    """The terminal UI, which is not installed."""
    raise CommandFailed("this installation has no terminal UI: it was made without the package tui", EXIT_BAD_INPUT)


ui = _installed() or _absent
