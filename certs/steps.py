"""Work that is made in steps, for who has other things to do meanwhile: a generator that yields between two of them and
returns what came of all."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]


def at_once(steps: Steps[T]) -> T:
    """What comes of them, one after the other. Raises what they raise."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
