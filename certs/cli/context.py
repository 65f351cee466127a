"""What the certificate commands share: their surroundings, their exit codes, and how they speak."""

from __future__ import annotations

import functools
import getpass
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from certs.clock import SYSTEM_CLOCK, Clock
from certs.durations import parse_duration
from certs.errors import AuthorityError, CertsError, MaterialError, PublishError, RuleError, UnsafeStep
from certs.probe import Reach, SidecarRefused, SidecarUnreachable, UnknownTarget
from certs.served import HandshakeRefused
from certs.shell import has_done
from certs.text import safe_text

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4

_EXIT_CODES: tuple[tuple[type[CertsError], int], ...] = (
    (SidecarUnreachable, EXIT_UNREACHABLE),
    (SidecarRefused, EXIT_REFUSED),
    (UnknownTarget, EXIT_USAGE),
    (UnsafeStep, EXIT_REFUSED),
    (PublishError, EXIT_FAILED),
    (HandshakeRefused, EXIT_FAILED),
    (AuthorityError, EXIT_USAGE),
    (MaterialError, EXIT_USAGE),
    (RuleError, EXIT_USAGE),
)

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class CertsContext:
    """Put into click's ``ctx.obj`` by whoever embeds the commands; without one there are no sidecars to ask."""

    reach: Reach | None = None
    clock: Clock = SYSTEM_CLOCK
    sleep: Callable[[float], None] = field(default=time.sleep)

    @classmethod
    def current(cls) -> CertsContext:
        found = click.get_current_context().find_object(cls)
        return found if found is not None else cls()


class Failure(click.ClickException):
    """Ends the command with an exit code and one message on stderr."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click declares it a class variable and reads it from self

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {_safe_lines(self.message)}", err=True)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turns this package's errors into messages and exit codes; anything else is a defect and shows as one."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except CertsError as error:
            raise Failure(str(error), exit_code_of(error)) from None

    return wrapper


def exit_code_of(error: CertsError | Failure) -> int:
    """What the command ends with for it."""
    if isinstance(error, Failure):
        return error.exit_code
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), EXIT_FAILED)


def emit(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    """The result, on stdout: text with every line made safe for a terminal, or JSON."""
    if as_json:
        click.echo(json.dumps(data, indent=2))
    else:
        click.echo(_safe_lines(text))


def emit_done(data: dict[str, Any], text: str, *, as_json: bool) -> None:
    """As :func:`emit`, the result of what has changed something; its first line says what."""
    has_done(text.partition("\n")[0])
    emit(data, text, as_json=as_json)


def note(text: str) -> None:
    """Something worth knowing that is not the result, on stderr."""
    click.echo(f"note: {_safe_lines(text)}", err=True)


def requester() -> str:
    """Who asked, for the CA's journal."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "?"
    return f"command line, {name} (uid {os.getuid()})"


if TYPE_CHECKING:
    _ParamType = click.ParamType[timedelta]
else:
    _ParamType = click.ParamType  # generic only since click 8.4


class Duration(_ParamType):
    """``24h``, ``90s``, ``7d``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DIRECTORY = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
JSON = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


def _safe_lines(text: str) -> str:
    return "\n".join(safe_text(line) for line in text.split("\n"))
