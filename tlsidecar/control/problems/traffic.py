"""Problems of what flows: services that do not answer, limits that are nearly reached, somebody who is turned away
again and again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tlsidecar.control.interface import Severity
from tlsidecar.control.outages import Outage
from tlsidecar.control.problems.facts import Facts, Found
from tlsidecar.dataplane.snapshot import UpstreamRecord, latest
from tlsidecar.outcomes import Reason

# A listener this full is about to refuse.
NEARLY_FULL_FRACTION = 0.9
# So many refusals of one known party for one reason are somebody's misconfiguration, and not a stray.
REPEATED_REFUSALS = 5
REPEATED_WITHIN = timedelta(minutes=15)
MOST_REPEATED = 3  # the problems of the few who are refused most; the rest is among the refusals


def outages(facts: Facts) -> Iterator[Found]:
    """Listeners whose exchanges fail, and why."""
    for outage in facts.outages:
        cost = f"{outage.cost} {outage.what} failed since {outage.since:%H:%M:%S}Z"
        if outage.upstreams:
            addresses = ", ".join(upstream.address for upstream in outage.upstreams)
            which = "its upstream" if len(outage.upstreams) == 1 else "every upstream"
            newest = latest(outage.upstreams)
            message = f"{outage.listener}: {which} is down ({addresses}): {_error(newest)}; {cost}"
            yield Found(Severity.CRITICAL, "upstream_down", message, outage.since, outage.listener)
        else:
            message = f"{outage.listener}: {outage.failed} of its last {outage.served} {outage.what} failed"
            message += f", mostly because {_why(outage)}; {cost}"
            yield Found(Severity.CRITICAL, "requests_failing", message, outage.since, outage.listener)


def _why(outage: Outage) -> str:
    if outage.main_reason:
        return Reason(outage.main_reason).sentence
    return "the service answers gRPC's UNAVAILABLE or its like" if outage.says_grpc else "the service answers 5xx"


def _error(upstream: UpstreamRecord) -> str:
    """What is wrong with it, without the address that stands before."""
    return upstream.last_error.removeprefix(f"{upstream.address}: ") or "it does not answer"


def upstreams(facts: Facts) -> Iterator[Found]:
    """An upstream that is down beside others that are not; and listeners whose readiness depends on a check."""
    for name, detail in facts.not_ready.items():
        message = f"{name} is not ready, for no upstream passes its health check: {detail}"
        yield Found(Severity.CRITICAL, "upstream_not_ready", message, facts.now, name)
    known: dict[tuple[str, str], list[UpstreamRecord]] = {}
    for snapshot in facts.snapshots:
        for listener in snapshot.listeners:
            for upstream in listener.upstreams:
                known.setdefault((listener.name, upstream.address), []).append(upstream)
    down = {outage.listener for outage in facts.outages if outage.upstreams}
    for (name, address), records in known.items():
        newest = latest(records)
        if not newest.healthy and name not in down:
            message = f"{name} cannot reach {address}: {_error(newest)}"
            yield Found(Severity.WARNING, "upstream_down", message, facts.now, f"{name} {address}")


def limits(facts: Facts) -> Iterator[Found]:
    """Listeners near their most connections or handshakes, of all workers together."""
    connections: dict[str, tuple[int, int]] = {}
    handshakes: dict[str, tuple[int, int]] = {}
    for snapshot in facts.snapshots:
        for listener in snapshot.listeners:
            counters = listener.counters
            for held, used, most in (
                (connections, counters.connections_active, listener.max_connections),
                (handshakes, counters.handshakes_active, listener.max_handshakes),
            ):
                before = held.get(listener.name, (0, 0))
                held[listener.name] = (before[0] + used, before[1] + most)
    for what, held in (("connections", connections), ("handshakes", handshakes)):
        for name, (used, most) in held.items():
            if most and used >= most * NEARLY_FULL_FRACTION:
                severity = Severity.CRITICAL if used >= most else Severity.WARNING
                message = f"{name} has {used} of at most {most} {what}"
                yield Found(severity, f"{what}_nearly_full", message, facts.now, name)


def repeated_refusals(facts: Facts) -> Iterator[Found]:
    """Only of who is known: strangers are turned away all the time, and whoever is kept out by hand is a problem of
    its own."""
    horizon = (facts.now - REPEATED_WITHIN).timestamp()
    often = [
        group
        for group in facts.refusals
        if group.count >= REPEATED_REFUSALS
        and group.is_known
        and group.last_at >= horizon
        and group.key.reason is not Reason.IDENTITY_DENIED
    ]
    for group in sorted(often, key=lambda each: each.count, reverse=True)[:MOST_REPEATED]:
        key = group.key
        message = f"{key.who} was refused {group.count} times on {key.listener}: {key.reason.sentence}"
        since = datetime.fromtimestamp(group.first_at, UTC)
        yield Found(Severity.WARNING, "repeated_refusal", message, since, f"{key.listener} {key.who}")
