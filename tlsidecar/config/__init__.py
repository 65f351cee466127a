"""The configuration: read from the file, the environment and the flags, judged as a whole, given out frozen.

What is needed to read and judge is imported only when something is loaded: most commands want no more than the path
of the admin socket, and have a tenth of a second to answer in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlsidecar.config.places import default_admin_socket
from tlsidecar.config.problems import ConfigError, ConfigProblem, render_problems
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.settings import Settings

if TYPE_CHECKING:
    from tlsidecar.config.loader import Loaded
    from tlsidecar.config.show import EffectiveValue

__all__ = [
    "ConfigError",
    "ConfigProblem",
    "Recipe",
    "default_admin_socket",
    "effective",
    "json_schema",
    "load",
    "load_with_origins",
    "render_effective",
    "render_problems",
]


def load(config_file: Path | None, flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """The settings from ``config_file`` (or the file that the environment names, or one in the usual places), with
    the environment and then ``flags`` laid over it. The names of flags are those of
    :data:`tlsidecar.config.overrides.OVERRIDES`; a value of None or an empty list counts as not given.

    Raises ConfigError with every problem at once.
    """
    from tlsidecar.config.loader import load as read

    return read(config_file, flags, environ, Path.cwd())


@dataclass(frozen=True, slots=True)
class Recipe:
    """What settings were read from; calling it reads them as a start would have them by now. Raises ConfigError."""

    config_file: Path | None
    flags: Mapping[str, object]
    environ: Mapping[str, str]

    def __call__(self) -> Settings:
        return load(self.config_file, self.flags, self.environ)


def load_with_origins(config_file: Path | None, flags: Mapping[str, object], environ: Mapping[str, str]) -> Loaded:
    """The same, with where each value came from.

    Raises ConfigError with every problem at once.
    """
    from tlsidecar.config.loader import load_with_origins as read

    return read(config_file, flags, environ, Path.cwd())


def effective(loaded: Loaded) -> tuple[EffectiveValue, ...]:
    """Every key with its value and where it came from."""
    from tlsidecar.config.show import effective as show

    return show(loaded)


def render_effective(values: tuple[EffectiveValue, ...]) -> str:
    """One line a key, with where it came from in a comment."""
    from tlsidecar.config.show import render_effective as render

    return render(values)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``tlsidecar.toml``."""
    from tlsidecar.config.schema_document import json_schema as make

    return make()
