"""Who was turned away by a decision of ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, cast

from tlsidecar.api.declare import NO_TEXT, T, Told


@dataclass(frozen=True)
class Refusal(Generic[T]):
    """One connection or request turned away, with who it was where a certificate was shown."""

    id: Annotated[T, Told("what it is called: r and its number, as in r17")]
    seq: Annotated[int, Told("its number, from 1")]
    at: Annotated[datetime | None, Told("when", always=True)]
    listener: Annotated[T, Told("the listener's name")]
    peer_address: Annotated[T, Told("who connected to us")]
    side: Annotated[T, Told("who turned it away: we (local) or the other end (peer)")]
    stage: Annotated[T, Told("how far it had come")]
    reason: Annotated[T, Told("why, for programs")]
    sentence: Annotated[T, Told("why, in words")]
    detail: Annotated[T, Told("more, where there is more", long=True)]
    identity: Annotated[T, Told("who the certificate says it is")]
    subject: Annotated[T, Told("the certificate's distinguished name")]
    issuer: Annotated[T, Told("its issuer's distinguished name")]
    serial: Annotated[T, Told("its serial number, lowercase hex")]
    not_after: Annotated[datetime | None, Told("it is valid until")]
    rule: Annotated[T, Told("the rule that decided")]
    connection_id: Annotated[int, Told("the connection's; 0 before there was one")]
    status: Annotated[int, Told("the HTTP status answered; 0 for a connection")]
    method: Annotated[T, Told("the request's method")]
    target: Annotated[T, Told("the request's target", long=True)]
    request_id: Annotated[T, Told("the request's id")]
    sha256: Annotated[T, Told("fingerprint of the certificate that was shown, hex; empty without one")]
    own_identity: Annotated[T, Told("which of our identities it was to be served under, by name")] = NO_TEXT

    @property
    def who(self) -> T:
        """The best name there is for who was refused."""
        return self.identity or self.subject or self.peer_address or cast("T", "unknown")


@dataclass(frozen=True)
class RefusalGroup(Generic[T]):
    """The refusals of one party for one reason; all without a certificate from one address are one party."""

    who: Annotated[T, Told("the best name there is for the party")]
    known: Annotated[bool, Told("whether the trust bundle vouches for the name")]
    listener: Annotated[T, Told("the listener's name")]
    side: Annotated[T, Told("who turned it away: we (local) or the other end (peer)")]
    stage: Annotated[T, Told("how far it had come")]
    reason: Annotated[T, Told("why, for programs")]
    sentence: Annotated[T, Told("why, in words")]
    rule: Annotated[T, Told("the rule that decided")]
    count: Annotated[int, Told("since the process began")]
    first_at: Annotated[datetime | None, Told("the first of them", always=True)]
    last_at: Annotated[datetime | None, Told("the newest of them", always=True)]
    newest_seq: Annotated[int, Told("the number of the newest of them")]
    peer_address: Annotated[T, Told("where the newest came from")]


@dataclass(frozen=True)
class Refusals(Generic[T]):
    """The newest refusals."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    total: Annotated[int, Told("since the process began")]
    refusals: Annotated[tuple[Refusal[T], ...], Told("newest first")]
    groups: Annotated[tuple[RefusalGroup[T], ...], Told("by party and reason, the newest first")]
    probes: Annotated[int, Told("connections that closed without a byte since the process began: no refusals")]
