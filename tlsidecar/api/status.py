"""The state of a sidecar: its process, workers, listeners and upstreams."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Generic, cast

from tlsidecar.api.declare import NO_TEXT, Doc, T
from tlsidecar.api.problems import Problem
from tlsidecar.api.words import State
from tlsidecar.lazy_dataclass import dataclass


@dataclass(frozen=True)
class Worker(Generic[T]):
    """One worker process; the only one is the sidecar's own."""

    worker: Annotated[int, Doc("its number, from 0")]
    pid: Annotated[int, Doc("its process id")]
    connections: Annotated[int, Doc("open connections")]
    restarts: Annotated[int, Doc("how often it was replaced by a new process")]
    loop_lag_s: Annotated[float, Doc("how late its event loop was when last measured", unit="s")]


@dataclass(frozen=True)
class Upstream(Generic[T]):
    """One address behind a listener."""

    address: Annotated[T, Doc("host:port, or unix:/path")]
    healthy: Annotated[bool, Doc("whether the worker that tried it last holds it for healthy")]
    active: Annotated[int, Doc("connections in use")]
    idle: Annotated[int, Doc("connections kept for the next request")]
    failures: Annotated[int, Doc("failures in a row")]
    ejected_until: Annotated[datetime | None, Doc("not tried before; null when it is not ejected")]
    last_error: Annotated[T, Doc("why the last failure happened", long=True)]
    checked: Annotated[
        bool | None, Doc("what the active checks hold it for; null without any, or while workers differ")
    ]
    checks_total: Annotated[int, Doc("active checks made")]
    checks_failed: Annotated[int, Doc("active checks that failed")]


@dataclass(frozen=True)
class Counters(Generic[T]):
    """What is counted on a listener; totals are since the process began."""

    connections_active: Annotated[int, Doc("open connections")]
    handshakes_active: Annotated[int, Doc("handshakes under way")]
    connections_total: Annotated[int, Doc("connections accepted")]
    handshakes_total: Annotated[int, Doc("handshakes ended")]
    handshakes_failed: Annotated[int, Doc("handshakes that failed")]
    refusals_total: Annotated[int, Doc("connections and requests turned away by a decision")]
    bytes_in: Annotated[int, Doc("payload from the mTLS side", unit="bytes")]
    bytes_out: Annotated[int, Doc("payload to the mTLS side", unit="bytes")]


@dataclass(frozen=True)
class Totals(Counters[T], Generic[T]):
    """The sum over all listeners."""

    requests_total: Annotated[int, Doc("HTTP requests answered")]


@dataclass(frozen=True)
class Listener(Counters[T], Generic[T]):
    """One address we accept on."""

    name: Annotated[T, Doc("its name in the configuration")]
    mode: Annotated[T, Doc("terminate: mTLS comes in; originate: mTLS goes out")]
    protocol: Annotated[T, Doc("http or tcp")]
    listen: Annotated[T, Doc("the address configured")]
    bound: Annotated[T, Doc("the address bound; empty while it is not")]
    upstreams: Annotated[tuple[Upstream[T], ...], Doc("where its connections go")]
    allow: Annotated[tuple[T, ...], Doc("the access rules")]
    expect: Annotated[tuple[T, ...], Doc("who the remote has to be")]
    max_connections: Annotated[int, Doc("connections at most")]
    max_handshakes: Annotated[int, Doc("handshakes under way at most")]
    handshake_p50_s: Annotated[float | None, Doc("half of the handshakes took no longer; null before the first", "s")]
    handshake_p99_s: Annotated[float | None, Doc("99 % of the handshakes took no longer; null before the first", "s")]
    requests: Annotated[Mapping[T, int], Doc("HTTP requests by class of the answer: 2xx, 4xx")]
    upstream_errors: Annotated[Mapping[T, int], Doc("failures to be served by the upstream, by reason")]
    identities: Annotated[tuple[T, ...], Doc("our identities that it shows, by name; the first is the default")] = ()
    recent_handshake_p99_s: Annotated[
        float | None, Doc("99 % of the handshakes of the last minute took no longer; null where there were none", "s")
    ] = None


@dataclass(frozen=True)
class OwnCertificate(Generic[T]):
    """What the status says of the leaf in use."""

    identity: Annotated[T, Doc("who it says we are")]
    serial: Annotated[T, Doc("its serial number, lowercase hex")]
    not_before: Annotated[datetime | None, Doc("valid from")]
    not_after: Annotated[datetime | None, Doc("valid until")]
    next_renewal_at: Annotated[datetime | None, Doc("when its source renews it; null when the source never does")]
    name: Annotated[T, Doc("what our identity is called in the configuration")] = NO_TEXT
    generation: Annotated[int, Doc("of its material in use")] = 0
    renewal_overdue_at: Annotated[
        datetime | None, Doc("when that renewal is late; null when the source never does")
    ] = None
    renewal_failures: Annotated[int, Doc("renewals that failed in a row")] = 0


@dataclass(frozen=True)
class Sandbox(Generic[T]):
    """What the kernel holds the process to."""

    mode: Annotated[T, Doc("auto, off or required, as the configuration says")]
    holds: Annotated[bool, Doc("whether the kernel holds the process to anything")]
    abi: Annotated[int, Doc("of Landlock, which says how much the kernel knows; 0 when it does not hold")]
    reason: Annotated[T, Doc("why it does not hold", long=True)]
    covers: Annotated[tuple[T, ...], Doc("what is held: files, tcp_ports, devices, abstract_sockets, signals")]
    gaps: Annotated[tuple[T, ...], Doc("what is not, in words")]


@dataclass(frozen=True)
class Status(Generic[T]):
    """The whole sidecar at one moment."""

    now: Annotated[datetime | None, Doc("the sidecar's clock", always=True)]
    version: Annotated[T, Doc("of tlsidecar")]
    pid: Annotated[int, Doc("the process id")]
    node: Annotated[T, Doc("the machine's name")]
    started_at: Annotated[datetime | None, Doc("when the process began", always=True)]
    uptime_s: Annotated[float, Doc("since the process began", unit="s")]
    state: Annotated[T, Doc("where it is in its life", words=State)]
    ready: Annotated[bool, Doc("material valid, listeners bound, not draining")]
    live: Annotated[bool, Doc("the event loop turns")]
    generation: Annotated[int, Doc("of the material in use; 0 before the first")]
    openssl: Annotated[T, Doc("the version in use")]
    python: Annotated[T, Doc("the version in use")]
    event_loop: Annotated[T, Doc("asyncio or uvloop")]
    log_level: Annotated[T, Doc("of the process log")]
    log_lines_dropped: Annotated[int, Doc("log lines that could not be written")]
    workers: Annotated[tuple[Worker[T], ...], Doc("the processes that carry the traffic")]
    listeners: Annotated[tuple[Listener[T], ...], Doc("in the order of the configuration")]
    totals: Annotated[Totals[T], Doc("the sum over the listeners")]
    certificate: Annotated[
        OwnCertificate[T] | None, Doc("the leaf in use, of the first identity; null before the first generation")
    ]
    sandbox: Annotated[Sandbox[T] | None, Doc("what the kernel holds the process to; null where that is not known")]
    problems: Annotated[tuple[Problem[T], ...], Doc("what needs attention, worst first")]
    identities: Annotated[
        tuple[OwnCertificate[T], ...], Doc("the leaf in use of each identity, in the order of the configuration")
    ] = ()

    @property
    def modes(self) -> T:
        """The listeners' modes: ``terminate+originate``."""
        return cast("T", "+".join(sorted({listener.mode for listener in self.listeners}, reverse=True)))

    @property
    def recent_handshake_p99_s(self) -> float | None:
        """The slowest listener's, in seconds."""
        known = [each.recent_handshake_p99_s for each in self.listeners if each.recent_handshake_p99_s is not None]
        return max(known, default=None)
