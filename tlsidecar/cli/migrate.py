"""``tlsidecar import``: another proxy's configuration as a tlsidecar.toml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from tlsidecar.cli.context import EXIT_BAD_INPUT, EXIT_FAILED, Failure
from tlsidecar.cli.text import safe_text
from tlsidecar.cli.text_file import name_of, read_text, yaml_needed
from tlsidecar.migrate.draft import Draft, MigrateError

_FILE = click.argument("file", type=click.Path(path_type=Path, allow_dash=True))


@click.group(name="import")
def migrate() -> None:
    """Another proxy's configuration as a tlsidecar.toml on stdout.

    What was left out stands in it as comments. Exit code 1: something that guarded the original, or that it allowed,
    is not so in the result; read its first lines.

    \b
    tlsidecar import stunnel /etc/stunnel/stunnel.conf > tlsidecar.toml
    """


@migrate.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def ghostunnel(flags: tuple[str, ...]) -> None:
    """Its command line: tlsidecar import ghostunnel -- server --listen … --target …"""
    from tlsidecar.migrate import ghostunnel as reader

    _write("ghostunnel", lambda: reader.read(flags))


@migrate.command()
@_FILE
def stunnel(file: Path) -> None:
    """Its configuration FILE, or - for stdin."""
    from tlsidecar.migrate import stunnel as reader

    _write(name_of(file), lambda: reader.read(read_text(file)))


@migrate.command()
@_FILE
def hitch(file: Path) -> None:
    """Its configuration FILE, or - for stdin."""
    from tlsidecar.migrate import hitch as reader

    _write(name_of(file), lambda: reader.read(read_text(file)))


@migrate.command()
@_FILE
def envoy(file: Path) -> None:
    """Its bootstrap FILE in YAML or JSON, or - for stdin: static listeners and clusters."""
    from tlsidecar.migrate import envoy as reader

    _write(name_of(file), lambda: reader.read(read_text(file)))


def _write(place: str, read: Callable[[], Draft]) -> None:
    try:
        with yaml_needed():
            draft = read()
    except MigrateError as error:
        raise Failure(f"{place}: {error}", EXIT_BAD_INPUT) from None
    click.echo(draft.text(), nl=False)
    for lost in dict.fromkeys(draft.lost):
        click.echo(f"not carried over: {safe_text(lost)}", err=True)
    if draft.lost:
        click.get_current_context().exit(EXIT_FAILED)
