"""What a worker reports about itself: plain values that can cross a socketpair to the controller.

Times are POSIX seconds, durations seconds, sizes bytes. Text that came from a peer is passed on as it was: whoever
shows it escapes it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import NamedTuple, TypeAlias, TypeVar

from tlsidecar.api import connections
from tlsidecar.lazy_dataclass import dataclass

# Upper bounds of the handshake histogram's buckets, in seconds; one more bucket counts what is above the last.
HANDSHAKE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# The same for HTTP exchanges, from the last byte of the request head to the last byte of the response.
EXCHANGE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# Where it is asked who does most, so many bytes count as much as one request.
BYTES_LIKE_A_REQUEST = 16 * 1024


@dataclass(slots=True)
class Histogram:
    """Counts per bucket (not cumulative), the sum of what was observed in seconds, and how many there were."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total_s += seconds

    def copy(self) -> Histogram:
        return Histogram(self.bounds, list(self.counts), self.total_s)

    def add(self, other: Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.total_s += other.total_s

    @property
    def observations(self) -> int:
        return sum(self.counts)

    def quantile(self, fraction: float) -> float | None:
        """How long this fraction of the observations took at most, in seconds: interpolated within its bucket, as
        Prometheus' histogram_quantile does; the highest bound for what is above it. None when nothing was observed."""
        wanted = fraction * self.observations
        if wanted <= 0:
            return None
        seen, lower = 0, 0.0
        for count, bound in zip(self.counts, self.bounds, strict=False):
            if count and seen + count >= wanted:
                return lower + (bound - lower) * (wanted - seen) / count
            seen, lower = seen + count, bound
        return self.bounds[-1]


Key = TypeVar("Key")


def _add_counts(into: dict[Key, int], other: Mapping[Key, int]) -> None:
    for key, count in other.items():
        into[key] = into.get(key, 0) + count


@dataclass(slots=True)
class TrafficCounters:
    """What is counted of whatever is charted: a listener, an upstream, a party."""

    connections_active: int = 0
    connections: dict[str, int] = field(
        default_factory=dict
    )  # outcome: accepted, established, refused, failed, probe, empty, and each Reason
    handshakes: dict[tuple[str, str], int] = field(default_factory=dict)  # (outcome ok|failed, reason)
    handshake_seconds: Histogram = field(default_factory=lambda: Histogram(HANDSHAKE_BUCKETS_S))
    bytes_in: int = 0  # from the mTLS peer (terminate) or the remote (originate) towards the plaintext side
    bytes_out: int = 0
    requests: dict[str, int] = field(default_factory=dict)  # "1xx" … "5xx"
    exchange_seconds: Histogram = field(default_factory=lambda: Histogram(EXCHANGE_BUCKETS_S))
    refusals: dict[tuple[str, str], int] = field(default_factory=dict)  # (stage, reason)
    failures: dict[str, int] = field(default_factory=dict)  # reason: what could not be served


@dataclass(slots=True)
class ListenerCounters(TrafficCounters):
    """Everything counted on one listener. Plain integers, changed by the data plane, read by the control plane."""

    handshakes_active: int = 0
    streams_active: int = 0  # HTTP/2
    grpc: dict[str, int] = field(default_factory=dict)  # gRPC's status codes, "unknown", "none"
    # Requests that failed though their HTTP status is no 5xx:
    grpc_errors: int = 0  # the service's answer has a status of gRPC's that says so
    broken_answers: int = 0  # the answer broke off, or there is none, by the upstream's doing
    dropped_headers: int = 0  # of requests, for an underscore in the name
    # reason: each address that was tried in vain, and each request or connection that failed at one that was reached
    upstream_errors: dict[str, int] = field(default_factory=dict)

    def add(self, other: ListenerCounters) -> None:
        """Take another worker's counts in."""
        self.connections_active += other.connections_active
        self.handshakes_active += other.handshakes_active
        self.streams_active += other.streams_active
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.grpc_errors += other.grpc_errors
        self.broken_answers += other.broken_answers
        self.dropped_headers += other.dropped_headers
        self.handshake_seconds.add(other.handshake_seconds)
        self.exchange_seconds.add(other.exchange_seconds)
        _add_counts(self.connections, other.connections)
        _add_counts(self.handshakes, other.handshakes)
        _add_counts(self.requests, other.requests)
        _add_counts(self.grpc, other.grpc)
        _add_counts(self.refusals, other.refusals)
        _add_counts(self.failures, other.failures)
        _add_counts(self.upstream_errors, other.upstream_errors)

    def copy(self) -> ListenerCounters:
        """One that stays as it is."""
        return replace(
            self,
            connections=dict(self.connections),
            handshakes=dict(self.handshakes),
            handshake_seconds=self.handshake_seconds.copy(),
            requests=dict(self.requests),
            grpc=dict(self.grpc),
            exchange_seconds=self.exchange_seconds.copy(),
            refusals=dict(self.refusals),
            failures=dict(self.failures),
            upstream_errors=dict(self.upstream_errors),
        )


@dataclass(frozen=True, slots=True)
class UpstreamRecord:
    """One upstream address: its passive and active health."""

    address: str
    healthy: bool
    active: int
    idle: int
    failures: int
    ejected_until: float | None = None
    last_error: str = ""
    checked: bool | None = None  # what the active checks hold it for; None: there are none, or not yet
    checks_total: int = 0
    checks_failed: int = 0
    tried_at: float = 0.0  # by anybody; CLOCK_MONOTONIC, which all workers of a machine share; 0: never
    handshake_at: float = 0.0  # by this listener; the same
    handshake_failed: bool = False  # the handshake, by this listener's rules
    traffic: TrafficCounters = field(default_factory=TrafficCounters)


def latest(records: Iterable[UpstreamRecord]) -> UpstreamRecord:
    """What the worker knows of one address that tried it last; but a handshake that this listener refused is mended by
    none that another listener made there. Raises ValueError for no records."""
    known = list(records)
    shaken = max(known, key=lambda record: record.handshake_at)
    return shaken if shaken.handshake_failed else max(known, key=lambda record: record.tried_at)


@dataclass(frozen=True, slots=True)
class PartyRecord:
    """One of those who talk most. ``key`` stands for all its names; ``number`` tells this count from one before it in
    the same process."""

    key: str
    name: str  # for showing
    number: int
    traffic: TrafficCounters


@dataclass(frozen=True, slots=True)
class ListenerRecord:
    """One listener and what it has counted; ``counters`` includes the bytes of connections still open."""

    name: str
    mode: str
    protocol: str
    listen: str
    bound: str  # the address really bound (a port 0 resolved); empty while not bound
    upstreams: tuple[UpstreamRecord, ...]
    max_connections: int
    max_handshakes: int
    counters: ListenerCounters
    parties: tuple[PartyRecord, ...] = ()


ConnectionRecord: TypeAlias = connections.Connection[str]
"""One connection as it stands: what the admin API tells is what a worker tells."""


@dataclass(frozen=True, slots=True)
class ConnectionDetail:
    """One connection with the chain its TLS peer presented, leaf first, as DER."""

    record: ConnectionRecord
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ConnectionQuery:
    """Which connections to report. ``filter`` is in the filter language (tlsidecar.api.filter), judged before."""

    filter: str = ""
    sort: str = "id"
    descending: bool = False
    limit: int = 100
    offset: int = 0
    identity: str = ""  # a name that the peer's certificate has, whole

    @property
    def runs_down(self) -> bool:
        """Whether greater keys come first. The key of idle_s is the time of the last activity, which is its reverse."""
        return self.descending != (self.sort == "idle_s")


@dataclass(frozen=True, slots=True)
class ConnectionSelection:
    """Which connections to end: those that meet all that is set. One that sets nothing means nobody.

    ``filter`` is as in a :class:`ConnectionQuery`; ``identity`` a name that the peer's certificate has
    (tlsidecar.dataplane.denials.is_named); ``older_than`` a generation of each identity of ours that is meant."""

    filter: str = ""
    identity: str = ""
    older_than: tuple[tuple[str, int], ...] = ()
    inbound_only: bool = False

    @property
    def means_nobody(self) -> bool:
        return not (self.filter or self.identity or self.older_than)


@dataclass(frozen=True, slots=True)
class ConnectionKeys:
    """What one worker's first matching connections are sorted by, in order."""

    total: int
    matched: int
    keys: tuple[str | int | float, ...]


@dataclass(frozen=True, slots=True)
class ConnectionPage:
    """A window on the connections: how many there are, how many match, and the rows asked for."""

    total: int
    matched: int
    rows: tuple[ConnectionRecord, ...]


@dataclass(frozen=True, slots=True)
class GroupQuery:
    """Which groups of connections to report: ``by`` is one of tlsidecar.api.words.CONNECTION_GROUPS."""

    by: str
    filter: str = ""
    sort: str = "connections"
    descending: bool = True
    limit: int = 100
    offset: int = 0


class GroupRow(NamedTuple):
    """Connections with something in common; rates count those that ended within the time they are taken over."""

    key: str
    filter: str
    connections: int
    requests: int
    bytes_in: int
    bytes_out: int
    requests_per_s: float
    bytes_in_per_s: float
    bytes_out_per_s: float
    failures_per_s: float


class GroupPage(NamedTuple):
    """A window on the groups. ``over_s`` is the time that rates are taken over; 0 while none are known."""

    total: int
    matched: int
    groups: int
    over_s: float
    rows: tuple[GroupRow, ...]


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A connection whose peer the rules of now would not let in: it ``closes`` gracefully, or stays."""

    connection_id: int
    listener: str
    identity: str
    closes: bool


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker at one moment."""

    worker: int
    pid: int
    connections: int
    listeners: tuple[ListenerRecord, ...]
    connections_by_generation: dict[tuple[str, int], int]  # by identity and generation
    loop_lag_s: float = 0.0
    log_lines_dropped: int = 0  # access and process log lines this worker could not write
    restarts: int = 0  # how often this worker's process was replaced


def merge_listeners(snapshots: Iterable[WorkerSnapshot]) -> dict[str, ListenerCounters]:
    """Each listener's counters over all workers, by its name."""
    merged: dict[str, ListenerCounters] = {}
    for snapshot in snapshots:
        for record in snapshot.listeners:
            merged.setdefault(record.name, ListenerCounters()).add(record.counters)
    return merged
