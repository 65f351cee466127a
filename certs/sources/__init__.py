"""Where our material comes from: files somebody else renews, or a local CA that issues it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

from certs.material import Material


@runtime_checkable
class Source(Protocol):
    """Yields candidates; whether one is fit to serve is for :mod:`certs.preflight`. Every call blocks on the disk for
    a short time and for nothing else."""

    def load(self) -> Material:
        """A complete candidate. Raises :class:`certs.errors.MaterialError`."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever :meth:`load` would give something else, or fail differently. Never raises; cheap enough to
        be asked every second. Comparable only with earlier answers of the same object."""
        ...

    def describe(self) -> str:
        """Where it comes from, in words for people: paths and names, nothing secret."""
        ...

    @property
    def renewal_due(self) -> datetime | None:
        """When :meth:`load` should be called though nothing changed; ``None`` where somebody else renews."""
        ...
