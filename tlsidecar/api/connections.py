"""Connections as they stand."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic

from tlsidecar.api.certificates import Certificate
from tlsidecar.api.declare import NO_TEXT, Doc, T
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Connection(Generic[T]):
    """One open connection. The peer is the one on the mTLS side, except for its address."""

    id: Annotated[int, Doc("unique in this process")]
    listener: Annotated[T, Doc("the listener's name")]
    mode: Annotated[T, Doc("terminate or originate")]
    protocol: Annotated[T, Doc("http or tcp")]
    peer_address: Annotated[T, Doc("who connected to us")]
    identity: Annotated[T, Doc("who the peer's certificate says it is")]
    subject: Annotated[T, Doc("the certificate's distinguished name")]
    serial: Annotated[T, Doc("the certificate's serial number, lowercase hex")]
    not_after: Annotated[datetime | None, Doc("the certificate is valid until")]
    sni: Annotated[T, Doc("the server name asked for")]
    alpn: Annotated[T, Doc("the application protocol agreed on")]
    tls_version: Annotated[T, Doc("TLSv1.2 or TLSv1.3")]
    cipher: Annotated[T, Doc("the cipher suite")]
    group: Annotated[T, Doc("the key exchange group")]
    bytes_in: Annotated[int, Doc("payload from the mTLS side", unit="bytes")]
    bytes_out: Annotated[int, Doc("payload to the mTLS side", unit="bytes")]
    requests: Annotated[int, Doc("HTTP requests so far")]
    opened_at: Annotated[datetime | None, Doc("when it was accepted", always=True)]
    idle_s: Annotated[float, Doc("since a byte moved", unit="s")]
    generation: Annotated[int, Doc("of the material it was accepted under")]
    rule: Annotated[T, Doc("the access rule that let it in")]
    state: Annotated[T, Doc("what it is doing")]
    upstream: Annotated[T, Doc("the address it goes to")]
    worker: Annotated[int, Doc("the worker that carries it")]
    streams: Annotated[int, Doc("HTTP/2 streams that are open")]
    own_identity: Annotated[T, Doc("which of our identities it was accepted under, by name")] = NO_TEXT

    @property
    def who(self) -> T:
        """The best name there is for the peer."""
        return self.identity or self.subject or self.peer_address


@dataclass(frozen=True)
class ConnectionInFull(Connection[T], Generic[T]):
    """One connection with the chain that its TLS peer showed."""

    chain: Annotated[tuple[Certificate[T], ...], Doc("the peer's certificates, leaf first")] = ()


@dataclass(frozen=True)
class ConnectionGroup(Generic[T]):
    """Connections with something in common. Rates are of the last two seconds, and count connections that ended within
    them; they are null until they are known, which takes as long from the first call."""

    key: Annotated[T, Doc("what they have in common; empty for those that have none")]
    filter: Annotated[T, Doc("the filter that finds them", long=True)]
    connections: Annotated[int, Doc("open now")]
    requests: Annotated[int, Doc("HTTP requests of those so far")]
    bytes_in: Annotated[int, Doc("payload of those from the mTLS side", unit="bytes")]
    bytes_out: Annotated[int, Doc("payload of those to the mTLS side", unit="bytes")]
    requests_per_s: Annotated[float | None, Doc("HTTP requests", unit="1/s")]
    bytes_in_per_s: Annotated[float | None, Doc("payload from the mTLS side", unit="bytes/s")]
    bytes_out_per_s: Annotated[float | None, Doc("payload to the mTLS side", unit="bytes/s")]
    failures_per_s: Annotated[float | None, Doc("connections and requests that could not be served", unit="1/s")]


@dataclass(frozen=True)
class Connections(Generic[T]):
    """A window on the open connections, or on groups of them."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    total: Annotated[int, Doc("open connections")]
    matched: Annotated[int, Doc("those that match the filter")]
    offset: Annotated[int, Doc("matching ones left out before the first")]
    limit: Annotated[int, Doc("rows asked for")]
    connections: Annotated[tuple[Connection[T], ...], Doc("the window; none where groups were asked for")]
    groups: Annotated[tuple[ConnectionGroup[T], ...], Doc("the window on groups, where those were asked for")]
    groups_matched: Annotated[int, Doc("how many groups there are; of each worker no more than 1,000 are told apart")]


@dataclass(frozen=True)
class ConnectionReply(Generic[T]):
    """One connection."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    connection: Annotated[ConnectionInFull[T], Doc("with the peer's chain")]


@dataclass(frozen=True)
class ConnectionsEnded(Generic[T]):
    """The answer to ending many connections."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    ended: Annotated[int, Doc("connections that were cut, or that end after their exchange")]
    left: Annotated[int, Doc("those that have not ended when the time was up; 0 where they are cut")]


@dataclass(frozen=True)
class Closed(Generic[T]):
    """The answer to closing a connection."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    closed: Annotated[bool, Doc("true")]
    id: Annotated[int, Doc("the connection's")]
