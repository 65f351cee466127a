"""What the controller knows, as the JSON of docs/admin-api.md."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.serialization import Encoding

from tlsidecar import __version__
from tlsidecar.admin.certificate_views import certificate_view, certificates_view, crls_view
from tlsidecar.admin.times import timestamp
from tlsidecar.control.interface import Attempt, Control, Generation, Problem
from tlsidecar.dataplane.snapshot import (
    ConnectionRecord,
    ListenerCounters,
    ListenerRecord,
    UpstreamRecord,
    WorkerSnapshot,
    latest,
)
from tlsidecar.observe.metrics import merge_listeners
from tlsidecar.outcomes import Refusal
from tlsidecar.settings import Listener

if TYPE_CHECKING:
    from tlsidecar.observe.events import Event
from tlsidecar.observe.failures import FailureGroup

View = dict[str, object]


def status_view(control: Control, snapshots: Sequence[WorkerSnapshot]) -> View:
    now = control.clock.now()
    merged = merge_listeners(snapshots)
    records: dict[str, list[ListenerRecord]] = {}
    for snapshot in snapshots:
        for record in snapshot.listeners:
            records.setdefault(record.name, []).append(record)
    configured = {listener.name: listener for listener in control.settings.listeners}
    return {
        "version": __version__,
        "pid": os.getpid(),
        "node": os.uname().nodename,
        "started_at": timestamp(control.started_at),
        "uptime_s": max(0.0, round((now - control.started_at).total_seconds(), 3)),
        "state": control.state.value,
        "ready": control.is_ready(),
        "live": control.is_live(),
        "generation": 0 if control.generation is None else control.generation.number,
        "openssl": backend.openssl_version_text(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "event_loop": _event_loop_name(),
        "log_level": control.log_level,
        "log_lines_dropped": sum(snapshot.log_lines_dropped for snapshot in snapshots),
        "workers": [
            {
                "worker": snapshot.worker,
                "pid": snapshot.pid,
                "connections": snapshot.connections,
                "restarts": snapshot.restarts,
                "loop_lag_s": round(snapshot.loop_lag_s, 6),
            }
            for snapshot in snapshots
        ],
        "listeners": [
            _listener_view(same_name, configured.get(name), merged[name]) for name, same_name in records.items()
        ],
        "totals": _totals(merged.values()),
        "certificate": _leaf_view(control),
        "problems": [problem_view(problem) for problem in control.problems()],
    }


def problem_view(problem: Problem) -> View:
    return {
        "severity": problem.severity.value,
        "code": problem.code,
        "message": problem.message,
        "since": timestamp(problem.since),
        "subject": problem.subject,
        "advice": problem.advice,
    }


def connection_view(record: ConnectionRecord) -> View:
    return {
        "id": record.id,
        "listener": record.listener,
        "mode": record.mode,
        "protocol": record.protocol,
        "peer_address": record.peer_address,
        "identity": record.identity,
        "subject": record.subject,
        "serial": record.serial,
        "not_after": timestamp(record.not_after),
        "sni": record.sni,
        "alpn": record.alpn,
        "tls_version": record.tls_version,
        "cipher": record.cipher,
        "group": record.group,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "requests": record.requests,
        "opened_at": timestamp(record.opened_at),
        "idle_s": round(record.idle_s, 3),
        "generation": record.generation,
        "rule": record.rule,
        "state": record.state,
        "upstream": record.upstream,
        "worker": record.worker,
    }


def chain_view(chain: Iterable[bytes]) -> list[View]:
    return [certificate_view(der) for der in chain]


def certificates_document(control: Control, snapshots: Iterable[WorkerSnapshot]) -> View:
    """What is served and trusted now. The number of certificates is bounded by our own files, not by a peer."""
    generation = control.generation
    document: View = {
        "generation": 0,
        "activated_at": None,
        "source": control.source,
        "leaf": None,
        "chain": [],
        "trust": [],
        "crls": [],
    }
    if generation is not None:
        document |= _material_view(generation)
    by_generation: dict[int, int] = {}
    for snapshot in snapshots:
        for number, count in snapshot.connections_by_generation.items():
            by_generation[number] = by_generation.get(number, 0) + count
    return document | {
        "next_renewal_at": timestamp(control.next_renewal_at),
        "last_attempt": None if control.last_attempt is None else attempt_view(control.last_attempt),
        "connections_by_generation": {str(number): by_generation[number] for number in sorted(by_generation)},
    }


def attempt_view(attempt: Attempt) -> View:
    return {
        "at": timestamp(attempt.at),
        "trigger": attempt.trigger.value,
        "outcome": attempt.outcome.value,
        "reason": attempt.reason,
        "detail": attempt.detail,
        "generation": attempt.generation,
        "previous_serial": attempt.previous_serial,
        "serial": attempt.serial,
        "duration_s": round(attempt.duration_s, 6),
        "warnings": list(attempt.warnings),
        "configuration": attempt.configuration,
        "configuration_changes": list(attempt.configuration_changes),
    }


def refusal_view(number: int, refusal: Refusal) -> View:
    return {
        "seq": number,
        "at": timestamp(refusal.at),
        "listener": refusal.listener,
        "peer_address": refusal.peer_address,
        "side": refusal.side.value,
        "stage": refusal.stage.value,
        "reason": refusal.reason.value,
        "sentence": refusal.reason.sentence,
        "detail": refusal.detail,
        "identity": refusal.identity,
        "subject": refusal.subject,
        "issuer": refusal.issuer,
        "serial": refusal.serial,
        "not_after": timestamp(refusal.not_after),
        "rule": refusal.rule,
        "connection_id": refusal.connection_id,
        "status": refusal.status,
        "method": refusal.method,
        "target": refusal.target,
        "request_id": refusal.request_id,
    }


def failure_view(group: FailureGroup) -> View:
    return {
        "listener": group.listener,
        "upstream": group.upstream,
        "reason": group.reason.value,
        "sentence": group.reason.sentence,
        "detail": group.detail,
        "count": group.count,
        "first_at": timestamp(group.first_at),
        "last_at": timestamp(group.last_at),
        "last_identity": group.last_identity,
    }


def event_view(event: Event) -> View:
    return {"seq": event.sequence, "at": timestamp(event.at), **event.fields}


def _event_loop_name() -> str:
    return "uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio"


def _leaf_view(control: Control) -> View | None:
    if control.generation is None:
        return None
    leaf = certificate_view(control.generation.material.leaf.public_bytes(Encoding.DER))
    told = {name: leaf[name] for name in ("identity", "serial", "not_before", "not_after")}
    return told | {"next_renewal_at": timestamp(control.next_renewal_at)}


def _material_view(generation: Generation) -> View:
    material = generation.material
    (leaf,) = certificates_view([material.leaf])
    return {
        "generation": generation.number,
        "activated_at": timestamp(generation.activated_at),
        "leaf": leaf,
        "chain": certificates_view(material.chain),
        "trust": certificates_view(material.trust),
        "crls": crls_view(material),
    }


def _listener_view(records: Sequence[ListenerRecord], configured: Listener | None, counters: ListenerCounters) -> View:
    record = records[0]
    return {
        "name": record.name,
        "mode": record.mode,
        "protocol": record.protocol,
        "listen": record.listen,
        "bound": record.bound,
        "upstreams": _upstreams_view([upstream for each in records for upstream in each.upstreams]),
        "allow": list(configured.allow) if configured else [],
        "expect": list(configured.expect) if configured else [],
        "max_connections": sum(each.max_connections for each in records),
        "max_handshakes": sum(each.max_handshakes for each in records),
        **_counters_view(counters),
        "handshake_p50_s": counters.handshake_seconds.quantile(0.5),
        "handshake_p99_s": counters.handshake_seconds.quantile(0.99),
        "requests": dict(sorted(counters.requests.items())),
        "upstream_errors": dict(counters.upstream_errors),
    }


def _counters_view(counters: ListenerCounters) -> dict[str, int]:
    return {
        "connections_active": counters.connections_active,
        "handshakes_active": counters.handshakes_active,
        "connections_total": counters.connections.get("accepted", 0),
        "handshakes_total": sum(counters.handshakes.values()),
        "handshakes_failed": sum(count for (outcome, _), count in counters.handshakes.items() if outcome != "ok"),
        "refusals_total": sum(counters.refusals.values()),
        "bytes_in": counters.bytes_in,
        "bytes_out": counters.bytes_out,
    }


def _totals(each: Iterable[ListenerCounters]) -> Mapping[str, int]:
    totals = {**_counters_view(ListenerCounters()), "requests_total": 0}
    for counters in each:
        for name, value in _counters_view(counters).items():
            totals[name] += value
        totals["requests_total"] += sum(counters.requests.values())
    return totals


def _upstreams_view(records: Iterable[UpstreamRecord]) -> list[View]:
    """One row for each address: healthy when the worker that tried it last holds it so."""
    by_address: dict[str, list[UpstreamRecord]] = {}
    for record in records:
        by_address.setdefault(record.address, []).append(record)
    return [
        {
            "address": address,
            "healthy": latest(same).healthy,
            "active": sum(record.active for record in same),
            "idle": sum(record.idle for record in same),
            "failures": sum(record.failures for record in same),
            "ejected_until": timestamp(max(record.ejected_until or 0.0 for record in same) or None),
            "last_error": latest(same).last_error,
            "checked": _agreed([record.checked for record in same]),
            "checks_total": sum(record.checks_total for record in same),
            "checks_failed": sum(record.checks_failed for record in same),
        }
        for address, same in by_address.items()
    ]


def _agreed(checked: Sequence[bool | None]) -> bool | None:
    """What all workers hold it for; None while they do not agree."""
    first = checked[0]
    return first if all(each is first for each in checked) else None
