"""Connections as they stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.certificates import Certificate
from tlsidecar.api.declare import NO_TEXT, T, Told


@dataclass(frozen=True)
class Connection(Generic[T]):
    """One open connection. The peer is the one on the mTLS side, except for its address."""

    id: Annotated[int, Told("unique in this process")]
    listener: Annotated[T, Told("the listener's name")]
    mode: Annotated[T, Told("terminate or originate")]
    protocol: Annotated[T, Told("http or tcp")]
    peer_address: Annotated[T, Told("who connected to us")]
    identity: Annotated[T, Told("who the peer's certificate says it is")]
    subject: Annotated[T, Told("the certificate's distinguished name")]
    serial: Annotated[T, Told("the certificate's serial number, lowercase hex")]
    not_after: Annotated[datetime | None, Told("the certificate is valid until")]
    sni: Annotated[T, Told("the server name asked for")]
    alpn: Annotated[T, Told("the application protocol agreed on")]
    tls_version: Annotated[T, Told("TLSv1.2 or TLSv1.3")]
    cipher: Annotated[T, Told("the cipher suite")]
    group: Annotated[T, Told("the key exchange group")]
    bytes_in: Annotated[int, Told("payload from the mTLS side", unit="bytes")]
    bytes_out: Annotated[int, Told("payload to the mTLS side", unit="bytes")]
    requests: Annotated[int, Told("HTTP requests so far")]
    opened_at: Annotated[datetime | None, Told("when it was accepted", always=True)]
    idle_s: Annotated[float, Told("since a byte moved", unit="s")]
    generation: Annotated[int, Told("of the material it was accepted under")]
    rule: Annotated[T, Told("the access rule that let it in")]
    state: Annotated[T, Told("what it is doing")]
    upstream: Annotated[T, Told("the address it goes to")]
    worker: Annotated[int, Told("the worker that carries it")]
    streams: Annotated[int, Told("HTTP/2 streams that are open")]
    own_identity: Annotated[T, Told("which of our identities it was accepted under, by name")] = NO_TEXT

    @property
    def who(self) -> T:
        """The best name there is for the peer."""
        return self.identity or self.subject or self.peer_address


@dataclass(frozen=True)
class ConnectionInFull(Connection[T], Generic[T]):
    """One connection with the chain that its TLS peer showed."""

    chain: Annotated[tuple[Certificate[T], ...], Told("the peer's certificates, leaf first")] = ()


@dataclass(frozen=True)
class ConnectionGroup(Generic[T]):
    """Connections with something in common. Rates are of the last two seconds, and count connections that ended within
    them; they are null until they are known, which takes as long from the first call."""

    key: Annotated[T, Told("what they have in common; empty for those that have none")]
    filter: Annotated[T, Told("the filter that finds them", long=True)]
    connections: Annotated[int, Told("open now")]
    requests: Annotated[int, Told("HTTP requests of those so far")]
    bytes_in: Annotated[int, Told("payload of those from the mTLS side", unit="bytes")]
    bytes_out: Annotated[int, Told("payload of those to the mTLS side", unit="bytes")]
    requests_per_s: Annotated[float | None, Told("HTTP requests", unit="1/s")]
    bytes_in_per_s: Annotated[float | None, Told("payload from the mTLS side", unit="bytes/s")]
    bytes_out_per_s: Annotated[float | None, Told("payload to the mTLS side", unit="bytes/s")]
    failures_per_s: Annotated[float | None, Told("connections and requests that could not be served", unit="1/s")]


@dataclass(frozen=True)
class Connections(Generic[T]):
    """A window on the open connections, or on groups of them."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    total: Annotated[int, Told("open connections")]
    matched: Annotated[int, Told("those that match the filter")]
    offset: Annotated[int, Told("matching ones left out before the first")]
    limit: Annotated[int, Told("rows asked for")]
    connections: Annotated[tuple[Connection[T], ...], Told("the window; none where groups were asked for")]
    groups: Annotated[tuple[ConnectionGroup[T], ...], Told("the window on groups, where those were asked for")]
    groups_matched: Annotated[int, Told("how many groups there are; of each worker no more than 1,000 are told apart")]


@dataclass(frozen=True)
class ConnectionReply(Generic[T]):
    """One connection."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    connection: Annotated[ConnectionInFull[T], Told("with the peer's chain")]


@dataclass(frozen=True)
class ConnectionsEnded(Generic[T]):
    """The answer to ending many connections."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    ended: Annotated[int, Told("connections that were cut, or that end after their exchange")]
    left: Annotated[int, Told("those that have not ended when the time was up; 0 where they are cut")]


@dataclass(frozen=True)
class Closed(Generic[T]):
    """The answer to closing a connection."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    closed: Annotated[bool, Told("true")]
    id: Annotated[int, Told("the connection's")]
