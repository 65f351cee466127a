"""The state of a sidecar: its process, workers, listeners and upstreams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Generic, cast

from tlsidecar.api.declare import NO_TEXT, T, Told
from tlsidecar.api.problems import Problem
from tlsidecar.api.words import State


@dataclass(frozen=True)
class Worker(Generic[T]):
    """One worker process; the only one is the sidecar's own."""

    worker: Annotated[int, Told("its number, from 0")]
    pid: Annotated[int, Told("its process id")]
    connections: Annotated[int, Told("open connections")]
    restarts: Annotated[int, Told("how often it was replaced by a new process")]
    loop_lag_s: Annotated[float, Told("how late its event loop was when last measured", unit="s")]


@dataclass(frozen=True)
class Upstream(Generic[T]):
    """One address behind a listener."""

    address: Annotated[T, Told("host:port, or unix:/path")]
    healthy: Annotated[bool, Told("whether the worker that tried it last holds it for healthy")]
    active: Annotated[int, Told("connections in use")]
    idle: Annotated[int, Told("connections kept for the next request")]
    failures: Annotated[int, Told("failures in a row")]
    ejected_until: Annotated[datetime | None, Told("not tried before; null when it is not ejected")]
    last_error: Annotated[T, Told("why the last failure happened", long=True)]
    checked: Annotated[
        bool | None, Told("what the active checks hold it for; null without any, or while workers differ")
    ]
    checks_total: Annotated[int, Told("active checks made")]
    checks_failed: Annotated[int, Told("active checks that failed")]


@dataclass(frozen=True)
class Counters(Generic[T]):
    """What is counted on a listener; totals are since the process began."""

    connections_active: Annotated[int, Told("open connections")]
    handshakes_active: Annotated[int, Told("handshakes under way")]
    connections_total: Annotated[int, Told("connections accepted")]
    handshakes_total: Annotated[int, Told("handshakes ended")]
    handshakes_failed: Annotated[int, Told("handshakes that failed")]
    refusals_total: Annotated[int, Told("connections and requests turned away by a decision")]
    bytes_in: Annotated[int, Told("payload from the mTLS side", unit="bytes")]
    bytes_out: Annotated[int, Told("payload to the mTLS side", unit="bytes")]


@dataclass(frozen=True)
class Totals(Counters[T], Generic[T]):
    """The sum over all listeners."""

    requests_total: Annotated[int, Told("HTTP requests answered")]


@dataclass(frozen=True)
class Listener(Counters[T], Generic[T]):
    """One address we accept on."""

    name: Annotated[T, Told("its name in the configuration")]
    mode: Annotated[T, Told("terminate: mTLS comes in; originate: mTLS goes out")]
    protocol: Annotated[T, Told("http or tcp")]
    listen: Annotated[T, Told("the address configured")]
    bound: Annotated[T, Told("the address bound; empty while it is not")]
    upstreams: Annotated[tuple[Upstream[T], ...], Told("where its connections go")]
    allow: Annotated[tuple[T, ...], Told("the access rules")]
    expect: Annotated[tuple[T, ...], Told("who the remote has to be")]
    max_connections: Annotated[int, Told("connections at most")]
    max_handshakes: Annotated[int, Told("handshakes under way at most")]
    handshake_p50_s: Annotated[float | None, Told("half of the handshakes took no longer; null before the first", "s")]
    handshake_p99_s: Annotated[float | None, Told("99 % of the handshakes took no longer; null before the first", "s")]
    requests: Annotated[Mapping[T, int], Told("HTTP requests by class of the answer: 2xx, 4xx")]
    upstream_errors: Annotated[Mapping[T, int], Told("failures to be served by the upstream, by reason")]
    identities: Annotated[tuple[T, ...], Told("our identities that it shows, by name; the first is the default")] = ()


@dataclass(frozen=True)
class OwnCertificate(Generic[T]):
    """What the status says of the leaf in use."""

    identity: Annotated[T, Told("who it says we are")]
    serial: Annotated[T, Told("its serial number, lowercase hex")]
    not_before: Annotated[datetime | None, Told("valid from")]
    not_after: Annotated[datetime | None, Told("valid until")]
    next_renewal_at: Annotated[datetime | None, Told("when its source renews it; null when the source never does")]
    name: Annotated[T, Told("what our identity is called in the configuration")] = NO_TEXT
    generation: Annotated[int, Told("of its material in use")] = 0


@dataclass(frozen=True)
class Sandbox(Generic[T]):
    """What the kernel holds the process to."""

    mode: Annotated[T, Told("auto, off or required, as the configuration says")]
    holds: Annotated[bool, Told("whether the kernel holds the process to anything")]
    abi: Annotated[int, Told("of Landlock, which says how much the kernel knows; 0 when it does not hold")]
    reason: Annotated[T, Told("why it does not hold", long=True)]
    covers: Annotated[tuple[T, ...], Told("what is held: files, tcp_ports, devices, abstract_sockets, signals")]
    gaps: Annotated[tuple[T, ...], Told("what is not, in words")]


@dataclass(frozen=True)
class Status(Generic[T]):
    """The whole sidecar at one moment."""

    now: Annotated[datetime | None, Told("the sidecar's clock", always=True)]
    version: Annotated[T, Told("of tlsidecar")]
    pid: Annotated[int, Told("the process id")]
    node: Annotated[T, Told("the machine's name")]
    started_at: Annotated[datetime | None, Told("when the process began", always=True)]
    uptime_s: Annotated[float, Told("since the process began", unit="s")]
    state: Annotated[T, Told("where it is in its life", words=State)]
    ready: Annotated[bool, Told("material valid, listeners bound, not draining")]
    live: Annotated[bool, Told("the event loop turns")]
    generation: Annotated[int, Told("of the material in use; 0 before the first")]
    openssl: Annotated[T, Told("the version in use")]
    python: Annotated[T, Told("the version in use")]
    event_loop: Annotated[T, Told("asyncio or uvloop")]
    log_level: Annotated[T, Told("of the process log")]
    log_lines_dropped: Annotated[int, Told("log lines that could not be written")]
    workers: Annotated[tuple[Worker[T], ...], Told("the processes that carry the traffic")]
    listeners: Annotated[tuple[Listener[T], ...], Told("in the order of the configuration")]
    totals: Annotated[Totals[T], Told("the sum over the listeners")]
    certificate: Annotated[
        OwnCertificate[T] | None, Told("the leaf in use, of the first identity; null before the first generation")
    ]
    sandbox: Annotated[Sandbox[T] | None, Told("what the kernel holds the process to; null where that is not known")]
    problems: Annotated[tuple[Problem[T], ...], Told("what needs attention, worst first")]
    identities: Annotated[
        tuple[OwnCertificate[T], ...], Told("the leaf in use of each identity, in the order of the configuration")
    ] = ()

    @property
    def modes(self) -> T:
        """The listeners' modes: ``terminate+originate``."""
        return cast("T", "+".join(sorted({listener.mode for listener in self.listeners}, reverse=True)))

    @property
    def handshake_p99_s(self) -> float | None:
        """The slowest listener's, in seconds."""
        known = [each.handshake_p99_s for each in self.listeners if each.handshake_p99_s is not None]
        return max(known, default=None)
