"""A controller in memory: the protocol of tlsidecar.control.interface, with what it tells set by the test."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs.certificate import Certificate
from certs.clock import SYSTEM_CLOCK, Clock
from certs.material import Material, PrivateKey
from certs.revocation_list import RevocationList
from tlsidecar.control.denials import DenialBook
from tlsidecar.control.history import History
from tlsidecar.control.interface import (
    Attempt,
    CannotUndrain,
    Denied,
    DrainOutcome,
    Generation,
    IdentityState,
    Outcome,
    Problem,
    ReloadCounts,
    Severity,
    State,
    Trigger,
)
from tlsidecar.dataplane.grouping import first_groups
from tlsidecar.dataplane.snapshot import (
    ConnectionDetail,
    ConnectionPage,
    ConnectionQuery,
    ConnectionRecord,
    ConnectionSelection,
    GroupPage,
    GroupQuery,
    GroupRow,
    ListenerCounters,
    ListenerRecord,
    UpstreamRecord,
    WorkerSnapshot,
)
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe.events import CLOSED, EventHub
from tlsidecar.observe.failures import FailureLog
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.outcomes import Reason, Refusal, Side, Stage
from tlsidecar.sandbox.level import Level
from tlsidecar.settings import Address, Admin, IdentitySettings, ListenerSettings, Mode, Protocol, Settings, TrustFile

STARTED_AT = dt.datetime(2026, 11, 23, 23, 15, tzinfo=dt.UTC)
HOSTILE = "\x1b]0;owned\x07\x1b[31m[/red]\u202e\x9b\n\udcff"


def made_material() -> Material:
    """A leaf with every kind of name under a CA, fresh keys each time."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web")])
    names = x509.SubjectAlternativeName(
        [
            x509.UniformResourceIdentifier("spiffe://prod.example/ns/shop/sa/web"),
            x509.DNSName("web.internal"),
            x509.IPAddress(ipaddress.ip_address("10.0.0.7")),
        ]
    )
    ca = _certificate(ca_name, ca_name, ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=0))
    leaf = _certificate(name, ca_name, key, ca_key, names)
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca_name)
        .last_update(STARTED_AT)
        .next_update(STARTED_AT + dt.timedelta(days=7))
        .sign(ca_key, hashes.SHA256())
    )
    return Material(
        leaf=leaf, chain=(), key=PrivateKey(key), trust=(ca,), crls=(RevocationList.of(crl),), source="files"
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> Certificate:
    return Certificate.of(
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(STARTED_AT - dt.timedelta(minutes=5))
        .not_valid_after(STARTED_AT + dt.timedelta(days=1))
        .add_extension(extension, critical=False)
        .sign(signer, hashes.SHA256())
    )


def made_connection(number: int, **changes: object) -> ConnectionRecord:
    fields: dict[str, object] = {
        "id": number,
        "listener": "web",
        "mode": "terminate",
        "protocol": "http",
        "peer_address": f"10.0.0.7:{50000 + number % 10000}",
        "identity": f"spiffe://prod.example/ns/shop/sa/client-{number}",
        "subject": f"CN=client-{number}",
        "serial": f"{number:04x}",
        "sni": "web.internal",
        "alpn": "http/1.1",
        "tls_version": "TLSv1.3",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "group": "X25519MLKEM768",
        "bytes_in": number * 10,
        "bytes_out": number * 100,
        "requests": number,
        "opened_at": STARTED_AT + dt.timedelta(seconds=number),
        "idle_s": 0.25,
        "generation": 3,
        "rule": "spiffe://prod.example/ns/*/sa/**",
        "state": "relaying",
        "upstream": "127.0.0.1:8080",
        "not_after": STARTED_AT + dt.timedelta(days=1),
        "worker": 0,
        "streams": 0,
    }
    return ConnectionRecord(**(fields | changes))  # type: ignore[arg-type] - the names above are the fields


def made_refusal(**changes: object) -> Refusal:
    fields: dict[str, object] = {
        "at": STARTED_AT.timestamp(),
        "listener": "web",
        "peer_address": "10.0.0.9:40000",
        "side": Side.LOCAL,
        "stage": Stage.AUTHORIZE,
        "reason": Reason.NOT_ALLOWED,
        "identity": "spiffe://prod.example/ns/evil/sa/intruder",
        "subject": "CN=intruder",
        "issuer": "CN=Test CA",
        "serial": "0badcafe",
    }
    return Refusal(**(fields | changes))  # type: ignore[arg-type] - the names above are the fields


def made_counters() -> ListenerCounters:
    counters = ListenerCounters(connections_active=2, handshakes_active=1, bytes_in=123, bytes_out=456)
    counters.connections = {"accepted": 42, "established": 40, "refused": 2, "completed": 38}
    counters.handshakes = {("ok", ""): 40, ("failed", "no_certificate"): 2}
    counters.requests = {"2xx": 10, "5xx": 1}
    counters.grpc = {"0": 3}
    counters.refusals = {("handshake", "no_certificate"): 2, ("authorize", "not_allowed"): 1}
    counters.failures = {"upstream_refused": 1}
    counters.upstream_errors = {"upstream_refused": 1}
    for seconds in (0.002, 0.003, 0.2, 99.0):
        counters.handshake_seconds.observe(seconds)
        counters.exchange_seconds.observe(seconds)
    return counters


class FakeControl:
    """Does what it is told at once, and remembers what it was told."""

    def __init__(self, admin: Admin, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings = Settings(
            admin=admin,
            identities=(
                IdentitySettings(cert=Path("tls.crt"), key=Path("tls.key"), trust=(TrustFile(Path("ca.crt")),)),
            ),
            listeners=(
                ListenerSettings(
                    name="web",
                    mode=Mode.TERMINATE,
                    protocol=Protocol.HTTP,
                    listen=Address(host="0.0.0.0", port=8443),
                    upstreams=(Address(host="127.0.0.1", port=8080),),
                    allow=("spiffe://prod.example/ns/*/sa/**",),
                ),
            ),
        )
        self.clock = clock
        self.refusals = RefusalLog()
        self.failures = FailureLog()
        self.events = EventHub(clock)
        self.denials = DenialBook(clock, self.events)
        self.history = History(clock)
        self.counts = ReloadCounts({("applied", ""): 3, ("refused", "key_mismatch"): 1}, STARTED_AT.timestamp())
        self.state = State.READY
        self.started_at = STARTED_AT
        self.generation: Generation | None = Generation(3, made_material(), STARTED_AT)
        self.source = "files: /etc/tls/tls.crt, /etc/tls/tls.key; trust /etc/tls/ca.crt"
        self.last_attempt: Attempt | None = None
        self.next_renewal_at: dt.datetime | None = STARTED_AT + dt.timedelta(hours=16)
        self.log_level = "info"
        self.sandbox = Level("auto", 7, "", ("files", "tcp_ports"), ("UDP",))
        self.live = True
        self.records = [made_connection(number) for number in range(1, 4)]
        self.group_rates_over_s = 2.0
        self.found_problems: list[Problem] = []
        self.next_outcome = Outcome.APPLIED
        self.drain_outcome = DrainOutcome(drained=True, closed=3, forced=0, duration_s=0.125)
        self.calls: list[str] = []
        self.hold: asyncio.Event | None = None  # reload waits for it when it is set
        self.workers = 1
        self.first_pid = 4711

    def contexts_of(self, identity: str) -> Contexts | None:
        generation = self.generation
        return Contexts(generation.number, generation.material, self.settings.tls) if generation is not None else None

    @property
    def identities(self) -> Sequence[IdentityState]:
        return [
            IdentityState(
                "default",
                self.generation,
                self.source,
                next_renewal_at=self.next_renewal_at,
                last_attempt=self.last_attempt,
                counts=self.counts,
            )
        ]

    def attempts(self, limit: int) -> Sequence[Attempt]:
        return [self.last_attempt][:limit] if self.last_attempt is not None else []

    def problems(self) -> Sequence[Problem]:
        return self.found_problems

    def is_live(self) -> bool:
        return self.live

    def is_ready(self) -> bool:
        return self.state in (State.READY, State.DEGRADED)

    async def caught_up(self) -> None:
        pass

    async def snapshots(self) -> Sequence[WorkerSnapshot]:
        return [self._snapshot(worker) for worker in range(self.workers)]

    def _snapshot(self, worker: int) -> WorkerSnapshot:
        record = ListenerRecord(
            name="web",
            mode="terminate",
            protocol="http",
            listen="0.0.0.0:8443",
            bound="0.0.0.0:8443",
            upstreams=(
                UpstreamRecord(
                    "127.0.0.1:8080", healthy=worker == 0, active=1, idle=2, failures=worker, tried_at=worker + 1.0
                ),
            ),
            max_connections=9000,
            max_handshakes=2250,
            counters=made_counters(),
        )
        return WorkerSnapshot(
            worker,
            self.first_pid + worker,
            2,
            (record,),
            {("default", 2): 1, ("default", 3): 11},
            0.0005,
            log_lines_dropped=7,
        )

    async def connections(self, query: ConnectionQuery) -> ConnectionPage:
        wanted = query.filter.lower()
        matched = [
            each for each in self.records if wanted in each.identity.lower() and query.identity in ("", each.identity)
        ]
        matched.sort(key=lambda each: getattr(each, query.sort), reverse=query.descending)
        window = matched[query.offset : query.offset + query.limit]
        return ConnectionPage(len(self.records), len(matched), tuple(window))

    async def connection_groups(self, query: GroupQuery) -> GroupPage:
        counts = Counter(each.identity for each in self.records if query.filter in each.identity)
        rows = [
            GroupRow(name, f'identity:="{name}"', count, count, 0, 0, count / 2, 1.0, 2.0, 0.0)
            for name, count in counts.items()
        ]
        rows = first_groups(rows, query, query.offset + query.limit)[query.offset :]
        return GroupPage(len(self.records), counts.total(), len(counts), self.group_rates_over_s, tuple(rows))

    async def connection(self, connection_id: int) -> ConnectionDetail | None:
        assert self.generation is not None
        der = self.generation.material.leaf.public_bytes(Encoding.DER)
        found = next((each for each in self.records if each.id == connection_id), None)
        return None if found is None else ConnectionDetail(found, (der, b"not a certificate"))

    async def close_connection(self, connection_id: int) -> bool:
        self.calls.append(f"close {connection_id}")
        before = len(self.records)
        self.records = [each for each in self.records if each.id != connection_id]
        if len(self.records) < before:
            self.events.publish(CLOSED, {"id": connection_id, "listener": "web"})
        return len(self.records) < before

    def _meant(self, selection: ConnectionSelection) -> list[ConnectionRecord]:
        return [
            each
            for each in self.records
            if selection.filter.lower() in each.identity.lower()
            and (not selection.identity or selection.identity == each.identity)
            and (not selection.older_than or each.generation < dict(selection.older_than)["default"])
        ]

    async def count(self, selection: ConnectionSelection) -> int:
        return len(self._meant(selection))

    async def end(self, selection: ConnectionSelection, reason: Reason, *, gently: bool = False) -> int:
        meant = self._meant(selection)
        self.calls.append(f"end {len(meant)} {reason}{' gently' if gently else ''}")
        self.records = [each for each in self.records if each not in meant]
        return len(meant)

    async def deny(self, identity: str, for_s: float, by: str) -> tuple[Denied, int]:
        denied = self.denials.add(identity, for_s, by)
        return denied, await self.end(ConnectionSelection(identity=identity), Reason.IDENTITY_DENIED)

    async def undeny(self, denial_id: int) -> Denied | None:
        return self.denials.end(denial_id)

    async def reload(self, trigger: Trigger) -> Sequence[Attempt]:
        self.calls.append(f"reload {trigger}")
        if self.hold is not None:
            await self.hold.wait()
        return [self._attempted(trigger)]

    async def rotate(self, identity: str | None = None) -> Sequence[Attempt]:
        self.calls.append("rotate" if identity is None else f"rotate {identity}")
        return [self._attempted(Trigger.ADMIN)]

    def _attempted(self, trigger: Trigger) -> Attempt:
        assert self.generation is not None
        refused = self.next_outcome is Outcome.REFUSED
        if self.next_outcome is Outcome.APPLIED:
            self.generation = Generation(self.generation.number + 1, self.generation.material, STARTED_AT)
        self.last_attempt = Attempt(
            at=STARTED_AT,
            trigger=trigger,
            outcome=self.next_outcome,
            reason="key_mismatch" if refused else "",
            detail="tls.key" if refused else "",
            generation=self.generation.number,
            duration_s=0.004,
            identity="default",
        )
        return self.last_attempt

    async def drain(self, timeout_s: float | None = None) -> DrainOutcome:
        self.calls.append(f"drain {timeout_s}")
        return self.drain_outcome

    async def undrain(self) -> None:
        self.calls.append("undrain")
        if self.state is not State.DRAINING:
            raise CannotUndrain("nothing has been drained")
        self.state = State.READY

    async def shutdown(self) -> None:
        self.calls.append("shutdown")

    def set_log_level(self, level: str) -> None:
        if level not in ("debug", "info", "warning", "error"):
            raise ValueError(f"unknown log level {level!r}")
        self.log_level = level


def critical(code: str = "reload_refused", message: str = "the key does not belong to the certificate") -> Problem:
    return Problem(Severity.CRITICAL, code, message, STARTED_AT, "tls.key", "mend the files")
