"""What the certificate commands ask of running sidecars. They do not know the admin API: whoever starts them hands in
something that does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from certs.errors import CertsError


class SidecarUnreachable(CertsError):
    """Nobody answers on the admin socket."""


class SidecarRefused(CertsError):
    """The sidecar answered, and would not."""


@dataclass(frozen=True, slots=True)
class ChainLink:
    """One certificate of a chain: hex SHA-256 of its DER, and its issuer as RFC 4514 text."""

    sha256: str
    issuer: str


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How a reload ended: ``applied``, ``unchanged`` or ``refused``, then with a reason's label and detail."""

    outcome: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """What a sidecar serves now. ``trust`` is the hex SHA-256 of each CA it trusts; ``chain`` is our own, leaf first;
    ``listeners`` are the addresses that terminate mutual TLS, ``host:port`` or ``unix:/path``."""

    serial: str
    generation: int
    source: str
    trust: tuple[str, ...]
    chain: tuple[ChainLink, ...]
    listeners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LivePeer:
    """The other end of one live connection, with its chain, leaf first. Its identity is hostile text."""

    connection_id: int
    listener: str
    identity: str
    chain: tuple[ChainLink, ...]


class SidecarProbe(Protocol):
    """Every call raises :class:`SidecarUnreachable` or :class:`SidecarRefused` when it does not get its answer."""

    def reload(self, socket: Path) -> Reloaded:
        """Has the sidecar read its source now; a refused candidate is an answer, not an error."""
        ...

    def served(self, socket: Path) -> Served: ...

    def peers(self, socket: Path) -> tuple[LivePeer, ...]:
        """Every live peer that showed a certificate."""
        ...
