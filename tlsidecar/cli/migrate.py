"""``tlsidecar import``: another proxy's configuration as a tlsidecar.toml."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tlsidecar.cli.context import EXIT_BAD_INPUT, EXIT_FAILED, CommandFailed
from tlsidecar.cli.text import say
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
    """ghostunnel's command line, behind two dashes.

    \b
    tlsidecar import ghostunnel -- server --listen :8443 --target localhost:8080 …
    """
    from tlsidecar.migrate import ghostunnel as reader

    _write("", lambda: reader.read(flags))


@migrate.command()
@_FILE
def stunnel(file: Path) -> None:
    """stunnel's configuration FILE, or - for stdin."""
    from tlsidecar.migrate import stunnel as reader

    _write(name_of(file), lambda: reader.read(read_text(file)))


@migrate.command()
@_FILE
def hitch(file: Path) -> None:
    """hitch's configuration FILE, or - for stdin."""
    from tlsidecar.migrate import hitch as reader

    _write(name_of(file), lambda: reader.read(read_text(file)))


@migrate.command()
@_FILE
def envoy(file: Path) -> None:
    """Envoy's bootstrap FILE, or - for stdin.

    In YAML or JSON. Static listeners and clusters are read.
    """
    from tlsidecar.migrate import envoy as reader

    _write(name_of(file), lambda: reader.read(read_text(file)))


def _write(place: str, read: Callable[[], Draft]) -> None:
    try:
        with yaml_needed():
            draft = read()
        text = draft.text()
        _judge(draft, text)
    except MigrateError as error:
        raise CommandFailed(f"{place}: {error}" if place else str(error), EXIT_BAD_INPUT) from None
    click.echo(text, nl=False)
    for lost in dict.fromkeys(draft.lost):
        say(f"not carried over: {lost}", err=True)
    if draft.lost:
        click.get_current_context().exit(EXIT_FAILED)


def _judge(draft: Draft, text: str) -> None:
    """A port or a timeout that nobody could use is said before it is written down; what is missing, the draft tells by
    itself. Raises :class:`MigrateError`."""
    from tlsidecar.config import ConfigError, load

    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "tlsidecar.toml"
        file.write_text(text)
        try:
            load(file, {}, {"XDG_RUNTIME_DIR": place})
        except ConfigError as error:
            for problem in error.problems:
                table, _, rest = problem.key.partition(".")
                number, _, key = rest.partition(".")
                if table == "listener" and key in draft.listeners[int(number)]:
                    said = f"{problem.label}: {problem.message}"
                    raise MigrateError(f"it gives what is not taken here: {said}") from None
