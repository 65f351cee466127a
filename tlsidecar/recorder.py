"""What the data plane reports, put where people and programs look: access log, process log, refusals, events.

A worker's :class:`Recorder` writes the logs, in its own process. What is to be known of all workers together goes
through an :class:`Announcer`: to the controller's :class:`Collector`, directly or across a socketpair.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from tlsidecar.dataplane.report import Opened, UpstreamChange
from tlsidecar.observe import events
from tlsidecar.observe.access_log import AccessLog
from tlsidecar.observe.events import EventHub
from tlsidecar.observe.failures import FailureLog
from tlsidecar.observe.line_limit import LineLimit
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.observe.tracing import SpanExport
from tlsidecar.outcomes import AccessEntry, EndedRequest, Failure, Reason, Refusal
from tlsidecar.settings import DEFAULT_IDENTITY

_refusals_log = logging.getLogger("tlsidecar.refusals")
_failures_log = logging.getLogger("tlsidecar.failures")


class Closed(NamedTuple):
    """A connection that was opened and is over."""

    id: int
    listener: str
    peer_address: str
    identity: str
    reason: Reason
    bytes_in: int
    bytes_out: int
    duration_s: float
    own_identity: str = ""

    def fields(self) -> dict[str, object]:
        """For the events."""
        reason = self.reason
        duration_s = round(self.duration_s, 3)
        return self._asdict() | {"duration_s": duration_s, "reason": reason.value, "sentence": reason.sentence}


class Announcer(Protocol):
    """Passes on what happened; must not block, and must not raise."""

    def opened(self, connection: Opened) -> None: ...

    def closed(self, connection: Closed) -> None: ...

    def refused(self, refusal: Refusal) -> None: ...

    def failed(self, failure: Failure) -> None: ...

    def upstream_changed(self, change: UpstreamChange) -> None: ...


class UpstreamWatch(Protocol):
    """Keeps what the active checks of all workers hold of each upstream."""

    def changed(self, change: UpstreamChange) -> None: ...

    def forget(self, worker: int) -> None:
        """This worker is gone, and what it held with it."""
        ...


class Collector:
    """Where everything that is announced ends: the kept refusals and failures, the numbered events, what the checks
    hold of upstreams."""

    def __init__(
        self, refusals: RefusalLog, failures: FailureLog, hub: EventHub, upstream_health: UpstreamWatch
    ) -> None:
        self.refusals = refusals
        self.failures = failures
        self.hub = hub
        self.upstream_health = upstream_health

    def opened(self, connection: Opened) -> None:
        self.hub.publish(events.OPENED, connection)

    def closed(self, connection: Closed) -> None:
        self.hub.publish(events.CLOSED, connection)

    def refused(self, refusal: Refusal) -> None:
        number = self.refusals.record(refusal)
        fields = {"number": number, "sentence": refusal.reason.sentence, **_refusal_fields(refusal)}
        self.hub.publish(events.REFUSAL, fields)

    def failed(self, failure: Failure) -> None:
        number = self.failures.record(failure)
        fields = {"number": number, "sentence": failure.reason.sentence, **_failure_fields(failure)}
        self.hub.publish(events.FAILURE, fields)

    def upstream_changed(self, change: UpstreamChange) -> None:
        self.upstream_health.changed(change)


class Recorder:
    """The observer of a worker; see tlsidecar.dataplane.report.Observer."""

    def __init__(self, access_log: AccessLog, announcer: Announcer, spans: SpanExport | None = None) -> None:
        self._access_log = access_log
        self._announcer = announcer
        self._spans = spans
        self._limit = LineLimit()

    @property
    def exchanged(self) -> Callable[[EndedRequest, float], None] | None:
        if self._spans is not None:
            return self._exchanged
        return self._access_log.request if self._access_log.enabled else None

    def opened(self, connection: Opened) -> None:
        self._announcer.opened(connection)

    def closed(self, entry: AccessEntry) -> None:
        if entry.protocol == "tcp":
            self._access_log.record(entry)
        self._announcer.closed(
            Closed(
                id=entry.connection_id,
                listener=entry.listener,
                peer_address=entry.peer_address,
                identity=entry.identity,
                reason=entry.reason,
                bytes_in=entry.bytes_in,
                bytes_out=entry.bytes_out,
                duration_s=entry.total_s,
                own_identity=entry.own_identity,
            )
        )

    def _exchanged(self, ended: EndedRequest, now: float) -> None:
        assert self._spans is not None
        entry = ended.entry(now)
        self._access_log.record(entry)
        self._spans.record(entry)

    def refused(self, refusal: Refusal) -> None:
        self._announcer.refused(refusal)
        self._say(_refusals_log, logging.INFO, "refused", refusal.listener, refusal.reason, _refusal_fields(refusal))

    def failed(self, failure: Failure) -> None:
        self._announcer.failed(failure)
        self._say(_failures_log, logging.WARNING, "failed", failure.listener, failure.reason, _failure_fields(failure))

    def upstream_changed(self, change: UpstreamChange) -> None:
        self._announcer.upstream_changed(change)

    def _say(
        self, log: logging.Logger, level: int, what: str, listener: str, reason: Reason, fields: dict[str, object]
    ) -> None:
        """One line, unless there have been many for the same cause: then their number is said later."""

        def flush(left_out: int) -> None:
            fields = {"listener": listener, "reason": reason.value, "left_out": left_out}
            log.log(level, "%s, %d more: %s", what, left_out, reason.sentence, extra={"fields": fields})

        if not log.isEnabledFor(level):
            return
        left_out = self._limit.admit((what, listener, reason), flush)
        if left_out is None:
            return
        if left_out:
            fields["left_out"] = left_out
        log.log(level, "%s: %s", what, reason.sentence, extra={"fields": fields})


def _failure_fields(failure: Failure) -> dict[str, object]:
    fields: dict[str, object] = {
        "listener": failure.listener,
        "upstream": failure.upstream,
        "reason": failure.reason.value,
        "detail": failure.detail,
        "peer_address": failure.peer_address,
        "identity": failure.identity,
        "connection_id": failure.connection_id,
    }
    if failure.status:
        fields |= {"status": failure.status, "method": failure.method, "target": failure.target}
    return fields


def _refusal_fields(refusal: Refusal) -> dict[str, object]:
    fields: dict[str, object] = {
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
    if refusal.own_identity not in ("", DEFAULT_IDENTITY):
        fields["own_identity"] = refusal.own_identity
    if refusal.status:
        fields |= {"status": refusal.status, "method": refusal.method, "target": refusal.target}
    return fields
