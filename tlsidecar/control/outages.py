"""Whether what a listener serves succeeds: judged from its counters, a second at a time.

An outage begins when every upstream of a listener is down, or when more than half of what it served in the last minute
failed. It ends when the service answers again: an upstream that is up, or a few seconds in which most succeeded; and
when there was nothing to fail for a minute. What it cost is counted from before its first failure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from itertools import pairwise

from tlsidecar.dataplane.snapshot import ListenerCounters, UpstreamRecord, WorkerSnapshot, latest
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Stage
from tlsidecar.settings import Mode

WINDOW_S = 60.0
# An outage is over when in so short a time most succeeded.
RECOVERY_S = 5.0
# Fewer failures than this in the window are an accident, not an outage.
MIN_FAILED = 3


@dataclass(frozen=True, slots=True)
class Served:
    """What a listener had served up to some moment, and what of that failed; ``errors`` are those that
    were ours to name, by reason, ``grpc_errors`` those that the service named in gRPC's way."""

    served: int
    failed: int
    errors: Mapping[str, int] = field(default_factory=dict)
    grpc_errors: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """A listener whose service does not answer, or mostly answers with failures. ``cost`` is how many requests, or
    connections of a TCP listener, it has cost so far; ``what`` is which of the two."""

    listener: str
    since: datetime
    cost: int
    what: str  # "requests" | "connections"
    upstreams: tuple[UpstreamRecord, ...]  # all of them, when every one is down; else empty
    failed: int = 0  # of what was served in the window
    served: int = 0
    main_reason: str = ""  # of most failures in the window, where it was ours to name; empty: the service's own answers
    says_grpc: bool = False  # and those are gRPC's statuses rather than 5xx


def served_of(protocol: str, counters: ListenerCounters, *, originates: bool = False) -> Served:
    """HTTP counts requests: those answered with 5xx have failed, by whosever doing, and so have answers that broke off
    or say it in gRPC's way. TCP counts connections that were let in, and, where the listener ``originates``, those for
    which the remote was refused, or refused us: whoever asked was the local application."""
    errors = dict(counters.failures)
    if protocol == "http":
        failed = counters.requests.get("5xx", 0) + counters.broken_answers + counters.grpc_errors
        return Served(sum(counters.requests.values()), failed, errors, counters.grpc_errors)
    connections = counters.connections
    if originates:
        for (stage, reason), count in counters.refusals.items():
            if stage != Stage.ACCEPT.value:
                errors[reason] = errors.get(reason, 0) + count
        served = sum(connections.get(outcome, 0) for outcome in ("established", "failed", "refused"))
        return Served(served, sum(errors.values()), errors)
    return Served(connections.get("established", 0) + connections.get("failed", 0), sum(errors.values()), errors)


class _Watched:
    """One listener."""

    def __init__(self, name: str, protocol: str) -> None:
        self.name = name
        self.what = "requests" if protocol == "http" else "connections"
        self.protocol = protocol
        self.samples: deque[tuple[float, datetime, Served]] = deque()
        self.outage: Outage | None = None
        self.before: Served | None = None  # as it was before the outage began

    def observe(self, now: datetime, monotonic: float, counts: Served, upstreams: tuple[UpstreamRecord, ...]) -> None:
        samples = self.samples
        if samples and counts.served < samples[-1][2].served:
            samples.clear()  # counters that went back are another process's
        while len(samples) > 1 and samples[1][0] <= monotonic - WINDOW_S:
            samples.popleft()
        first = samples[0][2] if samples else counts
        last = samples[-1][2] if samples else counts
        all_down = bool(upstreams) and not any(upstream.healthy for upstream in upstreams)
        failed, served = counts.failed - first.failed, counts.served - first.served
        mostly_failing = failed >= MIN_FAILED and failed > served / 2
        if self.outage is None:
            if all_down or mostly_failing:
                self.before = last if all_down else first
                since = now if all_down else self._failing_since(now)
                self._is_out(since, counts, upstreams if all_down else (), failed, served, first)
        elif all_down or (mostly_failing and not self.outage.upstreams and not self._recovers(monotonic, counts)):
            self._is_out(self.outage.since, counts, upstreams if all_down else (), failed, served, first)
        else:
            self.outage = None
            samples.clear()  # the failures of an outage that is over do not begin the next
        samples.append((monotonic, now, counts))

    def _failing_since(self, now: datetime) -> datetime:
        """When the first failure of the window was seen."""
        seen = [*((at, counts.failed) for _, at, counts in self.samples), (now, -1)]
        return next(after for (_, failed), (after, more) in pairwise(seen) if more != failed)

    def _recovers(self, monotonic: float, counts: Served) -> bool:
        recent = next((seen for at, _, seen in self.samples if at >= monotonic - RECOVERY_S), counts)
        served = counts.served - recent.served
        return served > 0 and (counts.failed - recent.failed) <= served / 2

    def _is_out(
        self,
        since: datetime,
        counts: Served,
        down: tuple[UpstreamRecord, ...],
        failed: int,
        served: int,
        first: Served,
    ) -> None:
        assert self.before is not None
        errors = {reason: count - first.errors.get(reason, 0) for reason, count in counts.errors.items()}
        grpc = counts.grpc_errors - first.grpc_errors
        by_service = failed - sum(errors.values())
        main = max(errors, key=lambda reason: errors[reason], default="")
        self.outage = Outage(
            listener=self.name,
            since=since,
            cost=counts.failed - self.before.failed,
            what=self.what,
            upstreams=down,
            failed=failed,
            served=served,
            main_reason=main if errors.get(main, 0) > max(by_service, 0) else "",
            says_grpc=grpc > by_service - grpc,
        )


class Outages:
    """All listeners; shown the workers' counters every second or so."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}

    def __repr__(self) -> str:
        return f"<Outages {[outage.listener for outage in self.now()]}>"

    def observe(self, now: datetime, monotonic: float, snapshots: Sequence[WorkerSnapshot]) -> None:
        counters: dict[str, ListenerCounters] = {}
        upstreams: dict[str, dict[str, list[UpstreamRecord]]] = {}
        protocols: dict[str, str] = {}
        originating: set[str] = set()
        for snapshot in snapshots:
            for record in snapshot.listeners:
                protocols[record.name] = record.protocol
                if record.mode == Mode.ORIGINATE.value:
                    originating.add(record.name)
                counters.setdefault(record.name, ListenerCounters()).add(record.counters)
                by_address = upstreams.setdefault(record.name, {})
                for upstream in record.upstreams:
                    by_address.setdefault(upstream.address, []).append(upstream)
        for name, protocol in protocols.items():
            watched = self._watched.get(name)
            if watched is None:
                watched = self._watched[name] = _Watched(name, protocol)
            known = tuple(latest(records) for records in upstreams[name].values())
            watched.observe(now, monotonic, served_of(protocol, counters[name], originates=name in originating), known)
        for gone in self._watched.keys() - protocols.keys():
            del self._watched[gone]

    def now(self) -> list[Outage]:
        return [watched.outage for watched in self._watched.values() if watched.outage is not None]
