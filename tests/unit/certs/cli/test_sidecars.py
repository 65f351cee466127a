"""``--socket`` and ``--via``: which sidecars a command is given, and what becomes of it where there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from unit.certs.cli.commands import Scripted, among, run, serving

from certs.cli.context import CertsContext, reports_errors
from certs.cli.sidecars import names_sidecars, names_sidecars_to_tell
from certs.errors import CertsError
from certs.probe import Reach, SidecarProbe, SidecarUnreachable, UnknownTarget


def test_sockets_need_somebody_who_can_ask(out: Path, pki: Path) -> None:
    assert "tlsidecar" in run("rotate", out, "--socket", "/a.sock", code=2).stderr
    assert "tlsidecar" in run("rollover", pki, "switch", "--socket", "/a.sock", code=2).stderr


def command(names: Callable[[Callable[..., None]], Callable[..., None]]) -> click.Command:
    """Asks each that it is given, and says what came of it."""

    @click.command()
    @reports_errors
    @names
    def ask(sidecars: Sequence[SidecarProbe]) -> None:
        click.echo("begun")
        for sidecar in sidecars:
            try:
                click.echo(f"{sidecar.name} {sidecar.served().serial}")
            except CertsError as error:
                click.echo(f"{sidecar.name} {error}")

    return ask


ALL, AS_FOUND = command(names_sidecars), command(names_sidecars_to_tell)
BOTH = pytest.mark.parametrize("ask", [ALL, AS_FOUND], ids=["all", "as found"])
HERE = Scripted("here", [serving("0a")])


def asked(ask: click.Command, reach: Reach | None, *arguments: str) -> Result:
    return CliRunner().invoke(ask, arguments, obj=CertsContext(reach), catch_exceptions=False)


@BOTH
def test_without_a_target_nobody_is_looked_for(ask: click.Command) -> None:
    assert asked(ask, None).stdout == "begun\n"


@BOTH
@pytest.mark.parametrize("option", ["--socket", "--via"])
def test_nobody_to_look_for_them_is_a_usage_error(ask: click.Command, option: str) -> None:
    result = asked(ask, None, option, "x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "python -m certs knows no sidecars" in result.stderr


@BOTH
def test_sockets_and_command_lines_are_found_together(ask: click.Command) -> None:
    there = Scripted("ssh web-1", [serving("0b")])
    result = asked(ask, among(HERE, there), "--via", "ssh web-1", "--socket", "here")
    assert (result.exit_code, result.stdout) == (0, "begun\nhere 0a\nssh web-1 0b\n")


def test_who_cannot_be_found_ends_it_before_it_begins_or_answers_nothing() -> None:
    arguments = ("--socket", "gone", "--socket", "here", "--via", "lost", "--socket", "here")
    result = asked(ALL, among(HERE), *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "error: gone: leads nowhere\n")
    result = asked(AS_FOUND, among(HERE), *arguments)
    assert (result.exit_code, result.stdout) == (
        0,
        "begun\ngone gone: leads nowhere\nhere 0a\nlost lost: leads nowhere\n",
    )


@BOTH
def test_what_means_no_sidecar_is_a_usage_error(ask: click.Command) -> None:
    def reach(targets: Sequence[str], commands: Sequence[str]) -> AbstractContextManager[Sequence[SidecarProbe]]:
        raise UnknownTarget(f"{targets[0]}: no such scheme")

    result = asked(ask, reach, "--socket", "ftp://x")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "error: ftp://x: no such scheme\n")


@pytest.mark.parametrize("lost", [False, True])
def test_what_leads_there_is_let_go_of_and_its_errors_are_the_commands_own(lost: bool) -> None:
    """An error of the command's is no target that leads nowhere."""
    open_now: list[str] = []

    @contextmanager
    def reach(targets: Sequence[str], _commands: Sequence[str]) -> Iterator[Sequence[SidecarProbe]]:
        if lost and "gone" in targets:
            raise SidecarUnreachable("gone")
        open_now.extend(targets)
        try:
            yield [Scripted(name, [serving("0a")]) for name in targets]
        finally:
            for name in targets:
                open_now.remove(name)

    @click.command()
    @reports_errors
    @names_sidecars_to_tell
    def fails(sidecars: Sequence[SidecarProbe]) -> None:
        assert [sidecar.name for sidecar in sidecars] == ["here", "gone"]
        assert open_now == (["here"] if lost else ["here", "gone"])
        raise SidecarUnreachable("here: it ended")

    result = asked(fails, reach, "--socket", "here", "--socket", "gone")
    assert (result.exit_code, result.stderr) == (3, "error: here: it ended\n")
    assert open_now == []
