"""Where our material comes from.

A source *reads* what there is, which never has an effect outside, and *renews*, which may order something: a
certificate from a CA, a run of a program. Between the two it may be followed: what it finds out by itself (files that
changed, an agent that pushed) arrives as events. Whether a candidate is fit to serve is for :mod:`certs.preflight`.

Every attempt has a deadline. A source that hangs, on a file system or a CA that does not answer, fails with
``source_timeout``, and neither holds up whoever asked nor piles up threads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from certs.errors import MaterialError
from certs.material import Material


@dataclass(frozen=True, slots=True)
class Candidate:
    """The source has new material."""

    material: Material


@dataclass(frozen=True, slots=True)
class Failed:
    """The source has found out that what it would give now is not whole."""

    error: MaterialError


@dataclass(frozen=True, slots=True)
class RenewalWanted:
    """What the source has is not what it should have any more, and reading does not help: ``why`` in words."""

    why: str


Event: TypeAlias = Candidate | Failed | RenewalWanted


@runtime_checkable
class Source(Protocol):
    """Yields candidates. Its methods are called on one event loop, one at a time, but for :meth:`follow`, which runs
    beside them."""

    async def read(self) -> Material | None:
        """What there is, complete; orders nothing and changes nothing outside. ``None`` where there is nothing before
        the first :meth:`renew`: then everything that can be judged without ordering has been found in order.
        Raises :class:`certs.errors.MaterialError`."""
        ...

    async def renew(self) -> Material:
        """Order new material; where somebody else renews, the same as :meth:`read`.
        Raises :class:`certs.errors.MaterialError`."""
        ...

    def follow(self) -> AsyncIterator[Event]:
        """What the source finds out by itself, from the last :meth:`read` or :meth:`renew` on, for ever."""
        ...

    def describe(self) -> str:
        """Where it comes from, in words for people: paths and names, nothing secret."""
        ...

    @property
    def renews(self) -> bool:
        """Whether :meth:`renew` orders something, and so is to be called in time: False where somebody else renews."""
        ...
