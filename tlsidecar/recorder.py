"""What the data plane reports, put where people and programs look: access log, process log, refusals, events."""

from __future__ import annotations

import logging

from tlsidecar.dataplane.report import Opened, UpstreamChange
from tlsidecar.observe import events
from tlsidecar.observe.access_log import AccessLog
from tlsidecar.observe.events import EventHub
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.observe.tracing import SpanExport
from tlsidecar.outcomes import AccessEntry, Refusal
from tlsidecar.upstream_health import UpstreamHealth

_log = logging.getLogger("tlsidecar.refusals")


class Recorder:
    """The observer of the workers; see tlsidecar.dataplane.report.Observer."""

    def __init__(
        self,
        access_log: AccessLog,
        refusals: RefusalLog,
        hub: EventHub,
        upstream_health: UpstreamHealth,
        spans: SpanExport | None = None,
    ) -> None:
        self._access_log = access_log
        self._refusals = refusals
        self._hub = hub
        self._upstream_health = upstream_health
        self._spans = spans
        self.wants_exchanges = access_log.enabled or spans is not None

    def opened(self, connection: Opened) -> None:
        self._hub.publish(events.OPENED, connection._asdict())

    def closed(self, entry: AccessEntry) -> None:
        if entry.protocol == "tcp":
            self._access_log.record(entry)
        self._hub.publish(
            events.CLOSED,
            {
                "id": entry.connection_id,
                "listener": entry.listener,
                "peer_address": entry.peer_address,
                "identity": entry.identity,
                "reason": entry.reason.value,
                "sentence": entry.reason.sentence,
                "bytes_in": entry.bytes_in,
                "bytes_out": entry.bytes_out,
                "duration_s": round(entry.total_s, 3),
            },
        )

    def exchanged(self, entry: AccessEntry) -> None:
        self._access_log.record(entry)
        if self._spans is not None:
            self._spans.record(entry)

    def refused(self, refusal: Refusal) -> None:
        number = self._refusals.record(refusal)
        told = {
            "listener": refusal.listener,
            "peer_address": refusal.peer_address,
            "side": refusal.side.value,
            "stage": refusal.stage.value,
            "reason": refusal.reason.value,
            "identity": refusal.identity,
            "serial": refusal.serial,
            "detail": refusal.detail,
            "connection_id": refusal.connection_id,
        }
        if refusal.status:
            told |= {"status": refusal.status, "method": refusal.method, "target": refusal.target}
        self._hub.publish(events.REFUSAL, {"number": number, "sentence": refusal.reason.sentence, **told})
        _log.info("refused: %s", refusal.reason.sentence, extra={"fields": told})

    def upstream_changed(self, change: UpstreamChange) -> None:
        self._upstream_health.changed(change)
