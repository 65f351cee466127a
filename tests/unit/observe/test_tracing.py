"""Spans of finished requests, made of their entries and taken by a real collector."""

from __future__ import annotations

import logging
import sys

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from support.collector import Collector, attributes, collecting
from support.waiting import eventually
from unit.observe.test_access_log import REQUEST

from tlsidecar.observe import tracing
from tlsidecar.observe.tracing import SpanExport, TracingUnavailableError, open_span_export, require_tracing
from tlsidecar.outcomes import AccessEntry, Reason, Trace
from tlsidecar.settings import Tracing

TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
SERVED = REQUEST._replace(trace=Trace(TRACE, SPAN, PARENT, sampled=True, kind="server"))


def spans_of(*entries: AccessEntry) -> Collector:
    """What a collector has of them once the export is closed."""
    with collecting() as collector:
        export = SpanExport(Tracing(endpoint=collector.endpoint, service_name="shop"))
        for entry in entries:
            export.record(entry)
        export.close()
    return collector


def test_a_span_is_what_its_entry_says() -> None:
    collector = spans_of(SERVED)
    (span,) = collector.spans
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert (span.name, span.kind, span.status.code) == ("GET", Span.SPAN_KIND_SERVER, Status.STATUS_CODE_UNSET)
    assert span.end_time_unix_nano == int(SERVED.at * 1e9)
    assert span.end_time_unix_nano - span.start_time_unix_nano == int(SERVED.total_s * 1e9)
    told = attributes(span)
    assert told["url.path"] == "/things", "what a query says is the service's business"
    assert (told["tlsidecar.identity"], told["tlsidecar.reason"]) == (SERVED.identity, "completed")
    assert collector.resource["service.name"] == "shop"


@pytest.mark.parametrize(
    ("status", "reason", "failed"),
    [
        (404, Reason.COMPLETED, False),
        (403, Reason.ROUTE_DENIED, False),
        (500, Reason.COMPLETED, True),
        (502, Reason.UPSTREAM_REFUSED, True),
        (200, Reason.UPSTREAM_RESET, True),
        (0, Reason.PEER_RESET, True),
    ],
)
def test_a_refusal_is_no_error_and_an_answer_cut_short_is(status: int, reason: Reason, failed: bool) -> None:
    (span,) = spans_of(SERVED._replace(status=status, reason=reason)).spans
    assert span.status.code == (Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET)


def test_what_is_not_sampled_is_not_told_and_what_is_empty_is_left_out() -> None:
    root = SERVED._replace(
        trace=Trace(TRACE, SPAN, "", sampled=True, kind="client"), identity="", upstream="", method="", target="/root"
    )
    unsampled = SERVED._replace(trace=Trace(TRACE, SPAN, "", sampled=False, kind="server"))
    (span,) = spans_of(unsampled, REQUEST, root).spans
    assert (span.name, span.kind, span.parent_span_id) == ("HTTP", Span.SPAN_KIND_CLIENT, b"")
    assert {"tlsidecar.identity", "server.address", "http.request.method"}.isdisjoint(attributes(span))


def test_an_entry_of_which_no_span_can_be_made_costs_itself_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "tlsidecar")
    broken = SERVED._replace(trace=Trace("no hex", SPAN, "", sampled=True, kind="server"))
    with collecting() as collector:
        export = SpanExport(Tracing(endpoint=collector.endpoint))
        export.record(broken)
        export.record(SERVED)
        eventually(lambda: export.dropped)
        export.close()
    assert [span.span_id.hex() for span in collector.spans] == [SPAN]
    assert "a span could not be made" in caplog.text
    assert "spans were dropped" in caplog.text


def test_above_a_bound_spans_are_dropped_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "tlsidecar")
    monkeypatch.setattr(tracing, "MAX_QUEUED", 0)
    with collecting() as collector:
        export = SpanExport(Tracing(endpoint=collector.endpoint))
        for _ in range(3):
            export.record(SERVED)
        export.close()
    assert (export.dropped, collector.spans) == (3, [])
    assert caplog.text.count("more requests than the collector takes") == 1


def test_without_its_packages_it_is_said_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("opentelemetry.sdk", "opentelemetry.sdk.trace"):
        monkeypatch.setitem(sys.modules, module, None)
    wanted = Tracing(endpoint="http://127.0.0.1:1/v1/traces")
    for ask in (open_span_export, require_tracing):
        with pytest.raises(TracingUnavailableError, match=r"^\[tracing\] needs packages: .*opentelemetry"):
            ask(wanted)


def test_where_it_is_off_nothing_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert open_span_export(Tracing()) is None
    require_tracing(Tracing())
