"""What the commands that talk to a sidecar share: its socket, the form of the output, the exit codes."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certs.shell import has_done
from tlsidecar.admin.client import ANSWER_S, AdminClient
from tlsidecar.api.errors import BadReply, Refused, Unreachable
from tlsidecar.cli.text import say
from tlsidecar.config import default_admin_socket

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _ParamType = click.ParamType[float]
else:
    _ParamType = click.ParamType  # generic only since click 8.4

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4


class CommandFailed(click.ClickException):
    """Ends the command with one line on stderr and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click declares it a class variable and reads it from self

    def show(self, file: Any = None) -> None:
        say(f"Error: {self.message}", err=True)


def _sockets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Imported only where a shell asks: a probe that runs every second does not pay for it."""
    from tlsidecar.cli import completion

    return completion.sockets(context, parameter, incomplete)


def socket_path_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--socket PATH``: handed to the command as ``socket_path``, the default one where it is not given."""

    @click.option(
        "--socket",
        "socket_path",
        type=click.Path(path_type=Path),
        metavar="PATH",
        shell_complete=_sockets,
        help="The sidecar's admin socket.  [default: $TLSIDECAR_ADMIN_SOCKET, else tlsidecar/admin.sock in "
        "$XDG_RUNTIME_DIR, else /run/tlsidecar/admin.sock]",
    )
    @functools.wraps(command)
    def wrapper(*args: Any, socket_path: Path | None, **kwargs: Any) -> Any:
        return command(*args, socket_path=socket_path or default_admin_socket(os.environ), **kwargs)

    return wrapper


def socket_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--socket PATH``: handed to the command as ``client``."""

    @socket_path_option
    @functools.wraps(command)
    def wrapper(*args: Any, socket_path: Path, **kwargs: Any) -> Any:
        try:
            return command(*args, client=AdminClient(socket_path), **kwargs)
        except (Unreachable, BadReply) as error:
            raise CommandFailed(str(error), EXIT_UNREACHABLE) from None
        except Refused as error:
            raise CommandFailed(f"{error.code}: {error.message}", EXIT_REFUSED) from None

    return wrapper


json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


def echo_json(document: object) -> None:
    """One document, in ASCII: what came from a peer is escaped by JSON itself."""
    click.echo(json.dumps(document, indent=2))


def call(
    client: AdminClient,
    method: str,
    target: str,
    body: Mapping[str, object] | None,
    as_json: bool,
    answer_s: float = ANSWER_S,
) -> dict[str, Any]:
    """The reply to a change. With ``--json`` a refusal is data, too: all of it on stdout, beside the exit code."""
    try:
        document = client.call(method, target, body, answer_s=answer_s)
    except Refused as error:
        if as_json:
            echo_json(error.body)
        raise
    has_done(click.get_current_context().info_name or method)
    return document


class Number(click.IntRange):
    """A whole number, so named in error messages, where click would speak of an ``integer range``."""

    name = "whole number"


expect_option = click.option(
    "--expect",
    "expected",
    type=Number(0),
    metavar="N",
    help="How many connections you mean: refused (exit code 4) where it is off by more than a tenth.",
)


class Seconds(_ParamType):
    """``30s``, ``5m``, ``1h30m``, ``500ms``, and ``0s``; the value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from certs.durations import parse_seconds

        try:
            return parse_seconds(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
