"""What the admin API tells, as view models: frozen, typed, every text safe to show (:mod:`tui.replies` makes them).

The names are those of docs/admin-api.md. ``raw`` keeps an object as it came, for copying and exporting; it is never
drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tui.decode import Json
from tui.text import SafeText


class Severity(StrEnum):
    CRITICAL = "critical"
    WARNING = "warning"
    NOTICE = "notice"

    @property
    def rank(self) -> int:
        """0 is worst."""
        return (Severity.CRITICAL, Severity.WARNING, Severity.NOTICE).index(self)


@dataclass(frozen=True, slots=True)
class Problem:
    severity: Severity
    code: SafeText
    message: SafeText
    since: datetime | None
    subject: SafeText


@dataclass(frozen=True, slots=True)
class Upstream:
    address: SafeText
    healthy: bool
    active: int
    idle: int
    failures: int
    ejected_until: datetime | None
    last_error: SafeText


@dataclass(frozen=True, slots=True)
class Worker:
    worker: int
    pid: int
    connections: int
    loop_lag_s: float


@dataclass(frozen=True, slots=True)
class Listener:
    name: SafeText
    mode: SafeText
    protocol: SafeText
    listen: SafeText
    bound: SafeText
    upstreams: tuple[Upstream, ...]
    allow: tuple[SafeText, ...]
    expect: tuple[SafeText, ...]
    max_connections: int
    max_handshakes: int
    connections_active: int
    handshakes_active: int
    connections_total: int
    handshakes_total: int
    handshakes_failed: int
    handshake_p50_s: float
    handshake_p99_s: float
    refusals_total: int
    bytes_in: int
    bytes_out: int
    requests: Mapping[SafeText, int]
    upstream_errors: Mapping[SafeText, int]


@dataclass(frozen=True, slots=True)
class Totals:
    connections_active: int
    connections_total: int
    handshakes_total: int
    handshakes_failed: int
    refusals_total: int
    bytes_in: int
    bytes_out: int
    requests_total: int


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """What the status says of the leaf in use."""

    identity: SafeText
    serial: SafeText
    not_before: datetime | None
    not_after: datetime | None
    next_renewal_at: datetime | None


@dataclass(frozen=True, slots=True)
class Status:
    now: datetime | None
    version: SafeText
    pid: int
    node: SafeText
    started_at: datetime | None
    uptime_s: float
    state: SafeText
    ready: bool
    live: bool
    generation: int
    openssl: SafeText
    python: SafeText
    event_loop: SafeText
    log_level: SafeText
    workers: tuple[Worker, ...]
    listeners: tuple[Listener, ...]
    totals: Totals
    certificate: OwnCertificate
    problems: tuple[Problem, ...]
    raw: Json = field(repr=False, compare=False)

    @property
    def modes(self) -> SafeText:
        return SafeText("+".join(sorted({listener.mode for listener in self.listeners}, reverse=True)))

    @property
    def handshake_p99_s(self) -> float:
        """The slowest listener's."""
        return max((listener.handshake_p99_s for listener in self.listeners), default=0.0)


@dataclass(frozen=True, slots=True)
class Certificate:
    subject: SafeText
    issuer: SafeText
    serial: SafeText
    not_before: datetime | None
    not_after: datetime | None
    identity: SafeText
    dns: tuple[SafeText, ...]
    uris: tuple[SafeText, ...]
    ips: tuple[SafeText, ...]
    key: SafeText
    signature: SafeText
    is_ca: bool
    sha256: SafeText
    spki_sha256: SafeText
    raw: Json = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class RevocationList:
    issuer: SafeText
    this_update: datetime | None
    next_update: datetime | None
    revoked: int


@dataclass(frozen=True, slots=True)
class Attempt:
    at: datetime | None
    trigger: SafeText
    outcome: SafeText
    reason: SafeText
    detail: SafeText
    generation: int
    previous_serial: SafeText
    serial: SafeText
    duration_s: float
    warnings: tuple[SafeText, ...]


@dataclass(frozen=True, slots=True)
class Certificates:
    generation: int
    activated_at: datetime | None
    source: SafeText
    leaf: Certificate | None
    chain: tuple[Certificate, ...]
    trust: tuple[Certificate, ...]
    crls: tuple[RevocationList, ...]
    next_renewal_at: datetime | None
    last_attempt: Attempt | None
    connections_by_generation: Mapping[SafeText, int]
    raw: Json = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Connection:
    id: int
    listener: SafeText
    mode: SafeText
    protocol: SafeText
    peer_address: SafeText
    identity: SafeText
    subject: SafeText
    serial: SafeText
    not_after: datetime | None
    sni: SafeText
    alpn: SafeText
    tls_version: SafeText
    cipher: SafeText
    group: SafeText
    bytes_in: int
    bytes_out: int
    requests: int
    opened_at: datetime | None
    idle_s: float
    generation: int
    rule: SafeText
    state: SafeText
    upstream: SafeText
    worker: int
    chain: tuple[Certificate, ...]
    raw: Json = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class ConnectionPage:
    """A window on the connections: those from ``offset`` on, of the ``matched`` ones."""

    total: int
    matched: int
    offset: int
    connections: tuple[Connection, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    seq: int
    at: datetime | None
    listener: SafeText
    peer_address: SafeText
    side: SafeText
    stage: SafeText
    reason: SafeText
    sentence: SafeText
    detail: SafeText
    identity: SafeText
    subject: SafeText
    issuer: SafeText
    serial: SafeText
    not_after: datetime | None
    rule: SafeText
    connection_id: int
    status: int
    method: SafeText
    target: SafeText
    request_id: SafeText
    raw: Json = field(repr=False, compare=False)

    @property
    def who(self) -> SafeText:
        """The best name there is for who was refused."""
        return self.identity or self.subject or self.peer_address or SafeText("unknown")


@dataclass(frozen=True, slots=True)
class Refusals:
    """The newest first."""

    total: int
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Event:
    seq: int
    at: datetime | None
    kind: SafeText
    summary: SafeText
    raw: Json = field(repr=False, compare=False)
