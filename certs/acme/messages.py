"""What an ACME walk asks of whoever carries it out, and what it is told."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from certs.acme.challenges import Challenge
from certs.errors import CertsError


class AcmeError(CertsError):
    """The CA refused, or did not answer as RFC 8555 says. The text holds what the CA wrote: escape it before it
    reaches a terminal.

    ``kind`` is the problem's type without its ``urn:ietf:params:acme:error:`` (RFC 8555 section 6.7), empty where the
    CA gave none; ``retry_after_s`` is how long the CA wants to be left alone.
    """

    def __init__(self, text: str, kind: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class AcmeRequest:
    """Send this, and send back the :class:`AcmeResponse`, whatever its status."""

    method: str
    url: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class AcmeResponse:
    """``headers`` have lower-case names."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Pause:
    """Go on after so long, with ``None``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Present:
    """Be ready to answer the CA's validation, then go on with ``None``."""

    challenge: Challenge


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The challenge is over, whichever way it went."""

    challenge: Challenge


Command = AcmeRequest | Pause | Present | Withdraw

Result = TypeVar("Result")

# Yields commands, is sent a Response for each Request and None for everything else, and returns its result.
Walk = Generator[Command, AcmeResponse | None, Result]
