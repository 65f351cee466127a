"""OpenTelemetry spans of HTTP requests, made and sent on a thread of their own (``tlsidecar[otel]``).

The data plane leaves an entry in a bounded queue and goes on; when the queue is full the span is dropped and counted.
What the ``OTEL_*`` variables say of resource, headers, timeouts and batches holds; OpenTelemetry is imported only here,
and only where tracing is on.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from tlsidecar import __version__
from tlsidecar.extras import install_line
from tlsidecar.outcomes import AccessEntry, Reason
from tlsidecar.settings import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

# So many finished requests wait for the thread at most: about a second of what one worker serves.
MAX_QUEUED = 8192

# How long the last spans may take to leave when the process ends.
LAST_SPANS_S = 2.0

_log = logging.getLogger("tlsidecar.tracing")


class TracingUnavailableError(Exception):
    """Tracing is asked for and cannot be had; the text is one clear line."""


class SpanExport:
    """Takes access entries, gives spans to the collector. :meth:`record` never waits and never raises."""

    def __init__(self, settings: Tracing) -> None:
        """Raises :class:`TracingUnavailableError` when the extra is not installed."""
        try:
            self._spans = _Spans(settings)
        except ImportError:
            raise TracingUnavailableError(f"[tracing] needs packages: {install_line('otel')}") from None
        self.dropped = 0
        self._queue: SimpleQueue[AccessEntry | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def record(self, entry: AccessEntry) -> None:
        """The span of one request that is over, if its trace is sampled."""
        trace = entry.trace
        if trace is None or not trace.sampled:
            return
        if self._queue.qsize() >= MAX_QUEUED:
            if not self.dropped:
                _log.warning("spans are dropped: more requests than the collector takes")
            self.dropped += 1
            return
        self._queue.put(entry)

    def close(self) -> None:
        """Send what is left, for a bounded time."""
        self._queue.put(None)
        self._thread.join(LAST_SPANS_S)
        if self.dropped:
            _log.warning("spans were dropped", extra={"fields": {"spans": self.dropped}})

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            try:
                self._spans.send(entry)
            except Exception:
                self.dropped += 1
                _log.exception("a span could not be made")
        self._spans.close()


class _Spans:
    """Everything that touches OpenTelemetry."""

    def __init__(self, settings: Tracing) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
        from opentelemetry.trace.status import Status, StatusCode

        self._make: type[ReadableSpan] = trace.ReadableSpan
        self._context = SpanContext
        self._sampled = TraceFlags(TraceFlags.SAMPLED)
        self._kinds = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}
        self._statuses = {False: Status(StatusCode.UNSET), True: Status(StatusCode.ERROR)}
        self._scope = InstrumentationScope("tlsidecar", __version__)
        self._resource = Resource.create({"service.name": settings.service_name} if settings.service_name else {})
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint))

    def send(self, entry: AccessEntry) -> None:
        trace = entry.trace
        assert trace is not None
        trace_id = int(trace.trace_id, 16)
        end_ns = int(entry.at * 1e9)
        attributes: dict[str, Any] = {
            "http.request.method": entry.method,
            "url.path": entry.target.partition("?")[0],  # what a query says is the service's business
            "http.response.status_code": entry.status,
            "network.peer.address": entry.peer_address,
            "server.address": entry.upstream,
            "tlsidecar.listener": entry.listener,
            "tlsidecar.identity": entry.identity,
            "tlsidecar.rule": entry.rule,
            "tlsidecar.reason": entry.reason.value,
            "tlsidecar.request_id": entry.request_id,
            "tlsidecar.connection": entry.connection_id,
            "tlsidecar.wait_s": entry.wait_s,
            "tlsidecar.upstream_s": entry.upstream_s,
        }
        failed = entry.status >= 500 or (entry.reason is not Reason.COMPLETED and entry.status < 400)
        parent = (
            self._context(trace_id, int(trace.parent_id, 16), is_remote=True, trace_flags=self._sampled)
            if trace.parent_id
            else None
        )
        self._processor.on_end(
            self._make(
                name=entry.method or "HTTP",
                context=self._context(trace_id, int(trace.span_id, 16), is_remote=False, trace_flags=self._sampled),
                parent=parent,
                resource=self._resource,
                attributes={name: value for name, value in attributes.items() if value != ""},
                kind=self._kinds[trace.kind],
                instrumentation_scope=self._scope,
                status=self._statuses[failed],
                start_time=end_ns - int(entry.total_s * 1e9),
                end_time=end_ns,
            )
        )

    def close(self) -> None:
        self._processor.force_flush(int(LAST_SPANS_S * 1000))
        self._processor.shutdown()  # type: ignore[no-untyped-call]


def open_span_export(settings: Tracing) -> SpanExport | None:
    """The export that ``settings`` asks for; None when it is off. Raises :class:`TracingUnavailableError`."""
    return SpanExport(settings) if settings.endpoint else None


def require_tracing(settings: Tracing) -> None:
    """Raises :class:`TracingUnavailableError` where the export would, without importing what it needs."""
    if settings.endpoint and not all(map(_is_installed, _NEEDED)):
        raise TracingUnavailableError(f"[tracing] needs packages: {install_line('otel')}")


# The SDK and the exporter are packages of their own: one without the other is not enough.
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # of the package around it, which is missing or cannot be imported
        return False
