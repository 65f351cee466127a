"""What is wrong with a configuration: every problem, with its key, its place and what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from tlsidecar.lazy_dataclass import dataclass

Key = tuple[str | int, ...]
"""Where a value stands in the tree: ``("listener", 0, "upstream")``."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing to put right.

    ``key`` is dotted (``listener.0.upstream``; empty when the whole file is meant), ``label`` the same with the
    listener's or identity's name (``listener[web].upstream``), ``where`` is ``file:line``, a flag, or an environment
    variable.
    """

    key: str
    message: str
    suggestion: str = ""
    where: str = ""
    label: str = ""

    def __str__(self) -> str:
        said = ": ".join(part for part in (self.where, self.label or self.key, self.message) if part)
        return f"{said}; {self.suggestion}" if self.suggestion else said

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class ConfigError(Exception):
    """The configuration cannot be used. ``problems`` has all of them, in the order of the file. Picklable."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return render_problems(self)


class InvalidValue(ValueError):
    """One value that cannot be read, with what to write instead where that is known."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


def render_problems(error: ConfigError) -> str:
    """One line a problem, the place first, as compilers write it."""
    return "\n".join(str(problem) for problem in error.problems)


def dotted(key: Key) -> str:
    """``listener.0.upstream``; keys that are not bare are quoted, so that they cannot be mistaken or act."""
    return ".".join(_part(part) for part in key)


def labelled(key: Key, name: object) -> str:
    """``listener[web].upstream`` where the key lies in one of several tables that has a ``name``, else the dotted
    key."""
    if len(key) < 2 or not isinstance(key[1], int) or not isinstance(name, str) or not name:
        return dotted(key)
    return ".".join([f"{_part(key[0])}[{_part(name)}]", *(_part(part) for part in key[2:])])


def quoted(value: object) -> str:
    """A value for a message: on one line, escaped and cut to a readable length."""
    text = escaped(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def escaped(value: object) -> str:
    """As :func:`quoted`, whole: for the name of a file, whose end says most."""
    return json.dumps(value if isinstance(value, str | int | float | bool | list | dict) else str(value), default=str)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean "upstream"?``, or nothing when no known word is close."""
    close = closest(word, known, cutoff=0.6)
    return f'did you mean "{close}"?' if close else ""


def closest(word: str, known: Iterable[str], cutoff: float) -> str:
    """The known word most like this one, or nothing when none is as like it as ``cutoff`` (of 1) asks for."""
    from difflib import get_close_matches  # only ever needed on the way out

    close = get_close_matches(word[:_SHOWN_CHARACTERS].lower(), list(known), n=1, cutoff=cutoff)
    return close[0] if close else ""


def _part(part: str | int) -> str:
    text = str(part)
    return text if _BARE_KEY.fullmatch(text) else quoted(text)
