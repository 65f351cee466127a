"""Connections counted together: by who they are with, where, and how, with what they move."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from tlsidecar.api.filter import Filter, Term, exactly
from tlsidecar.api.filter_fields import domain_of, namespace_of
from tlsidecar.api.filter_values import ip_of
from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.meter import NOTHING, Meter, Moved
from tlsidecar.dataplane.snapshot import ConnectionRecord, GroupPage, GroupQuery, GroupRow

MOST_GROUPS = 1000
"""A worker reports its largest; there are no more where connections are limited to fewer."""

Key: TypeAlias = str | int | tuple[str, ...]


class _Sum:
    """What one group adds up to."""

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "connections",
        "failures",
        "moved_in",
        "moved_out",
        "moved_requests",
        "requests",
    )

    def __init__(self) -> None:
        self.connections = self.requests = self.bytes_in = self.bytes_out = 0
        self.moved_requests = self.moved_in = self.moved_out = self.failures = 0

    def move(self, moved: Moved) -> None:
        self.moved_requests += moved.requests
        self.moved_in += moved.bytes_in
        self.moved_out += moved.bytes_out
        self.failures += moved.failures


def grouped(
    total: int,
    connections: Iterable[Connection],
    ended: Iterable[tuple[ConnectionRecord, Moved]],
    meter: Meter,
    query: GroupQuery,
) -> GroupPage:
    """The largest groups of these connections, and of those that ended lately, in the query's order."""
    sums: dict[Key, _Sum] = {}
    key_of, key_of_ended, described = _GROUPS[query.by]
    matched = 0
    for connection in connections:
        matched += 1
        key = key_of(connection)
        added = sums.get(key)
        if added is None:
            added = sums[key] = _Sum()
        added.connections += 1
        added.requests += connection.requests
        added.bytes_in += connection.bytes_in
        added.bytes_out += connection.bytes_out
        moved = meter.moved.get(connection.id)
        if moved is not None:
            added.move(moved)
    for record, moved in ended:
        if moved != NOTHING:
            sums.setdefault(key_of_ended(record), _Sum()).move(moved)
    over_s = meter.over_s or 0.0
    rows = (_row(*described(key), added, over_s) for key, added in sums.items())
    largest = first_groups(rows, query, MOST_GROUPS)
    return GroupPage(total, matched, len(sums), over_s, tuple(largest))


def first_groups(rows: Iterable[GroupRow], query: GroupQuery, count: int) -> list[GroupRow]:
    """The first ``count`` in the query's order; equals by their name."""
    measure = GROUP_MEASURES[query.sort]
    pick = heapq.nlargest if query.descending else heapq.nsmallest
    return pick(count, sorted(rows, key=lambda row: row.key, reverse=query.descending), key=measure)


GROUP_MEASURES: Mapping[str, Callable[[GroupRow], str | float]] = {
    "key": lambda row: row.key,
    "connections": lambda row: row.connections,
    "requests": lambda row: row.requests,
    "bytes_in": lambda row: row.bytes_in,
    "bytes_out": lambda row: row.bytes_out,
    "requests_per_s": lambda row: row.requests_per_s,
    "bytes_in_per_s": lambda row: row.bytes_in_per_s,
    "bytes_out_per_s": lambda row: row.bytes_out_per_s,
    "bytes_per_s": lambda row: row.bytes_in_per_s + row.bytes_out_per_s,
    "failures_per_s": lambda row: row.failures_per_s,
}


def _row(name: str, terms: tuple[Term, ...], added: _Sum, over_s: float) -> GroupRow:
    seconds = over_s or 1.0
    return GroupRow(
        name,
        str(Filter(terms)),
        added.connections,
        added.requests,
        added.bytes_in,
        added.bytes_out,
        added.moved_requests / seconds,
        added.moved_in / seconds,
        added.moved_out / seconds,
        added.failures / seconds,
    )


# What a group is known by, of a connection and of the record of one that ended; and its name and its terms.


def _identity(connection: Connection) -> str:
    identity = connection.identity
    return "" if identity is None else identity.name


def _namespace(identity: str) -> tuple[str, ...]:
    return domain_of(identity), namespace_of(identity)


def _tls(connection: Connection) -> tuple[str, ...]:
    parameters = connection.parameters()
    return parameters.version, parameters.cipher, parameters.group


def _host(address: str) -> str:
    ip = ip_of(address)
    return address if ip is None else str(ip)


def _of_namespace(key: Key) -> tuple[str, tuple[Term, ...]]:
    assert isinstance(key, tuple)
    domain, namespace = key
    name = f"spiffe://{domain}/ns/{namespace}" if namespace else f"spiffe://{domain}" if domain else ""
    return name, (exactly("domain", domain), exactly("namespace", namespace))


def _of_tls(key: Key) -> tuple[str, tuple[Term, ...]]:
    assert isinstance(key, tuple)
    version, cipher, group = key
    terms = (exactly("cipher", cipher), exactly("group", group))
    return " ".join(filter(None, key)), (Term(version, "tls"), *terms) if version else terms


def _of_peer(key: Key) -> tuple[str, tuple[Term, ...]]:
    return str(key), (Term(str(key), "peer"),)


def _named(field: str) -> Callable[[Key], tuple[str, tuple[Term, ...]]]:
    return lambda key: (str(key), (exactly(field, str(key)),))


_GROUPS: Mapping[
    str,
    tuple[
        Callable[[Connection], Key], Callable[[ConnectionRecord], Key], Callable[[Key], tuple[str, tuple[Term, ...]]]
    ],
] = {
    "identity": (_identity, lambda record: record.identity, _named("identity")),
    "namespace": (
        lambda connection: _namespace(_identity(connection)),
        lambda record: _namespace(record.identity),
        _of_namespace,
    ),
    "listener": (lambda connection: connection.frontend.name, lambda record: record.listener, _named("listener")),
    "generation": (
        lambda connection: connection.contexts.generation,
        lambda record: record.generation,
        _named("generation"),
    ),
    "tls": (_tls, lambda record: (record.tls_version, record.cipher, record.group), _of_tls),
    "peer": (
        lambda connection: _host(connection.peer_address),
        lambda record: _host(record.peer_address),
        _of_peer,
    ),
}
