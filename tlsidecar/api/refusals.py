"""Who was turned away by a decision of ours."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, cast

from tlsidecar.api.declare import NO_TEXT, Doc, T
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Refusal(Generic[T]):
    """One connection or request turned away, with who it was where a certificate was shown."""

    id: Annotated[T, Doc("what it is called: r and its number, as in r17")]
    seq: Annotated[int, Doc("its number, from 1")]
    at: Annotated[datetime | None, Doc("when", always=True)]
    listener: Annotated[T, Doc("the listener's name")]
    peer_address: Annotated[T, Doc("who connected to us")]
    side: Annotated[T, Doc("who turned it away: we (local) or the other end (peer)")]
    stage: Annotated[T, Doc("how far it had come")]
    reason: Annotated[T, Doc("why, for programs")]
    sentence: Annotated[T, Doc("why, in words")]
    detail: Annotated[T, Doc("more, where there is more", long=True)]
    identity: Annotated[T, Doc("who the certificate says it is")]
    subject: Annotated[T, Doc("the certificate's distinguished name")]
    issuer: Annotated[T, Doc("its issuer's distinguished name")]
    serial: Annotated[T, Doc("its serial number, lowercase hex")]
    not_after: Annotated[datetime | None, Doc("it is valid until")]
    rule: Annotated[T, Doc("the rule that decided")]
    connection_id: Annotated[int, Doc("the connection's; 0 before there was one")]
    status: Annotated[int, Doc("the HTTP status answered; 0 for a connection")]
    method: Annotated[T, Doc("the request's method")]
    target: Annotated[T, Doc("the request's target", long=True)]
    request_id: Annotated[T, Doc("the request's id")]
    sha256: Annotated[T, Doc("fingerprint of the certificate that was shown, hex; empty without one")]
    own_identity: Annotated[T, Doc("which of our identities it was to be served under, by name")] = NO_TEXT

    @property
    def who(self) -> T:
        """The best name there is for who was refused."""
        return self.identity or self.subject or self.peer_address or cast("T", "unknown")


@dataclass(frozen=True)
class RefusalGroup(Generic[T]):
    """The refusals of one party for one reason; all without a certificate from one address are one party."""

    who: Annotated[T, Doc("the best name there is for the party")]
    known: Annotated[bool, Doc("whether the trust bundle vouches for the name")]
    listener: Annotated[T, Doc("the listener's name")]
    side: Annotated[T, Doc("who turned it away: we (local) or the other end (peer)")]
    stage: Annotated[T, Doc("how far it had come")]
    reason: Annotated[T, Doc("why, for programs")]
    sentence: Annotated[T, Doc("why, in words")]
    rule: Annotated[T, Doc("the rule that decided")]
    count: Annotated[int, Doc("since the process began")]
    first_at: Annotated[datetime | None, Doc("the first of them", always=True)]
    last_at: Annotated[datetime | None, Doc("the newest of them", always=True)]
    newest_seq: Annotated[int, Doc("the number of the newest of them")]
    peer_address: Annotated[T, Doc("where the newest came from")]


@dataclass(frozen=True)
class Refusals(Generic[T]):
    """The newest refusals."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    total: Annotated[int, Doc("since the process began")]
    refusals: Annotated[tuple[Refusal[T], ...], Doc("newest first")]
    groups: Annotated[tuple[RefusalGroup[T], ...], Doc("by party and reason, the newest first")]
    probes: Annotated[int, Doc("connections that closed without a byte since the process began: no refusals")]
