"""What ``tlsidecar run`` does once its flags are known; and the flags of a command line that is plainly right.

A sidecar is started with what a unit or a manifest says, over and over the same, and keeps what it has loaded until it
ends. So a command line that needs no explanation goes without click, which is 1.75 MiB with what it imports. What
needs one (help, a flag that is not there, a value that is missing) is left to click, whole.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tlsidecar.config import ConfigError, Recipe
from tlsidecar.config.overrides import OVERRIDES, FlagKind

EXIT_BAD_INPUT = 2


class RunOptions(NamedTuple):
    """What ``run`` was given: ``flags`` by the names of :data:`tlsidecar.config.overrides.OVERRIDES`."""

    config_file: Path | None
    flags: Mapping[str, object]
    take_over: bool


def plainly_asked(arguments: Sequence[str]) -> RunOptions | None:
    """What follows ``run``, where each argument is a flag that there is, with its value; None: click is to say."""
    config_file: Path | None = None
    flags: dict[str, object] = {}
    take_over = False
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if argument == "--take-over":
            take_over = True
            continue
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or "_" in flag or (name != "config" and name not in OVERRIDES):
            return None
        if name != "config" and OVERRIDES[name].kind is FlagKind.FLAG:
            if equals:
                return None
            flags[name] = True
            continue
        if not equals:
            value = next(rest, "")
        if not value or (not equals and value.startswith("-")):
            return None
        if name == "config":
            config_file = Path(value)
        elif OVERRIDES[name].kind is FlagKind.LIST:
            flags[name] = [*_listed(flags.get(name)), value]
        else:
            flags[name] = value
    if config_file is not None and config_file.is_dir():
        return None
    return RunOptions(config_file, flags, take_over)


def _listed(before: object) -> list[object]:
    return before if isinstance(before, list) else []


def serve(options: RunOptions) -> int:
    """Serve until told to stop; returns the exit code. What is wrong with the configuration is said on stderr."""
    recipe = Recipe(options.config_file, options.flags, os.environ)
    try:
        settings = recipe()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_BAD_INPUT
    from tlsidecar import daemon
    from tlsidecar.activation import Handed
    from tlsidecar.service_manager import ServiceManager

    manager, handed = ServiceManager.from_environment(os.environ), Handed.from_environment(os.environ)
    return daemon.run(settings, daemon.Start(manager, handed, options.take_over), recipe)
