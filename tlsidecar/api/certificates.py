"""Certificates, revocation lists, and attempts to renew them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.declare import NO_TEXT, Doc, T
from tlsidecar.api.words import Outcome, Trigger
from tlsidecar.lazy_dataclass import dataclass

# What is left of a lifetime when a certificate that is not renewed by itself is warned of, and when it is an alarm.
# Fractions: a certificate may live an hour or a year.
DUE_FRACTION = 1 / 3
CRITICAL_FRACTION = 1 / 10


@dataclass(frozen=True)
class Certificate(Generic[T]):
    """One X.509 certificate. What cannot be read of it is empty."""

    subject: Annotated[T, Doc("distinguished name, RFC 4514")]
    issuer: Annotated[T, Doc("distinguished name, RFC 4514")]
    serial: Annotated[T, Doc("lowercase hex")]
    not_before: Annotated[datetime | None, Doc("valid from")]
    not_after: Annotated[datetime | None, Doc("valid until")]
    identity: Annotated[T, Doc("SPIFFE ID, DNS name, IP address or common name: the first there is")]
    dns: Annotated[tuple[T, ...], Doc("DNS subject alternative names")]
    uris: Annotated[tuple[T, ...], Doc("URI subject alternative names")]
    ips: Annotated[tuple[T, ...], Doc("IP subject alternative names")]
    key: Annotated[T, Doc("kind and size of its key")]
    signature: Annotated[T, Doc("algorithm it is signed with")]
    is_ca: Annotated[bool, Doc("whether it may issue others")]
    sha256: Annotated[T, Doc("fingerprint of the certificate, hex")]
    spki_sha256: Annotated[T, Doc("fingerprint of its public key, hex")]


@dataclass(frozen=True)
class RevocationList(Generic[T]):
    """One CRL in use."""

    issuer: Annotated[T, Doc("distinguished name, RFC 4514")]
    this_update: Annotated[datetime | None, Doc("when it was written", always=True)]
    next_update: Annotated[datetime | None, Doc("when it expires")]
    revoked: Annotated[int, Doc("certificates on it")]


@dataclass(frozen=True)
class FederatedTrust(Generic[T]):
    """The CAs of one SPIFFE trust domain: good for its workloads, and for nobody else."""

    trust_domain: Annotated[T, Doc("its name")]
    trust: Annotated[tuple[Certificate[T], ...], Doc("who may vouch for its workloads; empty: none is let in")]


@dataclass(frozen=True)
class Difference(Generic[T]):
    """One thing that new material changed."""

    what: Annotated[T, Doc("names, subject, issuer, key, lifetime, signature or trust")]
    before: Annotated[T, Doc("as it was; a key by its kind and the beginning of its digest", long=True)]
    after: Annotated[T, Doc("as it is", long=True)]


@dataclass(frozen=True)
class Attempt(Generic[T]):
    """One attempt to put new material to use."""

    at: Annotated[datetime | None, Doc("when", always=True)]
    trigger: Annotated[T, Doc("what asked for it", words=Trigger)]
    outcome: Annotated[T, Doc("how it ended", words=Outcome)]
    reason: Annotated[T, Doc("why it was refused, for programs; empty otherwise")] = NO_TEXT
    detail: Annotated[T, Doc("why, in words", long=True)] = NO_TEXT
    generation: Annotated[int, Doc("in use afterwards")] = 0
    previous_serial: Annotated[T, Doc("of the leaf before, lowercase hex")] = NO_TEXT
    serial: Annotated[T, Doc("of the leaf afterwards, lowercase hex")] = NO_TEXT
    duration_s: Annotated[float, Doc("how long it took", unit="s")] = 0.0
    warnings: Annotated[tuple[T, ...], Doc("what was accepted all the same")] = ()
    configuration: Annotated[
        T,
        Doc(
            "applied: the one on disk is in force now; not applied: it needs a restart, or the material it names was "
            "refused; invalid: it would be refused; empty: nothing differed, or nobody asked"
        ),
    ] = NO_TEXT
    configuration_changes: Annotated[
        tuple[T, ...], Doc("the keys that differ from the configuration in force, or what is wrong with it")
    ] = ()
    differences: Annotated[
        tuple[Difference[T], ...], Doc("what the new material changed; empty for a renewal of the same")
    ] = ()
    identity: Annotated[T, Doc("our identity it was made for, by its name in the configuration")] = NO_TEXT


@dataclass(frozen=True)
class OwnMaterial(Generic[T]):
    """What one identity of ours serves and trusts now."""

    generation: Annotated[int, Doc("of the material in use; 0 before the first")]
    activated_at: Annotated[datetime | None, Doc("in use since")]
    source: Annotated[T, Doc("where the material comes from, in words", long=True)]
    leaf: Annotated[Certificate[T] | None, Doc("ours; null before the first generation")]
    chain: Annotated[tuple[Certificate[T], ...], Doc("the intermediates we send, the leaf's issuer first")]
    trust: Annotated[tuple[Certificate[T], ...], Doc("who may vouch for peers")]
    federated: Annotated[
        tuple[FederatedTrust[T], ...], Doc("who may vouch for those of a SPIFFE trust domain with CAs of its own")
    ]
    crls: Annotated[tuple[RevocationList[T], ...], Doc("revocation lists in use")]
    next_renewal_at: Annotated[datetime | None, Doc("when the source renews; null when it never does by itself")]
    renewal_overdue_at: Annotated[
        datetime | None, Doc("when that renewal is late: a minute after, less for a life of minutes; null as above")
    ]
    renewal_failures: Annotated[int, Doc("renewals that failed in a row; 0 when the source never renews by itself")]
    last_attempt: Annotated[Attempt[T] | None, Doc("the last attempt to put material to use")]
    connections_by_generation: Annotated[Mapping[T, int], Doc("open connections by the generation they began under")]


@dataclass(frozen=True)
class OwnIdentity(OwnMaterial[T], Generic[T]):
    """One identity of ours, with what it serves and trusts now."""

    name: Annotated[T, Doc("its name in the configuration; `default` where there is one without a name")]
    listeners: Annotated[tuple[T, ...], Doc("those that show it, by their names")]


@dataclass(frozen=True)
class Certificates(OwnMaterial[T], Generic[T]):
    """What is served and trusted now: of the first identity, and then of each."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    attempts: Annotated[
        tuple[Attempt[T], ...],
        Doc("the time line: the newest attempts of all identities, newest first, at most 50"),
    ] = ()
    identities: Annotated[tuple[OwnIdentity[T], ...], Doc("each, in the order of the configuration")] = ()


@dataclass(frozen=True)
class AttemptReply(Generic[T]):
    """The answer to a reload or a rotation; beside ``error`` when it was refused."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    outcome: Annotated[T, Doc("how it ended", words=Outcome)]
    attempt: Annotated[Attempt[T], Doc("the attempt in full; of several the most telling, a refusal first")]
    attempts: Annotated[tuple[Attempt[T], ...], Doc("that of each identity which was asked")] = ()
