"""``tlsidecar ui``: the interactive console, or with ``--once``, ``-o`` or ``--watch`` its plain twin.

The toolkit is imported only when the console really starts, so that the plain forms work without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import click
from click.shell_completion import CompletionItem

from tlsidecar.api.recording import RecordingError, read_recording
from tlsidecar.api.sockets import usual_sockets
from tui.character_set import is_ascii_only
from tui.once import Format, OnceOptions, once
from tui.options import DEFAULT_THEME, Options
from tui.reach.processes import Processes
from tui.reach.sources import Source
from tui.reach.targets import BadTarget, local, parse_command, parse_target
from tui.recorder import open_new
from tui.replay.moments import FORMS, seconds_of
from tui.replay.playback import SPEEDS, Playback
from tui.replay.source import replay_sources
from tui.text import safe_text

_USAGE_ERROR = 2
_MOMENT_S = 10.0


def default_socket() -> Path:
    """``$TLSIDECAR_ADMIN_SOCKET``, else in ``$XDG_RUNTIME_DIR``, else in ``/run``."""
    if named := os.environ.get("TLSIDECAR_ADMIN_SOCKET"):
        return Path(named)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "tlsidecar" / "admin.sock"
    return Path("/run/tlsidecar/admin.sock")


def _completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The admin sockets of this machine; of files, whatever else begins so."""
    found = [CompletionItem(path) for path in usual_sockets(os.environ) if path.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


@click.command(
    name="ui",
    short_help="The terminal UI on a running sidecar.",
    epilog="Exit codes of the plain forms: 0 all is well, 1 warnings, 2 something is critical, 3 not reachable.",
)
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=_completed)
@click.option(
    "--socket",
    "sockets",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    shell_complete=_completed,
    help="Admin socket of a sidecar; repeat it to watch several. Default: $TLSIDECAR_ADMIN_SOCKET, else "
    "tlsidecar/admin.sock in $XDG_RUNTIME_DIR, else /run/tlsidecar/admin.sock.",
)
@click.option(
    "--via",
    "commands",
    multiple=True,
    metavar="COMMAND",
    help="A command that runs `tlsidecar admin-pipe` beside a sidecar; repeat it for several. Split into words as a "
    "shell does, run without one.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what all sidecars tell into a new file, at most 64 MiB; with --watch, too.",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Show a recording, or what `tlsidecar snapshot` wrote, in place of running sidecars.",
)
@click.option("--at", metavar="TIME", help=f"With --replay, where it begins: {FORMS}.")
@click.option(
    "--speed",
    type=click.Choice([f"{each:g}" for each in SPEEDS]),
    default="1",
    show_default=True,
    help="With --replay, how fast it goes.",
)
@click.option("--read-only", is_flag=True, help="Watch only: no action can change anything.")
@click.option("--once", "plain", is_flag=True, help="Print one look as plain text and leave.")
@click.option(
    "-o",
    "--output",
    "output",
    type=click.Choice([each.value for each in Format]),
    help="Print one look in this form and leave.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@click.option("--watch", is_flag=True, help="Print a line of JSON a second until interrupted.")
@click.option("--no-mouse", is_flag=True, help="Leave the mouse to the terminal, to select text with.")
@click.option(
    "--ascii/--no-ascii",
    "ascii_art",
    default=None,
    help="Draw with ASCII signs only; by itself where LC_ALL, LC_CTYPE or LANG is none of UTF-8.",
)
@click.option(
    "--theme",
    default=DEFAULT_THEME,
    show_default=True,
    metavar="NAME",
    help="Colours; ansi-dark and ansi-light take the terminal's own.",
)
@click.pass_context
def ui(
    context: click.Context,
    *,
    targets: tuple[str, ...],
    sockets: tuple[Path, ...],
    commands: tuple[str, ...],
    record: Path | None,
    replay: Path | None,
    at: str | None,
    speed: str,
    read_only: bool,
    plain: bool,
    output: str | None,
    as_json: bool,
    watch: bool,
    no_mouse: bool,
    ascii_art: bool | None,
    theme: str,
) -> None:
    """Show what a running sidecar is doing: what is wrong, who is refused and why, which certificate expires next,
    and whether traffic flows.

    TARGET is an admin socket, a directory of them, ssh://[USER@]HOST[:PORT][/SOCKET], kube://[CONTEXT/]NAMESPACE/POD,
    kube://[CONTEXT/]NAMESPACE/?LABEL=VALUE (all such pods) or docker://CONTAINER, reached by your own ssh, kubectl or
    docker, which run `tlsidecar admin-pipe` there. Several are shown as a list, worst first.

    Without a terminal on stdin, stdout and stderr, or with TERM=dumb, it prints one look and leaves, as --once does.
    """
    if output is not None and as_json and output != Format.JSON:
        raise click.UsageError(f"--json and -o {output} contradict each other")
    is_plain = plain or output is not None or as_json or watch or not _is_interactive()
    if ascii_art is None:
        ascii_art = is_ascii_only(os.environ)
    form = Format.JSON if as_json else Format(output or Format.TABLE)
    if replay is not None:
        if sockets or targets or commands or record or watch:
            raise click.UsageError("--replay shows a file: it goes with no target, no --record and no --watch")
        playback = _playback(replay, at, float(speed), at_end=is_plain)
        sources = replay_sources(playback)
        if is_plain:
            context.exit(once(OnceOptions(sources, form, False, ascii_art), clock=playback))
        options = Options(sources, True, not no_mouse, ascii_art, theme, playback=playback)
        context.exit(_console(options, context.obj))
    if at is not None or speed != "1":
        raise click.UsageError("--at and --speed are about a recording: they go with --replay")
    if record is not None and is_plain and not watch:
        raise click.UsageError("--record needs a terminal, or --watch; tlsidecar snapshot writes a file of one moment")
    processes = Processes()
    sources = _sources(sockets, targets, commands, processes)
    recording = None if record is None else _new_recording(record)
    if is_plain:
        context.exit(once(OnceOptions(sources, form, watch, ascii_art, processes, recording)))
    options = Options(sources, read_only, not no_mouse, ascii_art, theme, processes=processes, record=recording)
    context.exit(_console(options, context.obj))


def _playback(file: Path, at: str | None, speed: float, *, at_end: bool) -> Playback:
    """Of one that is hardly longer than a moment, as a snapshot, there is only the end. Raises BadParameter."""
    try:
        recording = read_recording(file)
    except RecordingError as error:
        raise click.BadParameter(str(error), param_hint="--replay") from None
    if recording.complaint and at_end:
        click.echo(f"tlsidecar ui: {safe_text(str(file))}: {recording.complaint}", err=True)
    try:
        at_s = None if at is None else seconds_of(at, recording)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from None
    return Playback(recording, at_end=at_end or recording.end_s - recording.start_s < _MOMENT_S, at_s=at_s, speed=speed)


def _new_recording(file: Path) -> BinaryIO:
    """Raises BadParameter."""
    try:
        return open_new(file)
    except OSError as error:
        words = safe_text(error.strerror or str(error), 80)
        raise click.BadParameter(f"{safe_text(str(file))}: {words}", param_hint="--record") from None


def _sources(
    sockets: Sequence[Path], targets: Sequence[str], commands: Sequence[str], processes: Processes
) -> tuple[Source, ...]:
    """Everything named, each once; the default socket where nothing is."""
    try:
        named = [
            *(local(socket) for socket in sockets),
            *(parse_target(target, processes) for target in targets),
            *(parse_command(command, processes) for command in commands),
        ]
    except BadTarget as error:
        raise click.UsageError(str(error)) from None
    return tuple({source.name: source for source in named or [local(default_socket())]}.values())


def _is_interactive() -> bool:
    return os.environ.get("TERM", "") != "dumb" and all(
        stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)
    )


def _console(options: Options, install_line: Callable[[], str] | None) -> int:
    """``install_line`` is from whoever embeds the command, and knows how this installation was made."""
    try:
        from tui.app import Console
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("textual", "rich"):
            raise
        line = install_line() if install_line is not None else "pip install textual"
        click.echo(f"tlsidecar ui: the terminal UI needs Textual: {line}", err=True)
        return _USAGE_ERROR
    if options.theme not in Console.theme_names():
        known = ", ".join(Console.theme_names())
        click.echo(f"tlsidecar ui: no theme is called '{safe_text(options.theme, 40)}'; there are {known}", err=True)
        return _USAGE_ERROR
    console = Console(options) if options.playback is None else Console(options, options.playback)
    console.run(mouse=options.mouse)
    return console.return_code or 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``tlsidecar ui`` with these arguments (default: the process's own) and return the exit code."""
    try:
        result = ui.main(args=None if argv is None else list(argv), prog_name="tlsidecar ui", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    raise SystemExit(main())
