"""What a filter may ask of connections, refusals, failures and events, and how their records answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any

from tlsidecar.api.connections import Connection
from tlsidecar.api.failures import Failure
from tlsidecar.api.filter import Filter, Vocabulary, matcher
from tlsidecar.api.filter_values import FilterField, ValueKind
from tlsidecar.api.refusals import Refusal
from tlsidecar.api.times import moment

Readers = Mapping[str, Callable[[Any], Any]]

_LISTENER = FilterField("listener", ValueKind.NAME, "the listener's name")
_IDENTITY = FilterField("identity", ValueKind.TEXT, "who the certificate says it is", ("id", "who"))
_NAMESPACE = FilterField("namespace", ValueKind.NAME, "of a SPIFFE ID, what follows /ns/", ("ns",))
_DOMAIN = FilterField("domain", ValueKind.NAME, "of a SPIFFE ID, its trust domain", ("td",))
_SUBJECT = FilterField("subject", ValueKind.TEXT, "the certificate's distinguished name")
_SERIAL = FilterField("serial", ValueKind.NAME, "the certificate's serial number, lowercase hex")
_PEER = FilterField("peer", ValueKind.ADDRESS, "who connected to us", ("peer_address", "address"))
_RULE = FilterField("rule", ValueKind.TEXT, "the access rule that decided")
_REASON = FilterField("reason", ValueKind.NAME, "why, for programs", ("why",))
_CONNECTION = FilterField("connection", ValueKind.NUMBER, "the connection's number", ("conn", "connection_id"))
_DETAIL = FilterField("detail", ValueKind.TEXT, "more, in words", ("sentence",))

_OWN = FilterField("own_identity", ValueKind.NAME, "which of our identities it was accepted under", ("as",))

CONNECTION_FIELDS = Vocabulary(
    _CONNECTION,
    _LISTENER,
    FilterField("mode", ValueKind.NAME, "terminate or originate"),
    FilterField("protocol", ValueKind.NAME, "http or tcp"),
    _PEER,
    _IDENTITY,
    _NAMESPACE,
    _DOMAIN,
    _SUBJECT,
    _SERIAL,
    FilterField("sni", ValueKind.TEXT, "the server name asked for"),
    FilterField("alpn", ValueKind.NAME, "the application protocol agreed on"),
    FilterField("tls", ValueKind.VERSION, "the TLS version", ("tls_version",)),
    FilterField("cipher", ValueKind.TEXT, "the cipher suite"),
    FilterField("group", ValueKind.TEXT, "the key exchange group"),
    FilterField("bytes", ValueKind.SIZE, "payload both ways"),
    FilterField("in", ValueKind.SIZE, "payload from the mTLS side", ("bytes_in",)),
    FilterField("out", ValueKind.SIZE, "payload to the mTLS side", ("bytes_out",)),
    FilterField("requests", ValueKind.NUMBER, "HTTP requests so far", ("reqs",)),
    FilterField("age", ValueKind.DURATION, "since it was accepted"),
    FilterField("idle", ValueKind.DURATION, "since a byte moved", ("idle_s",)),
    FilterField("generation", ValueKind.NUMBER, "of the material it was accepted under", ("gen",)),
    _OWN,
    _RULE,
    FilterField("state", ValueKind.NAME, "what it is doing"),
    FilterField("upstream", ValueKind.ADDRESS, "the address it goes to"),
    FilterField("worker", ValueKind.NUMBER, "the worker that carries it"),
    FilterField("streams", ValueKind.NUMBER, "HTTP/2 streams that are open"),
)

REFUSAL_FIELDS = Vocabulary(
    _LISTENER,
    _PEER,
    FilterField("side", ValueKind.NAME, "who turned it away: local or peer", ("by",)),
    FilterField("stage", ValueKind.NAME, "how far it had come"),
    _REASON,
    _DETAIL,
    _IDENTITY,
    _NAMESPACE,
    _DOMAIN,
    _SUBJECT,
    FilterField("issuer", ValueKind.TEXT, "the issuer's distinguished name"),
    _SERIAL,
    _RULE,
    _CONNECTION,
    FilterField("status", ValueKind.NUMBER, "the HTTP status answered; 0 for a connection"),
    FilterField("method", ValueKind.NAME, "the request's method"),
    FilterField("target", ValueKind.TEXT, "the request's target", ("path",)),
    FilterField("request", ValueKind.NAME, "the request's id", ("request_id",)),
    _OWN,
    FilterField("age", ValueKind.DURATION, "since then"),
)

FAILURE_FIELDS = Vocabulary(
    _LISTENER,
    FilterField("upstream", ValueKind.ADDRESS, "the address that failed"),
    _REASON,
    _DETAIL,
    FilterField("count", ValueKind.NUMBER, "how often since the process began"),
    FilterField("identity", ValueKind.TEXT, "whom the newest could not serve", ("id", "who")),
    _NAMESPACE,
    _DOMAIN,
    FilterField("age", ValueKind.DURATION, "since the newest of them"),
    FilterField("since", ValueKind.DURATION, "since the first of them"),
)

EVENT_FIELDS = Vocabulary(
    FilterField("kind", ValueKind.NAME, "what it tells of: state, reload, refusal, opened …", ("event",)),
    FilterField("seq", ValueKind.NUMBER, "its number"),
    FilterField("age", ValueKind.DURATION, "since then"),
    _LISTENER,
    _PEER,
    _IDENTITY,
    _NAMESPACE,
    _DOMAIN,
    _REASON,
    _DETAIL,
    _RULE,
    _CONNECTION,
    FilterField("upstream", ValueKind.ADDRESS, "the address of an upstream"),
    _OWN,
)

VOCABULARIES: Mapping[str, Vocabulary] = {
    "connections": CONNECTION_FIELDS,
    "refusals": REFUSAL_FIELDS,
    "failures": FAILURE_FIELDS,
    "events": EVENT_FIELDS,
}

_SPIFFE = "spiffe://"


def domain_of(identity: str) -> str:
    """The trust domain of a SPIFFE ID; empty for other names."""
    return identity[len(_SPIFFE) :].partition("/")[0] if identity.startswith(_SPIFFE) else ""


def namespace_of(identity: str) -> str:
    """What follows ``/ns/`` in a SPIFFE ID, as Kubernetes' are made; empty for other names."""
    if not identity.startswith(_SPIFFE):
        return ""
    _, _, path = identity[len(_SPIFFE) :].partition("/")
    first, _, rest = path.partition("/")
    return rest.partition("/")[0] if first == "ns" else ""


def connection_readers(now: datetime) -> Readers:
    """Of :class:`~tlsidecar.api.connections.Connection`; ages are counted to ``now``."""
    return {
        **_attributes(
            (
                *("listener", "mode", "protocol", "identity", "subject", "serial", "sni", "alpn", "cipher", "group"),
                *("requests", "generation", "own_identity", "rule", "state", "upstream", "worker", "streams"),
            ),
            connection="id",
            peer="peer_address",
            tls="tls_version",
            idle="idle_s",
            **{"in": "bytes_in", "out": "bytes_out"},
        ),
        **_parts_of("identity"),
        "bytes": lambda row: row.bytes_in + row.bytes_out,
        "age": lambda row: _age_s(row.opened_at, now),
    }


def connection_texts(row: Connection[Any]) -> tuple[str, ...]:
    """What the words of a filter are looked for in."""
    return row.listener, row.peer_address, row.state, row.rule, row.upstream, row.identity, row.subject, row.serial


def refusal_matcher(wanted: Filter, now: datetime) -> Callable[[Refusal[Any]], bool]:
    """Whether a refusal matches, ages taken at ``now``."""
    readers = {
        **_attributes(
            (
                *("listener", "side", "stage", "reason", "identity", "subject", "issuer", "serial", "rule"),
                *("status", "method", "target", "own_identity"),
            ),
            connection="connection_id",
            peer="peer_address",
            request="request_id",
        ),
        **_parts_of("identity"),
        "detail": lambda row: f"{row.sentence}\n{row.detail}",
        "age": lambda row: _age_s(row.at, now),
    }
    return matcher(wanted, REFUSAL_FIELDS, readers, _refusal_texts)


def failure_matcher(wanted: Filter, now: datetime) -> Callable[[Failure[Any]], bool]:
    """Whether a group of failures matches, ages taken at ``now``."""
    readers = {
        **_attributes(("listener", "upstream", "reason", "count"), identity="last_identity"),
        **_parts_of("last_identity"),
        "detail": lambda row: f"{row.sentence}\n{row.detail}",
        "age": lambda row: _age_s(row.last_at, now),
        "since": lambda row: _age_s(row.first_at, now),
    }
    return matcher(
        wanted,
        FAILURE_FIELDS,
        readers,
        lambda row: (row.listener, row.upstream, row.reason, row.sentence, row.detail, row.last_identity),
    )


def event_matcher(wanted: Filter, now: Callable[[], datetime]) -> Callable[[tuple[str, Mapping[str, Any]]], bool]:
    """For an event's kind and its fields."""

    def text(name: str) -> Callable[[tuple[str, Mapping[str, Any]]], str]:
        return lambda event: value if isinstance(value := event[1].get(name), str) else ""

    identity = text("identity")
    readers = {
        **{name: text(name) for name in ("listener", "reason", "rule", "upstream", "identity", "own_identity")},
        "kind": lambda event: event[0],
        "seq": lambda event: _whole(event[1].get("seq")),
        "age": lambda event: _age_s(moment(event[1].get("at")), now()),
        "peer": text("peer_address"),
        "namespace": lambda event: namespace_of(identity(event)),
        "domain": lambda event: domain_of(identity(event)),
        "detail": lambda event: "\n".join(text(name)(event) for name in ("sentence", "detail", "message")),
        "connection": lambda event: _whole(event[1].get("id" if event[0] in ("opened", "closed") else "connection_id")),
    }
    return matcher(wanted, EVENT_FIELDS, readers, _event_texts)


def _attributes(names: Iterable[str], **renamed: str) -> dict[str, Callable[[Any], Any]]:
    """The fields that are an attribute, of the same name or of another."""
    return {name: attrgetter(attribute) for name, attribute in {**{each: each for each in names}, **renamed}.items()}


def _parts_of(attribute: str) -> Readers:
    identity = attrgetter(attribute)
    return {"namespace": lambda row: namespace_of(identity(row)), "domain": lambda row: domain_of(identity(row))}


def _age_s(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else max(0.0, (now - at).total_seconds())


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _refusal_texts(row: Refusal[Any]) -> tuple[str, ...]:
    return (
        row.listener,
        row.peer_address,
        row.side,
        row.stage,
        row.reason,
        row.sentence,
        row.detail,
        row.identity,
        row.subject,
        row.issuer,
        row.serial,
        row.rule,
        row.target,
        row.request_id,
    )


def _event_texts(event: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    kind, fields = event
    return (kind, *(value if isinstance(value, str) else str(value) for value in fields.values()))
