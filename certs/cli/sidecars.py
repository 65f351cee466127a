"""The running sidecars that a command is given: ``--socket`` and ``--via``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import click

from certs.cli.context import CertsContext
from certs.probe import Reach, SidecarProbe, SidecarUnreachable

R = TypeVar("R")


def names_sidecars(command: Callable[..., R]) -> Callable[..., R]:
    """Hands them to the command as ``sidecars``, to be asked while it runs. Where one cannot be found, nothing is
    begun. Belongs below :func:`~certs.cli.context.reports_errors`."""
    return _naming(command, lambda reach, targets, commands: reach(targets, commands))


def names_sidecars_to_tell(command: Callable[..., R]) -> Callable[..., R]:
    """As :func:`names_sidecars`, for a command that does what it is for whether they can be found or not: a target that
    leads to nobody is a sidecar that does not answer."""
    return _naming(command, _as_far_as_found)


def _naming(
    command: Callable[..., R],
    reached: Callable[[Reach, Sequence[str], Sequence[str]], AbstractContextManager[Sequence[SidecarProbe]]],
) -> Callable[..., R]:
    @click.option(
        "--socket",
        "targets",
        metavar="TARGET",
        multiple=True,
        help="A sidecar: its admin socket, a directory of them, or ssh://…, kube://… or docker://… as of tlsidecar ui; "
        "repeatable.",
    )
    @click.option(
        "--via",
        "commands",
        metavar="COMMAND",
        multiple=True,
        help="A command line that runs `tlsidecar admin-pipe` where a sidecar is; repeatable.",
    )
    @functools.wraps(command)
    def wrapper(*args: Any, targets: tuple[str, ...], commands: tuple[str, ...], **kwargs: Any) -> R:
        reach = CertsContext.current().reach
        if not (targets or commands):
            return command(*args, sidecars=(), **kwargs)
        if reach is None:
            raise click.UsageError("--socket needs the tlsidecar command: python -m certs knows no sidecars")
        with reached(reach, targets, commands) as sidecars:
            return command(*args, sidecars=sidecars, **kwargs)

    return wrapper


@contextmanager
def _as_far_as_found(reach: Reach, targets: Sequence[str], commands: Sequence[str]) -> Iterator[Sequence[SidecarProbe]]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(reach(targets, commands))
        except SidecarUnreachable:  # which names whoever is in the way, and gives none of the others
            found = _each_as_far_as_found(stack, reach, targets, commands)
        yield found


def _each_as_far_as_found(
    stack: ExitStack, reach: Reach, targets: Sequence[str], commands: Sequence[str]
) -> Sequence[SidecarProbe]:
    found: dict[str, SidecarProbe] = {}
    alone: list[tuple[str, Sequence[str], Sequence[str]]] = [(target, (target,), ()) for target in targets]
    alone += [(command, (), (command,)) for command in commands]
    for name, target, command in alone:
        try:
            several = stack.enter_context(reach(target, command))
        except SidecarUnreachable as error:
            several = (_Nobody(name, error),)
        for each in several:
            found.setdefault(each.name, each)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Nobody:
    """Implements certs.probe.SidecarProbe for a target that led to none."""

    name: str
    error: SidecarUnreachable
    is_here: bool = False

    def reload(self) -> NoReturn:
        raise self.error

    def served(self) -> NoReturn:
        raise self.error

    def peers(self) -> NoReturn:
        raise self.error
