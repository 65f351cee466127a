"""What the certificate commands ask of running sidecars. They do not know the admin API: whoever starts them hands in
something that does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from certs.errors import CertsError


class SidecarUnreachable(CertsError):
    """Nobody answers on the admin socket."""


class UnknownTarget(CertsError):
    """What was named as a sidecar means none."""


class SidecarRefused(CertsError):
    """The sidecar answered, and would not."""


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One certificate of a chain: hex SHA-256 of its DER, and its issuer as RFC 4514 text."""

    sha256: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How a reload ended: ``applied``, ``unchanged`` or ``refused``, then with a reason's label and detail. ``serials``
    are those of the leaves that were found good: of several identities one may be refused, and the others applied."""

    outcome: str
    reason: str = ""
    detail: str = ""
    serials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListInUse:
    """A revocation list that a sidecar reads: its issuer as RFC 4514 text, when it was written, how many are on it."""

    issuer: str
    this_update: str
    revoked: int


@dataclass(frozen=True, slots=True)
class Served:
    """What a sidecar serves now. ``trust`` is the hex SHA-256 of each CA it trusts; ``chain`` is our own, leaf first;
    ``listeners`` are the addresses that terminate mutual TLS, ``host:port`` or ``unix:/path``. A sidecar with several
    identities serves one of these for each: this is the first, and ``others`` are the rest."""

    serial: str
    generation: int
    source: str
    trust: tuple[str, ...]
    chain: tuple[ChainLink, ...]
    listeners: tuple[str, ...]
    identity: str = ""
    lists: tuple[ListInUse, ...] = ()
    others: tuple[Served, ...] = ()

    def showing(self, serial: str) -> Served:
        """The identity that serves the leaf with this serial; the first where none does."""
        return next((each for each in (self, *self.others) if each.serial == serial), self)


@dataclass(frozen=True, slots=True)
class LivePeer:
    """The other end of one live connection, with its chain, leaf first. Its identity is hostile text."""

    connection_id: int
    listener: str
    identity: str
    chain: tuple[ChainLink, ...]


class SidecarProbe(Protocol):
    """One running sidecar. Every call raises :class:`SidecarUnreachable` or :class:`SidecarRefused` when it does not
    get its answer."""

    @property
    def name(self) -> str:
        """What it was asked for by, and tells it from all others."""
        ...

    @property
    def is_here(self) -> bool:
        """Whether the addresses that it listens on are this machine's, too."""
        ...

    def reload(self) -> Reloaded:
        """Has the sidecar read its source now; a refused candidate is an answer, not an error."""
        ...

    def served(self) -> Served: ...

    def peers(self) -> tuple[LivePeer, ...]:
        """Every live peer that showed a certificate."""
        ...


class Reach(Protocol):
    """Finds the sidecars that a user names."""

    def __call__(
        self, targets: Sequence[str], commands: Sequence[str]
    ) -> AbstractContextManager[Sequence[SidecarProbe]]:
        """Those behind ``targets``, and behind command lines that run the admin protocol somewhere, to be asked while
        the context lasts. A target may mean several. Raises :class:`UnknownTarget` and :class:`SidecarUnreachable`."""
        ...
