"""The admin API's replies made into view models, field by field, under the names of docs/admin-api.md."""

from __future__ import annotations

from tui.decode import Fields, Json
from tui.text import DETAIL_LIMIT, SafeText, safe_text
from tui.views import (
    Attempt,
    Certificate,
    Certificates,
    Connection,
    ConnectionPage,
    Event,
    Listener,
    OwnCertificate,
    Problem,
    Refusal,
    Refusals,
    RevocationList,
    Severity,
    Status,
    Totals,
    Upstream,
    Worker,
)


def status_view(reply: Json) -> Status:
    """``GET /v1/status``."""
    fields = Fields(reply)
    totals = fields.object("totals")
    certificate = fields.object("certificate")
    return Status(
        now=fields.moment("now"),
        version=fields.text("version"),
        pid=fields.integer("pid"),
        node=fields.text("node"),
        started_at=fields.moment("started_at"),
        uptime_s=fields.number("uptime_s"),
        state=fields.text("state"),
        ready=fields.flag("ready"),
        live=fields.flag("live"),
        generation=fields.integer("generation"),
        openssl=fields.text("openssl"),
        python=fields.text("python"),
        event_loop=fields.text("event_loop"),
        log_level=fields.text("log_level"),
        workers=tuple(
            Worker(
                worker=worker.integer("worker"),
                pid=worker.integer("pid"),
                connections=worker.integer("connections"),
                loop_lag_s=worker.number("loop_lag_s"),
            )
            for worker in fields.objects("workers")
        ),
        listeners=tuple(_listener(listener) for listener in fields.objects("listeners")),
        totals=Totals(
            connections_active=totals.integer("connections_active"),
            connections_total=totals.integer("connections_total"),
            handshakes_total=totals.integer("handshakes_total"),
            handshakes_failed=totals.integer("handshakes_failed"),
            refusals_total=totals.integer("refusals_total"),
            bytes_in=totals.integer("bytes_in"),
            bytes_out=totals.integer("bytes_out"),
            requests_total=totals.integer("requests_total"),
        ),
        certificate=OwnCertificate(
            identity=certificate.text("identity"),
            serial=certificate.text("serial"),
            not_before=certificate.moment("not_before"),
            not_after=certificate.moment("not_after"),
            next_renewal_at=certificate.moment("next_renewal_at"),
        ),
        problems=tuple(_problem(problem) for problem in fields.objects("problems")),
        raw=reply,
    )


def certificates_view(reply: Json) -> Certificates:
    """``GET /v1/certificates``."""
    fields = Fields(reply)
    leaf = fields.object("leaf")
    attempt = fields.object("last_attempt")
    return Certificates(
        generation=fields.integer("generation"),
        activated_at=fields.moment("activated_at"),
        source=fields.text("source", DETAIL_LIMIT),
        leaf=_certificate(leaf) if leaf.raw else None,
        chain=tuple(_certificate(certificate) for certificate in fields.objects("chain")),
        trust=tuple(_certificate(certificate) for certificate in fields.objects("trust")),
        crls=tuple(
            RevocationList(
                issuer=crl.text("issuer"),
                this_update=crl.moment("this_update"),
                next_update=crl.moment("next_update"),
                revoked=crl.integer("revoked"),
            )
            for crl in fields.objects("crls")
        ),
        next_renewal_at=fields.moment("next_renewal_at"),
        last_attempt=attempt_view(attempt.raw) if attempt.raw else None,
        connections_by_generation=fields.counts("connections_by_generation"),
        raw=reply,
    )


def attempt_view(reply: Json) -> Attempt:
    """``last_attempt``, and ``attempt`` in the answer to a reload."""
    fields = Fields(reply)
    return Attempt(
        at=fields.moment("at"),
        trigger=fields.text("trigger"),
        outcome=fields.text("outcome"),
        reason=fields.text("reason"),
        detail=fields.text("detail", DETAIL_LIMIT),
        generation=fields.integer("generation"),
        previous_serial=fields.text("previous_serial"),
        serial=fields.text("serial"),
        duration_s=fields.number("duration_s"),
        warnings=fields.texts("warnings"),
    )


def connection_page_view(reply: Json) -> ConnectionPage:
    """``GET /v1/connections``."""
    fields = Fields(reply)
    return ConnectionPage(
        total=max(0, fields.integer("total")),
        matched=max(0, fields.integer("matched")),
        offset=max(0, fields.integer("offset")),
        connections=tuple(_connection(connection) for connection in fields.objects("connections")),
    )


def connection_view(reply: Json) -> Connection:
    """``GET /v1/connections/{id}``, with the peer's chain."""
    return _connection(Fields(reply).object("connection"))


def refusals_view(reply: Json) -> Refusals:
    """``GET /v1/refusals``."""
    fields = Fields(reply)
    return Refusals(
        total=fields.integer("total"), refusals=tuple(_refusal(refusal) for refusal in fields.objects("refusals"))
    )


def event_view(kind: str, data: Json) -> Event:
    """One message of ``GET /v1/events``."""
    fields = Fields(data)
    return Event(
        seq=fields.integer("seq"),
        at=fields.moment("at"),
        kind=safe_text(kind, 32),
        summary=_event_summary(kind, fields),
        raw=data,
    )


def _problem(fields: Fields) -> Problem:
    severity = fields.plain("severity")
    return Problem(
        severity=Severity(severity) if severity in list(Severity) else Severity.WARNING,
        code=fields.text("code"),
        message=fields.text("message", DETAIL_LIMIT),
        since=fields.moment("since"),
        subject=fields.text("subject"),
    )


def _listener(fields: Fields) -> Listener:
    return Listener(
        name=fields.text("name"),
        mode=fields.text("mode"),
        protocol=fields.text("protocol"),
        listen=fields.text("listen"),
        bound=fields.text("bound"),
        upstreams=tuple(
            Upstream(
                address=upstream.text("address"),
                healthy=upstream.flag("healthy"),
                active=upstream.integer("active"),
                idle=upstream.integer("idle"),
                failures=upstream.integer("failures"),
                ejected_until=upstream.moment("ejected_until"),
                last_error=upstream.text("last_error"),
            )
            for upstream in fields.objects("upstreams")
        ),
        allow=fields.texts("allow"),
        expect=fields.texts("expect"),
        max_connections=fields.integer("max_connections"),
        max_handshakes=fields.integer("max_handshakes"),
        connections_active=fields.integer("connections_active"),
        handshakes_active=fields.integer("handshakes_active"),
        connections_total=fields.integer("connections_total"),
        handshakes_total=fields.integer("handshakes_total"),
        handshakes_failed=fields.integer("handshakes_failed"),
        handshake_p50_s=fields.number("handshake_p50_s"),
        handshake_p99_s=fields.number("handshake_p99_s"),
        refusals_total=fields.integer("refusals_total"),
        bytes_in=fields.integer("bytes_in"),
        bytes_out=fields.integer("bytes_out"),
        requests=fields.counts("requests"),
        upstream_errors=fields.counts("upstream_errors"),
    )


def _certificate(fields: Fields) -> Certificate:
    return Certificate(
        subject=fields.text("subject"),
        issuer=fields.text("issuer"),
        serial=fields.text("serial"),
        not_before=fields.moment("not_before"),
        not_after=fields.moment("not_after"),
        identity=fields.text("identity"),
        dns=fields.texts("dns"),
        uris=fields.texts("uris"),
        ips=fields.texts("ips"),
        key=fields.text("key"),
        signature=fields.text("signature"),
        is_ca=fields.flag("is_ca"),
        sha256=fields.text("sha256"),
        spki_sha256=fields.text("spki_sha256"),
        raw=fields.raw,
    )


def _connection(fields: Fields) -> Connection:
    return Connection(
        id=fields.integer("id"),
        listener=fields.text("listener"),
        mode=fields.text("mode"),
        protocol=fields.text("protocol"),
        peer_address=fields.text("peer_address"),
        identity=fields.text("identity"),
        subject=fields.text("subject"),
        serial=fields.text("serial"),
        not_after=fields.moment("not_after"),
        sni=fields.text("sni"),
        alpn=fields.text("alpn"),
        tls_version=fields.text("tls_version"),
        cipher=fields.text("cipher"),
        group=fields.text("group"),
        bytes_in=fields.integer("bytes_in"),
        bytes_out=fields.integer("bytes_out"),
        requests=fields.integer("requests"),
        opened_at=fields.moment("opened_at"),
        idle_s=fields.number("idle_s"),
        generation=fields.integer("generation"),
        rule=fields.text("rule"),
        state=fields.text("state"),
        upstream=fields.text("upstream"),
        worker=fields.integer("worker"),
        chain=tuple(_certificate(certificate) for certificate in fields.objects("chain")),
        raw=fields.raw,
    )


def _refusal(fields: Fields) -> Refusal:
    return Refusal(
        seq=fields.integer("seq"),
        at=fields.moment("at"),
        listener=fields.text("listener"),
        peer_address=fields.text("peer_address"),
        side=fields.text("side"),
        stage=fields.text("stage"),
        reason=fields.text("reason"),
        sentence=fields.text("sentence"),
        detail=fields.text("detail", DETAIL_LIMIT),
        identity=fields.text("identity"),
        subject=fields.text("subject"),
        issuer=fields.text("issuer"),
        serial=fields.text("serial"),
        not_after=fields.moment("not_after"),
        rule=fields.text("rule"),
        connection_id=fields.integer("connection_id"),
        status=fields.integer("status"),
        method=fields.text("method"),
        target=fields.text("target", DETAIL_LIMIT),
        request_id=fields.text("request_id"),
        raw=fields.raw,
    )


# What an event says first; the rest follows in the order it came.
_EVENT_FIELDS_FIRST = (
    "message",
    "state",
    "outcome",
    "reason",
    "identity",
    "subject",
    "peer_address",
    "listener",
    "id",
    "connection_id",
    "generation",
)
_EVENT_FIELDS_APART = frozenset({"seq", "at", "now", "kind", "sentence"})


def _event_summary(kind: str, fields: Fields) -> SafeText:
    if kind == "lost":
        return SafeText(f"events {fields.integer('from')} to {fields.integer('to')} are no longer kept")
    names = [name for name in _EVENT_FIELDS_FIRST if name in fields.raw]
    names += [name for name in fields.raw if name not in _EVENT_FIELDS_FIRST and name not in _EVENT_FIELDS_APART]
    parts = [f"{safe_text(name, 32)}={_brief(fields, name)}" for name in names if fields.raw[name] not in ("", None)]
    return safe_text("  ".join(parts), DETAIL_LIMIT)


def _brief(fields: Fields, name: str) -> SafeText:
    inner = fields.object(name)
    if not inner.raw:
        return fields.text(name)
    return SafeText(
        " ".join(f"{safe_text(key, 32)}={safe_text(value, 64)}" for key, value in inner.raw.items() if value)
    )
