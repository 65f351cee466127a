"""Certificates, revocation lists, and attempts to renew them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import NO_TEXT, T, Told
from tlsidecar.api.words import Outcome, Trigger

# What is left of a lifetime when a certificate that is not renewed by itself is warned of, and when it is an alarm.
# Fractions: a certificate may live an hour or a year.
DUE_FRACTION = 1 / 3
CRITICAL_FRACTION = 1 / 10


@dataclass(frozen=True)
class Certificate(Generic[T]):
    """One X.509 certificate. What cannot be read of it is empty."""

    subject: Annotated[T, Told("distinguished name, RFC 4514")]
    issuer: Annotated[T, Told("distinguished name, RFC 4514")]
    serial: Annotated[T, Told("lowercase hex")]
    not_before: Annotated[datetime | None, Told("valid from")]
    not_after: Annotated[datetime | None, Told("valid until")]
    identity: Annotated[T, Told("SPIFFE ID, DNS name, IP address or common name: the first there is")]
    dns: Annotated[tuple[T, ...], Told("DNS subject alternative names")]
    uris: Annotated[tuple[T, ...], Told("URI subject alternative names")]
    ips: Annotated[tuple[T, ...], Told("IP subject alternative names")]
    key: Annotated[T, Told("kind and size of its key")]
    signature: Annotated[T, Told("algorithm it is signed with")]
    is_ca: Annotated[bool, Told("whether it may issue others")]
    sha256: Annotated[T, Told("fingerprint of the certificate, hex")]
    spki_sha256: Annotated[T, Told("fingerprint of its public key, hex")]


@dataclass(frozen=True)
class RevocationList(Generic[T]):
    """One CRL in use."""

    issuer: Annotated[T, Told("distinguished name, RFC 4514")]
    this_update: Annotated[datetime | None, Told("when it was written", always=True)]
    next_update: Annotated[datetime | None, Told("when it expires")]
    revoked: Annotated[int, Told("certificates on it")]


@dataclass(frozen=True)
class Difference(Generic[T]):
    """One thing that new material changed."""

    what: Annotated[T, Told("names, subject, issuer, key, lifetime, signature or trust")]
    before: Annotated[T, Told("as it was; a key by its kind and the beginning of its digest", long=True)]
    after: Annotated[T, Told("as it is", long=True)]


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """One attempt to put new material to use."""

    at: Annotated[datetime | None, Told("when", always=True)]
    trigger: Annotated[T, Told("what asked for it", words=Trigger)]
    outcome: Annotated[T, Told("how it ended", words=Outcome)]
    reason: Annotated[T, Told("why it was refused, for programs; empty otherwise")] = NO_TEXT
    detail: Annotated[T, Told("why, in words", long=True)] = NO_TEXT
    generation: Annotated[int, Told("in use afterwards")] = 0
    previous_serial: Annotated[T, Told("of the leaf before, lowercase hex")] = NO_TEXT
    serial: Annotated[T, Told("of the leaf afterwards, lowercase hex")] = NO_TEXT
    duration_s: Annotated[float, Told("how long it took", unit="s")] = 0.0
    warnings: Annotated[tuple[T, ...], Told("what was accepted all the same")] = ()
    configuration: Annotated[
        T,
        Told(
            "applied: the one on disk is in force now; not applied: it needs a restart, or the material it names was "
            "refused; invalid: it would be refused; empty: nothing differed, or nobody asked"
        ),
    ] = NO_TEXT
    configuration_changes: Annotated[
        tuple[T, ...], Told("the keys that differ from the configuration in force, or what is wrong with it")
    ] = ()
    differences: Annotated[
        tuple[Difference[T], ...], Told("what the new material changed; empty for a renewal of the same")
    ] = ()
    identity: Annotated[T, Told("our identity it was made for, by its name in the configuration")] = NO_TEXT


@dataclass(frozen=True)
class OwnMaterial(Generic[T]):
    """What one identity of ours serves and trusts now."""

    generation: Annotated[int, Told("of the material in use; 0 before the first")]
    activated_at: Annotated[datetime | None, Told("in use since")]
    source: Annotated[T, Told("where the material comes from, in words", long=True)]
    leaf: Annotated[Certificate[T] | None, Told("ours; null before the first generation")]
    chain: Annotated[tuple[Certificate[T], ...], Told("the intermediates we send, the leaf's issuer first")]
    trust: Annotated[tuple[Certificate[T], ...], Told("who may vouch for peers")]
    crls: Annotated[tuple[RevocationList[T], ...], Told("revocation lists in use")]
    next_renewal_at: Annotated[datetime | None, Told("when the source renews; null when it never does by itself")]
    last_attempt: Annotated[Attempt[T] | None, Told("the last attempt to put material to use")]
    connections_by_generation: Annotated[Mapping[T, int], Told("open connections by the generation they began under")]


@dataclass(frozen=True)
class OwnIdentity(OwnMaterial[T], Generic[T]):
    """One identity of ours, with what it serves and trusts now."""

    name: Annotated[T, Told("its name in the configuration; `default` where there is one without a name")]
    listeners: Annotated[tuple[T, ...], Told("those that show it, by their names")]


@dataclass(frozen=True)
class Certificates(OwnMaterial[T], Generic[T]):
    """What is served and trusted now: of the first identity, and then of each."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    attempts: Annotated[
        tuple[Attempt[T], ...],
        Told("the time line: the newest attempts of all identities, newest first, at most 50"),
    ] = ()
    identities: Annotated[tuple[OwnIdentity[T], ...], Told("each, in the order of the configuration")] = ()


@dataclass(frozen=True)
class AttemptReply(Generic[T]):
    """The answer to a reload or a rotation; beside ``error`` when it was refused."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    outcome: Annotated[T, Told("how it ended", words=Outcome)]
    attempt: Annotated[Attempt[T], Told("the attempt in full; of several the most telling, a refusal first")]
    attempts: Annotated[tuple[Attempt[T], ...], Told("that of each identity which was asked")] = ()
