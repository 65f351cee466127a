"""Which of a worker's connections a query means, and in which order: on the connections themselves, for a record of
each would cost more than everything else together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tlsidecar.api.filter import matcher, parse
from tlsidecar.api.filter_fields import (
    CONNECTION_FIELDS,
    connection_readers,
    connection_texts,
    domain_of,
    namespace_of,
)
from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.denials import is_named
from tlsidecar.dataplane.meter import Moved
from tlsidecar.dataplane.snapshot import ConnectionQuery, ConnectionRecord, ConnectionSelection

# Sorting by idle time is sorting by the time of the last activity, the other way round.
SORT_KEYS: Mapping[str, Callable[[Connection], Any]] = {
    "id": lambda connection: connection.id,
    "listener": lambda connection: connection.frontend.name,
    "peer_address": lambda connection: connection.peer_address,
    "identity": lambda connection: _identity_name(connection),
    "state": lambda connection: connection.state.value,
    "bytes_in": lambda connection: connection.bytes_in,
    "bytes_out": lambda connection: connection.bytes_out,
    "requests": lambda connection: connection.requests,
    "opened_at": lambda connection: connection.opened_at,
    "idle_s": lambda connection: connection.active_at,
    "generation": lambda connection: connection.contexts.generation,
}


def matching(connections: Iterable[Connection], wanted: str, now: float, wall: float) -> list[Connection]:
    """Those that the filter means, which was found good before. ``now`` is monotonic, ``wall`` POSIX seconds."""
    terms = parse(wanted, CONNECTION_FIELDS)
    if not terms:
        return list(connections)
    matches = matcher(terms, CONNECTION_FIELDS, _readers(now, wall), _texts)
    return [connection for connection in connections if matches(connection)]


def matching_ended(
    ended: Sequence[tuple[ConnectionRecord, Moved]], wanted: str, now: datetime
) -> Sequence[tuple[ConnectionRecord, Moved]]:
    """The same, of the records of connections that are over."""
    terms = parse(wanted, CONNECTION_FIELDS)
    if not terms:
        return ended
    matches = matcher(terms, CONNECTION_FIELDS, connection_readers(now), connection_texts)
    return [(record, moved) for record, moved in ended if matches(record)]


def selected(
    connections: Iterable[Connection], selection: ConnectionSelection, now: float, wall: float
) -> list[Connection]:
    """Those to end. ``now`` is monotonic, ``wall`` POSIX seconds."""
    if selection.means_nobody:
        return []
    in_use = dict(selection.older_than)
    return [
        connection
        for connection in matching(connections, selection.filter, now, wall)
        if (not selection.identity or goes_by(connection, selection.identity))
        and (not in_use or connection.contexts.generation < in_use.get(connection.contexts.identity, 0))
        and (not selection.inbound_only or connection.frontend.terminates)
    ]


def goes_by(connection: Connection, name: str) -> bool:
    """Whether the peer's certificate has this name."""
    return connection.identity is not None and is_named(connection.identity, name)


def ordered(connections: list[Connection], query: ConnectionQuery) -> list[Connection]:
    """By the key and in the direction that is asked for."""
    return sorted(connections, key=SORT_KEYS[query.sort], reverse=query.runs_down)


def _identity_name(connection: Connection) -> str:
    identity = connection.identity
    return identity.name if identity is not None else ""


def _readers(now: float, wall: float) -> Mapping[str, Callable[[Connection], Any]]:
    def of_identity(name: str) -> Callable[[Connection], str]:
        return lambda connection: "" if (identity := connection.identity) is None else getattr(identity, name)

    return {
        "connection": lambda connection: connection.id,
        "listener": lambda connection: connection.frontend.name,
        "mode": lambda connection: connection.frontend.mode,
        "protocol": lambda connection: connection.frontend.protocol,
        "peer": lambda connection: connection.peer_address,
        "identity": _identity_name,
        "namespace": lambda connection: namespace_of(_identity_name(connection)),
        "domain": lambda connection: domain_of(_identity_name(connection)),
        "subject": of_identity("subject"),
        "serial": of_identity("serial"),
        "sni": lambda connection: connection.parameters().server_name,
        "alpn": lambda connection: connection.parameters().alpn,
        "tls": lambda connection: connection.parameters().version,
        "cipher": lambda connection: connection.parameters().cipher,
        "group": lambda connection: connection.parameters().group,
        "bytes": lambda connection: connection.bytes_in + connection.bytes_out,
        "in": lambda connection: connection.bytes_in,
        "out": lambda connection: connection.bytes_out,
        "requests": lambda connection: connection.requests,
        "age": lambda connection: wall - connection.opened_at,
        "idle": lambda connection: max(0.0, now - connection.active_at),
        "generation": lambda connection: connection.contexts.generation,
        "own_identity": lambda connection: connection.contexts.identity,
        "rule": lambda connection: connection.rule,
        "state": lambda connection: connection.state.value,
        "upstream": lambda connection: connection.upstream_address,
        "worker": lambda connection: connection.shared.worker,
        "streams": lambda connection: connection.streams,
    }


def _texts(connection: Connection) -> tuple[str, ...]:
    identity = connection.identity
    return (
        connection.frontend.name,
        connection.peer_address,
        connection.state.value,
        connection.rule,
        connection.upstream_address,
        *((identity.name, identity.subject, identity.serial) if identity is not None else ()),
    )
