"""What the controller knows, as the records of :mod:`tlsidecar.api`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.backends.openssl import backend

from tlsidecar import __version__
from tlsidecar.admin.certificate_views import (
    certificate_record,
    certificate_records,
    crl_records,
    federated_records,
)
from tlsidecar.api.certificates import Certificates, OwnIdentity
from tlsidecar.api.connections import ConnectionGroup, ConnectionInFull, Connections
from tlsidecar.api.failures import Failure, Failures
from tlsidecar.api.filter import EVERYTHING, Filter
from tlsidecar.api.filter_fields import failure_matcher, refusal_matcher
from tlsidecar.api.refusals import Refusal, RefusalGroup, Refusals
from tlsidecar.api.status import Listener, OwnCertificate, Sandbox, Status, Totals, Upstream, Worker
from tlsidecar.api.times import timestamp
from tlsidecar.control import interface
from tlsidecar.control.series import Sums
from tlsidecar.dataplane import snapshot
from tlsidecar.dataplane.snapshot import (
    GroupPage,
    GroupQuery,
    ListenerCounters,
    ListenerRecord,
    UpstreamRecord,
    WorkerSnapshot,
    latest,
    merge_listeners,
)
from tlsidecar.observe.refusals import RefusalsOfOne
from tlsidecar.settings import ListenerSettings

if TYPE_CHECKING:
    from tlsidecar import outcomes
    from tlsidecar.observe.events import Event
    from tlsidecar.sandbox.level import Level

# Of the time line of attempts; the log has them all.
ATTEMPTS_SHOWN = 50


def status(control: interface.Control, snapshots: Sequence[WorkerSnapshot]) -> Status[str]:
    """All workers together."""
    now = control.clock.now()
    merged = merge_listeners(snapshots)
    records: dict[str, list[ListenerRecord]] = {}
    for each in snapshots:
        for record in each.listeners:
            records.setdefault(record.name, []).append(record)
    configured = {listener.name: listener for listener in control.settings.listeners}
    return Status(
        now=now,
        version=__version__,
        pid=os.getpid(),
        node=os.uname().nodename,
        started_at=control.started_at,
        uptime_s=max(0.0, (now - control.started_at).total_seconds()),
        state=control.state.value,
        ready=control.is_ready(),
        live=control.is_live(),
        generation=_number(control.identities[0]),
        openssl=backend.openssl_version_text(),
        python=".".join(map(str, sys.version_info[:3])),
        event_loop=_event_loop_name(),
        log_level=control.log_level,
        log_lines_dropped=sum(each.log_lines_dropped for each in snapshots),
        workers=tuple(
            Worker(
                worker=each.worker,
                pid=each.pid,
                connections=each.connections,
                restarts=each.restarts,
                loop_lag_s=each.loop_lag_s,
            )
            for each in snapshots
        ),
        listeners=tuple(
            _listener(same_name, configured.get(name), merged[name], control.history.lately(name))
            for name, same_name in records.items()
        ),
        totals=_totals(merged.values()),
        certificate=next(iter(_own_certificates(control.identities[:1])), None),
        sandbox=_sandbox(control.sandbox),
        problems=tuple(control.problems()),
        identities=tuple(_own_certificates(control.identities)),
    )


def connection_in_full(detail: snapshot.ConnectionDetail) -> ConnectionInFull[str]:
    """With the chain that its peer showed."""
    return ConnectionInFull(**vars(detail.record), chain=tuple(map(certificate_record, detail.chain)))


def connection_groups(control: interface.Control, query: GroupQuery, page: GroupPage) -> Connections[str]:
    """In the place of connections, which stay empty."""
    rates = page.over_s > 0
    return Connections(
        now=control.clock.now(),
        total=page.total,
        matched=page.matched,
        offset=query.offset,
        limit=query.limit,
        connections=(),
        groups=tuple(
            ConnectionGroup(
                key=row.key,
                filter=row.filter,
                connections=row.connections,
                requests=row.requests,
                bytes_in=row.bytes_in,
                bytes_out=row.bytes_out,
                requests_per_s=row.requests_per_s if rates else None,
                bytes_in_per_s=row.bytes_in_per_s if rates else None,
                bytes_out_per_s=row.bytes_out_per_s if rates else None,
                failures_per_s=row.failures_per_s if rates else None,
            )
            for row in page.rows
        ),
        groups_matched=page.groups,
    )


def certificates(control: interface.Control, snapshots: Iterable[WorkerSnapshot]) -> Certificates[str]:
    """What is served and trusted now. The number of certificates is bounded by our own files, not by a peer."""
    identities = control.identities
    open_now: dict[tuple[str, int], int] = {}
    for each in snapshots:
        for key, count in each.connections_by_generation.items():
            open_now[key] = open_now.get(key, 0) + count
    materials = [_own_material(state, open_now) for state in identities]
    return Certificates(
        **materials[0],
        now=control.clock.now(),
        attempts=tuple(control.attempts(ATTEMPTS_SHOWN)),
        identities=tuple(
            OwnIdentity(
                **material,
                name=state.name,
                listeners=tuple(listener.name for listener in control.settings.listeners_of(state.name)),
            )
            for state, material in zip(identities, materials, strict=True)
        ),
    )


def _own_material(state: interface.IdentityState, open_now: Mapping[tuple[str, int], int]) -> dict[str, Any]:
    """The fields of tlsidecar.api.certificates.OwnMaterial."""
    generation = state.generation
    material = None if generation is None else generation.material
    by_generation = {number: count for (name, number), count in open_now.items() if name == state.name}
    return {
        "generation": _number(state),
        "activated_at": None if generation is None else generation.activated_at,
        "source": state.source,
        "leaf": None if material is None else certificate_records([material.leaf])[0],
        "chain": () if material is None else certificate_records(material.chain),
        "trust": () if material is None else certificate_records(material.trust),
        "federated": () if material is None else federated_records(material),
        "crls": () if material is None else crl_records(material),
        "next_renewal_at": state.next_renewal_at,
        "renewal_overdue_at": state.renewal_overdue_at,
        "renewal_failures": state.renewal_failures,
        "last_attempt": state.last_attempt,
        "connections_by_generation": {str(number): by_generation[number] for number in sorted(by_generation)},
    }


def _number(state: interface.IdentityState) -> int:
    return 0 if state.generation is None else state.generation.number


def refusal(number: int, recorded: outcomes.Refusal) -> Refusal[str]:
    """``number`` is its place among all since the start, by which it is asked for."""
    return Refusal(
        id=f"r{number}",
        seq=number,
        at=_time(recorded.at),
        listener=recorded.listener,
        peer_address=recorded.peer_address,
        side=recorded.side.value,
        stage=recorded.stage.value,
        reason=recorded.reason.value,
        sentence=recorded.reason.sentence,
        detail=recorded.detail,
        identity=recorded.identity,
        subject=recorded.subject,
        issuer=recorded.issuer,
        serial=recorded.serial,
        not_after=_time(recorded.not_after),
        rule=recorded.rule,
        connection_id=recorded.connection_id,
        status=recorded.status,
        method=recorded.method,
        target=recorded.target,
        request_id=recorded.request_id,
        sha256=recorded.leaf,
        own_identity=recorded.own_identity,
    )


def refusals(
    control: interface.Control, snapshots: Iterable[WorkerSnapshot], limit: int, wanted: Filter = EVERYTHING
) -> Refusals[str]:
    """The newest that the filter means, and the groups in which it means one of the examples."""
    log = control.refusals
    now = control.clock.now()
    counters = merge_listeners(list(snapshots)).values()
    if wanted:
        matches = refusal_matcher(wanted, now)
        kept = [row for number, recorded in log.newest(log.kept) if matches(row := refusal(number, recorded))]
        numbers = {row.seq for row in kept}
        groups = [each for each in log.groups() if any(number in numbers for number, _ in each.examples)]
    else:
        kept = [refusal(number, recorded) for number, recorded in log.newest(limit)]
        groups = log.groups(limit)
    return Refusals(
        now=now,
        total=log.total,
        refusals=tuple(kept[:limit]),
        groups=tuple(_refusal_group(group) for group in groups[:limit]),
        probes=sum(each.connections.get("empty", 0) for each in counters),
    )


def _refusal_group(group: RefusalsOfOne) -> RefusalGroup[str]:
    key = group.key
    number, newest = group.examples[-1]
    return RefusalGroup(
        who=key.who,
        known=group.is_known,
        listener=key.listener,
        side=key.side.value,
        stage=key.stage.value,
        reason=key.reason.value,
        sentence=key.reason.sentence,
        rule=key.rule,
        count=group.count,
        first_at=_time(group.first_at),
        last_at=_time(group.last_at),
        newest_seq=number,
        peer_address=newest.peer_address,
    )


def failures(control: interface.Control, limit: int, wanted: Filter = EVERYTHING) -> Failures[str]:
    """At most ``limit`` groups, the newest first."""
    now = control.clock.now()
    matches = failure_matcher(wanted, now)
    rows = (
        Failure(
            listener=group.listener,
            upstream=group.upstream,
            reason=group.reason.value,
            sentence=group.reason.sentence,
            detail=group.detail,
            count=group.count,
            first_at=_time(group.first_at),
            last_at=_time(group.last_at),
            last_identity=group.last_identity,
        )
        for group in control.failures.newest(control.failures.kept)
    )
    return Failures(now=now, total=control.failures.total, failures=tuple(islice(filter(matches, rows), limit)))


def event_document(event: Event) -> dict[str, object]:
    """An event's fields are its kind's own; these two are all events'."""
    return {"seq": event.sequence, "at": timestamp(event.at), **event.fields}


def _time(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _event_loop_name() -> str:
    return "uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio"


def _own_certificates(identities: Iterable[interface.IdentityState]) -> Iterator[OwnCertificate[str]]:
    for state in identities:
        if state.generation is None:
            continue
        (leaf,) = certificate_records([state.generation.material.leaf])
        yield OwnCertificate(
            identity=leaf.identity,
            serial=leaf.serial,
            not_before=leaf.not_before,
            not_after=leaf.not_after,
            next_renewal_at=state.next_renewal_at,
            name=state.name,
            generation=state.generation.number,
            renewal_overdue_at=state.renewal_overdue_at,
            renewal_failures=state.renewal_failures,
        )


def _sandbox(level: Level) -> Sandbox[str]:
    return Sandbox(
        mode=level.mode,
        holds=level.holds,
        abi=level.abi,
        reason=level.reason,
        covers=level.covers,
        gaps=level.gaps,
    )


def _listener(
    records: Sequence[ListenerRecord], configured: ListenerSettings | None, counters: ListenerCounters, lately: Sums
) -> Listener[str]:
    record = records[0]
    return Listener(
        **_counted(counters),
        name=record.name,
        mode=record.mode,
        protocol=record.protocol,
        listen=record.listen,
        bound=record.bound,
        upstreams=_upstreams(upstream for each in records for upstream in each.upstreams),
        allow=tuple(configured.allow) if configured else (),
        expect=tuple(configured.expect) if configured else (),
        max_connections=sum(each.max_connections for each in records),
        max_handshakes=sum(each.max_handshakes for each in records),
        handshake_p50_s=counters.handshake_seconds.quantile(0.5),
        handshake_p99_s=counters.handshake_seconds.quantile(0.99),
        requests=dict(sorted(counters.requests.items())),
        upstream_errors=dict(counters.upstream_errors),
        identities=tuple(configured.identities) if configured else (),
        recent_handshake_p99_s=lately.handshake_seconds.quantile(0.99),
    )


def _counted(counters: ListenerCounters) -> dict[str, int]:
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


def _totals(each: Iterable[ListenerCounters]) -> Totals[str]:
    total = ListenerCounters()
    for counters in each:
        total.add(counters)
    return Totals(**_counted(total), requests_total=sum(total.requests.values()))


def _upstreams(records: Iterable[UpstreamRecord]) -> tuple[Upstream[str], ...]:
    """One for each address."""
    by_address: dict[str, list[UpstreamRecord]] = {}
    for record in records:
        by_address.setdefault(record.address, []).append(record)
    return tuple(
        Upstream(
            address=address,
            healthy=_decisive(same).healthy,
            active=sum(record.active for record in same),
            idle=sum(record.idle for record in same),
            failures=sum(record.failures for record in same),
            ejected_until=_time(max(record.ejected_until or 0.0 for record in same) or None),
            last_error=_decisive(same).last_error,
            checked=_agreed([record.checked for record in same]),
            checks_total=sum(record.checks_total for record in same),
            checks_failed=sum(record.checks_failed for record in same),
        )
        for address, same in by_address.items()
    )


def _decisive(same: Sequence[UpstreamRecord]) -> UpstreamRecord:
    """What a worker says whose check fails, as for readiness; else the one that tried the address last."""
    return next((record for record in same if record.checked is False), None) or latest(same)


def _agreed(checked: Sequence[bool | None]) -> bool | None:
    """What all workers hold it for; None while they do not agree."""
    first = checked[0]
    return first if all(each is first for each in checked) else None
