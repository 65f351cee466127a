"""The shapes of the admin API's replies as JSON Schema (2020-12, as OpenAPI 3.1 has it)."""

from __future__ import annotations

from collections.abc import Iterable

from tlsidecar.admin.changes import MAX_DRAIN_S
from tlsidecar.control.interface import Outcome, Severity, State, Trigger
from tlsidecar.observe.log import LEVELS
from tlsidecar.outcomes import Reason, Side, Stage

Schema = dict[str, object]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer"}
SECONDS: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _map(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


def _one_of(values: Iterable[str]) -> Schema:
    return {"type": "string", "enum": [str(value) for value in values]}


def _object(**properties: Schema) -> Schema:
    """All of its members are always there, and there may be more in a later version."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _reply(**properties: Schema) -> Schema:
    return _object(now=TIME, **properties)


def reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_LISTENER_COUNTERS: dict[str, Schema] = {
    "connections_active": COUNT,
    "handshakes_active": COUNT,
    "connections_total": COUNT,
    "handshakes_total": COUNT,
    "handshakes_failed": COUNT,
    "refusals_total": COUNT,
    "bytes_in": COUNT,
    "bytes_out": COUNT,
}

_CONNECTION: dict[str, Schema] = {
    "id": COUNT,
    "listener": TEXT,
    "mode": TEXT,
    "protocol": TEXT,
    "peer_address": TEXT,
    "identity": TEXT,
    "subject": TEXT,
    "serial": TEXT,
    "not_after": _or_null(TIME),
    "sni": TEXT,
    "alpn": TEXT,
    "tls_version": TEXT,
    "cipher": TEXT,
    "group": TEXT,
    "bytes_in": COUNT,
    "bytes_out": COUNT,
    "requests": COUNT,
    "opened_at": TIME,
    "idle_s": SECONDS,
    "generation": COUNT,
    "rule": TEXT,
    "state": TEXT,
    "upstream": TEXT,
    "worker": COUNT,
}

SCHEMAS: dict[str, Schema] = {
    "Error": _reply(error=_object(code=TEXT, message=TEXT)),
    "Problem": _object(severity=_one_of(Severity), code=TEXT, message=TEXT, since=TIME, subject=TEXT, advice=TEXT),
    "Upstream": _object(
        address=TEXT,
        healthy=FLAG,
        active=COUNT,
        idle=COUNT,
        failures=COUNT,
        ejected_until=_or_null(TIME),
        last_error=TEXT,
        checked=_or_null(FLAG),
        checks_total=COUNT,
        checks_failed=COUNT,
    ),
    "Listener": _object(
        name=TEXT,
        mode=TEXT,
        protocol=TEXT,
        listen=TEXT,
        bound=TEXT,
        upstreams=_list(reference("Upstream")),
        allow=_list(TEXT),
        expect=_list(TEXT),
        max_connections=COUNT,
        max_handshakes=COUNT,
        **_LISTENER_COUNTERS,
        handshake_p50_s=_or_null(SECONDS),
        handshake_p99_s=_or_null(SECONDS),
        requests=_map(COUNT),
        upstream_errors=_map(COUNT),
    ),
    "Status": _reply(
        version=TEXT,
        pid=COUNT,
        node=TEXT,
        started_at=TIME,
        uptime_s=SECONDS,
        state=_one_of(State),
        ready=FLAG,
        live=FLAG,
        generation=COUNT,
        openssl=TEXT,
        python=TEXT,
        event_loop=TEXT,
        log_level=TEXT,
        log_lines_dropped=COUNT,
        workers=_list(_object(worker=COUNT, pid=COUNT, connections=COUNT, restarts=COUNT, loop_lag_s=SECONDS)),
        listeners=_list(reference("Listener")),
        totals=_object(**_LISTENER_COUNTERS, requests_total=COUNT),
        certificate=_or_null(
            _object(
                identity=TEXT,
                serial=TEXT,
                not_before=_or_null(TIME),
                not_after=_or_null(TIME),
                next_renewal_at=_or_null(TIME),
            )
        ),
        problems=_list(reference("Problem")),
    ),
    "Connection": _object(**_CONNECTION),
    "Connections": _reply(
        total=COUNT, matched=COUNT, offset=COUNT, limit=COUNT, connections=_list(reference("Connection"))
    ),
    "ConnectionReply": _reply(connection=_object(**_CONNECTION, chain=_list(reference("Certificate")))),
    "Closed": _reply(closed=FLAG, id=COUNT),
    "Certificate": _object(
        subject=TEXT,
        issuer=TEXT,
        serial=TEXT,
        not_before=_or_null(TIME),
        not_after=_or_null(TIME),
        identity=TEXT,
        dns=_list(TEXT),
        uris=_list(TEXT),
        ips=_list(TEXT),
        key=TEXT,
        signature=TEXT,
        is_ca=FLAG,
        sha256=TEXT,
        spki_sha256=TEXT,
    ),
    "Attempt": _object(
        at=TIME,
        trigger=_one_of(Trigger),
        outcome=_one_of(Outcome),
        reason=TEXT,
        detail=TEXT,
        generation=COUNT,
        previous_serial=TEXT,
        serial=TEXT,
        duration_s=SECONDS,
        warnings=_list(TEXT),
        configuration=TEXT,
        configuration_changes=_list(TEXT),
    ),
    "AttemptReply": _reply(outcome=_one_of(Outcome), attempt=reference("Attempt")),
    "Certificates": _reply(
        generation=COUNT,
        activated_at=_or_null(TIME),
        source=TEXT,
        leaf=_or_null(reference("Certificate")),
        chain=_list(reference("Certificate")),
        trust=_list(reference("Certificate")),
        crls=_list(_object(issuer=TEXT, this_update=TIME, next_update=_or_null(TIME), revoked=COUNT)),
        next_renewal_at=_or_null(TIME),
        last_attempt=_or_null(reference("Attempt")),
        connections_by_generation=_map(COUNT),
    ),
    "Refusal": _object(
        seq=COUNT,
        at=TIME,
        listener=TEXT,
        peer_address=TEXT,
        side=_one_of(Side),
        stage=_one_of(Stage),
        reason=_one_of(Reason),
        sentence=TEXT,
        detail=TEXT,
        identity=TEXT,
        subject=TEXT,
        issuer=TEXT,
        serial=TEXT,
        not_after=_or_null(TIME),
        rule=TEXT,
        connection_id=COUNT,
        status=COUNT,
        method=TEXT,
        target=TEXT,
        request_id=TEXT,
    ),
    "Refusals": _reply(total=COUNT, refusals=_list(reference("Refusal"))),
    "Failure": _object(
        listener=TEXT,
        upstream=TEXT,
        reason=TEXT,
        sentence=TEXT,
        detail=TEXT,
        count=COUNT,
        first_at=TIME,
        last_at=TIME,
        last_identity=TEXT,
    ),
    "Failures": _reply(total=COUNT, failures=_list(reference("Failure"))),
    "Drained": _reply(outcome=_one_of(("drained", "forced")), closed=COUNT, forced=COUNT, duration_s=SECONDS),
    "DrainRequest": {
        "type": "object",
        "properties": {"timeout_s": {"type": "number", "minimum": 0, "maximum": MAX_DRAIN_S}},
        "additionalProperties": False,
    },
    "Stopping": _reply(outcome=_one_of(("stopping",))),
    "LogLevel": _reply(level=_one_of(LEVELS), previous=_one_of(LEVELS)),
    "LogLevelRequest": {
        "type": "object",
        "properties": {"level": _one_of(LEVELS)},
        "required": ["level"],
        "additionalProperties": False,
    },
    "OpenApi": {"type": "object"},
    "Text": TEXT,
    "EventStream": TEXT,
}
