"""Whom an access rule covers, part by part, so that rules can be compared without asking anybody's certificate."""

from __future__ import annotations

from enum import Enum, auto
from typing import TypeAlias


class Wildcard(Enum):
    """What stands for parts that are not named."""

    ONE = auto()  # any one of them
    REST = auto()  # all from here on, at least one; nothing comes after it


Part: TypeAlias = "str | Wildcard"
Scope: TypeAlias = tuple[Part, ...]


class Scopes:
    """Scopes by their numbers. To look one up costs its parts, and the wildcards on the way, however many there are."""

    __slots__ = ("_below", "_number")

    def __init__(self) -> None:
        self._below: dict[Part, Scopes] = {}
        self._number: int | None = None  # of the scope that ends here

    def __repr__(self) -> str:
        return f"<Scopes {self._number} {len(self._below)} below>"

    def add(self, scope: Scope, number: int) -> None:
        """Of two that are equal the one that was added first stays."""
        here = self
        for part in scope:
            here = here._below.setdefault(part, Scopes())
        if here._number is None:
            here._number = number

    def covering(self, scope: Scope) -> int | None:
        """The least number of a scope that has all in it that ``scope`` has; None where there is no such one."""
        found: list[int | None] = []
        level = [self]
        for part in scope:
            found += [here._below[Wildcard.REST]._number for here in level if Wildcard.REST in here._below]
            fits = () if part is Wildcard.REST else dict.fromkeys((part, Wildcard.ONE))
            level = [here._below[each] for here in level for each in fits if each in here._below]
        found += [here._number for here in level]
        return min((number for number in found if number is not None), default=None)
