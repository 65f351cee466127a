"""What a sidecar may tell, as the JSON of docs/admin-api.md: healthy, degraded, empty, expired, hostile, crowded."""

from __future__ import annotations

import hashlib
import math
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 23, 23, 15, 0, tzinfo=UTC)

Document = dict[str, Any]

HOSTILE = (
    "[/red]",
    "[@click=app.quit]press[/]",
    "[link=http://evil.example]x[/link]",
    "\x1b]0;owned\x07\x1b[2J",
    "\x9b31m",
    "a\u202emoc.live",
    "zero\u200bwidth\ufeff",
    "[bold",
    "tab\tline\nfeed\r\x00",
    "\u8868\u793a caf\u00e9 combining e\u0301",
    "x" * 3000,
    "$(reboot) %s {0}",
)


def stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def certificate(
    subject: str,
    issuer: str,
    not_before: datetime,
    not_after: datetime,
    *,
    identity: str = "",
    is_ca: bool = False,
    uris: tuple[str, ...] = (),
    dns: tuple[str, ...] = (),
) -> Document:
    digest = hashlib.sha256(f"{subject} {issuer} {not_before}".encode()).hexdigest()
    return {
        "subject": subject,
        "issuer": issuer,
        "serial": digest[:32],
        "not_before": stamp(not_before),
        "not_after": stamp(not_after),
        "identity": identity,
        "dns": list(dns),
        "uris": list(uris),
        "ips": [],
        "key": "EC P-256",
        "signature": "ecdsa-with-SHA256",
        "is_ca": is_ca,
        "sha256": digest,
        "spki_sha256": hashlib.sha256(subject.encode()).hexdigest(),
    }


def connection(number: int, now: datetime) -> Document:
    who = ("frontend", "cart", "search", "checkout", "batch")[number % 5]
    return {
        "id": number,
        "listener": "web" if number % 3 else "payments",
        "mode": "terminate" if number % 3 else "originate",
        "protocol": "http" if number % 3 else "tcp",
        "peer_address": f"10.0.{number // 250 % 250}.{number % 250}:{40000 + number % 20000}",
        "identity": f"spiffe://prod.example/ns/shop/sa/{who}",
        "subject": f"CN={who}",
        "serial": f"{number:032x}",
        "not_after": stamp(now + timedelta(hours=20)),
        "sni": "web.internal",
        "alpn": "http/1.1" if number % 3 else "",
        "tls_version": "TLSv1.3",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "group": "X25519MLKEM768",
        "bytes_in": number * 1379 % 9_000_000,
        "bytes_out": number * 70_001 % 90_000_000,
        "requests": number * 7 % 500 if number % 3 else 0,
        "opened_at": stamp(now - timedelta(seconds=number * 37 % 90_000)),
        "idle_s": number * 13 % 400 / 10,
        "generation": 3 if number % 12 else 2,
        "rule": "spiffe://prod.example/ns/shop/sa/*",
        "state": "relaying",
        "upstream": "127.0.0.1:8080" if number % 3 else "payments.internal:8443",
        "worker": 0,
    }


REFUSED = (
    ("not_allowed", "authorize", "no access rule allows this identity", "spiffe://prod.example/ns/crm/sa/exporter"),
    (
        "unknown_ca",
        "verify",
        "the peer's certificate does not lead to a CA in the trust bundle",
        "spiffe://old.example/ns/shop/sa/cart",
    ),
    ("no_certificate", "verify", "the peer showed no certificate", ""),
    ("certificate_expired", "verify", "the peer's certificate has expired", "legacy.ops.internal"),
)


def refusal(seq: int, now: datetime) -> Document:
    reason, stage, sentence, identity = REFUSED[(0, 0, 0, 1, 2, 0, 3)[seq % 7]]
    return {
        "id": f"r{seq}",
        "seq": seq,
        "at": stamp(now - timedelta(seconds=max(0, (41 - seq) * 23))),
        "listener": "web",
        "peer_address": f"10.0.9.{seq % 250}:{50000 + seq}",
        "side": "local",
        "stage": stage,
        "reason": reason,
        "sentence": sentence,
        "detail": f"rule 1 of 2 wants spiffe://prod.example/ns/shop/sa/*, got {identity or 'nothing'}",
        "identity": identity,
        "subject": "" if not identity else f"CN={identity.rpartition('/')[2]}",
        "issuer": "" if not identity else "CN=Prod Issuing CA 7,O=Example",
        "serial": "" if not identity else f"{seq:032x}",
        "not_after": stamp(now + timedelta(hours=5)) if identity else None,
        "rule": "",
        "connection_id": 100 + seq,
        "status": 0,
        "method": "",
        "target": "",
        "request_id": "",
    }


def explanation(refused: Document, now: datetime) -> Document:
    """What would become of the peer of a refusal now: the rules are what kept it out."""
    identity = refused["identity"]
    if not identity:
        note = "no certificate was shown that could be read"
        return {"allowed": False, "identity": "", "chain": [], "judgements": [], "note": note}
    rule = identity if "://" in identity else f"dns:{identity}"
    allow = ["spiffe://prod.example/ns/shop/sa/*", "dns:*.ops.internal"]
    listed = ", ".join(f'"{each}"' for each in [*allow, rule])
    begins, ends = now - timedelta(hours=1), now + timedelta(hours=5)
    leaf = certificate(refused["subject"], refused["issuer"], begins, ends, identity=identity, uris=(identity,))
    judged = {
        "listener": refused["listener"],
        "mode": "terminate",
        "allowed": False,
        "stage": "authorize",
        "reason": "not_allowed",
        "sentence": "no access rule allows this identity",
        "detail": "",
        "verified": True,
        "rule": "",
        "rules": [
            {"rule": allow[0], "place": "allow", "matches": False, "why": "another trust domain: old.example"},
            {"rule": allow[1], "place": "allow", "matches": False, "why": "the certificate has no DNS name"},
        ],
        "method": "",
        "path": "",
        "route": "",
        "status": 0,
        "lines": [{"place": '[[listener]] name = "web"', "line": f"allow = [{listed}]", "rule": rule}],
        "note": "",
    }
    return {"allowed": False, "identity": identity, "chain": [leaf], "judgements": [judged], "note": ""}


def parties(refusals: list[Document]) -> list[Document]:
    """The refusals, which come newest first, by party and reason."""
    groups: dict[tuple[str, ...], Document] = {}
    for each in refusals:
        who = each["identity"] or each["subject"] or each["peer_address"].rpartition(":")[0]
        shared = {name: each[name] for name in ("listener", "side", "stage", "reason", "sentence", "rule")}
        group = groups.setdefault(
            (who, *shared.values()),
            {
                **shared,
                "who": who,
                "known": each["stage"] == "authorize",
                "count": 0,
                "last_at": each["at"],
                "newest_seq": each["seq"],
                "peer_address": each["peer_address"],
            },
        )
        group["count"] += 1
        group["first_at"] = each["at"]
    return list(groups.values())


def listener(name: str, mode: str, protocol: str, listen: str, upstream: str) -> Document:
    return {
        "name": name,
        "mode": mode,
        "protocol": protocol,
        "listen": listen,
        "bound": listen,
        "upstreams": [
            {
                "address": upstream,
                "healthy": True,
                "active": 3,
                "idle": 2,
                "failures": 0,
                "ejected_until": None,
                "last_error": "",
            }
        ],
        "allow": ["spiffe://prod.example/ns/shop/sa/*", "dns:*.ops.internal"] if mode == "terminate" else [],
        "expect": [] if mode == "terminate" else ["spiffe://prod.example/ns/pay/sa/api"],
        "max_connections": 9000,
        "max_handshakes": 2250,
        "connections_active": 0,
        "handshakes_active": 0,
        "connections_total": 4242,
        "handshakes_total": 4250,
        "handshakes_failed": 8,
        "handshake_p50_s": 0.0025,
        "handshake_p99_s": 0.01,
        "recent_handshake_p99_s": 0.0049,
        "refusals_total": 0,
        "bytes_in": 1_234_567,
        "bytes_out": 45_678_901,
        "requests": {"2xx": 3000, "4xx": 12, "5xx": 1} if protocol == "http" else {},
        "upstream_errors": {},
    }


def history(now: datetime, uptime_s: float, names: list[str], span_s: int, step_s: int, *, out: bool) -> Document:
    """``GET /v1/history``: a wave of requests; where it is ``out``, the first listener fails since four minutes."""
    ago = timedelta(seconds=min(span_s, uptime_s))
    first = (now - ago).timestamp() // step_s * step_s
    steps = max(1, -int(-(now.timestamp() - first) // step_s))

    def series(share: float, failing: bool) -> Document:
        ages = [now.timestamp() - first - number * step_s for number in range(steps)]
        wave = [round(share * step_s * (12 + 9 * math.sin(age / span_s * 25))) for age in ages]
        down = [failing and age <= 240 for age in ages]
        slow = [3.0 if is_down else 1.0 for is_down in down]
        return {
            "requests": {
                "2xx": [0 if is_down else count for count, is_down in zip(wave, down, strict=True)],
                "4xx": [count // 6 if number % 37 < 4 else 0 for number, count in enumerate(wave)],
                "5xx": [count if is_down else 0 for count, is_down in zip(wave, down, strict=True)],
            },
            "failures": {"upstream_refused": [n if is_down else 0 for n, is_down in zip(wave, down, strict=True)]},
            "refusals": [step_s if number % 29 == 3 else 0 for number in range(steps)],
            "connections": [count // 4 for count in wave],
            "connections_active": [round(10 * share) for _ in wave],
            "handshakes": [count // 4 for count in wave],
            "handshakes_failed": [step_s if number % 29 == 3 else 0 for number in range(steps)],
            "bytes_in": [count * 700 for count in wave],
            "bytes_out": [0 if is_down else count * 24_000 for count, is_down in zip(wave, down, strict=True)],
            **{
                f"{what}_p{rank}_s": [
                    None if not count else base * times for count, times in zip(wave, slow, strict=True)
                ]
                for what, bases in (("handshake", (0.003, 0.0046, 0.0049)), ("request", (0.012, 0.07, 0.19)))
                for rank, base in zip((50, 95, 99), bases, strict=True)
            },
        }

    marks = [
        (3600, "reload", "notice", "applied", "file_change", "", 3),
        (700, "problem", "warning", "renewal_overdue", "spiffe://prod.example/ns/shop/sa/web", "not renewed", 0),
        (500, "reload", "warning", "refused", "signal", "key_mismatch: tls.key", 3),
        *([(240, "problem", "critical", "upstream_down", names[0], "no upstream answers", 0)] if out and names else []),
        (20, "problem_over", "warning", "renewal_overdue", "spiffe://prod.example/ns/shop/sa/web", "not renewed", 0),
    ]
    fields = ("kind", "severity", "name", "subject", "message", "generation")
    return {
        "now": stamp(now),
        "since": stamp(now - ago),
        "until": stamp(now),
        "first_at": stamp(datetime.fromtimestamp(first, UTC)),
        "step_s": step_s,
        "steps": steps,
        "total": series(1.0, out),
        "listeners": [
            {"name": name, **series(0.75 if number == 0 else 0.25, out and number == 0)}
            for number, name in enumerate(names)
        ],
        "marks": [
            {"at": stamp(now - timedelta(seconds=age)), **dict(zip(fields, told, strict=True))}
            for age, *told in marks
            if timedelta(seconds=age) <= ago
        ],
    }


@dataclass
class World:
    """Everything one sidecar tells. Change the documents freely; ``advance`` moves the counters as traffic would."""

    now: datetime = NOW
    skew: timedelta = timedelta(0)
    status: Document = field(default_factory=dict)
    certificates: Document = field(default_factory=dict)
    connections: list[Document] = field(default_factory=list)
    chains: dict[int, list[Document]] = field(default_factory=dict)
    refusals: list[Document] = field(default_factory=list)  # newest first
    failures: Document = field(default_factory=lambda: {"total": 0, "failures": []})
    events: list[tuple[str, Document]] = field(default_factory=list)
    pasts: dict[tuple[int, int], Document] = field(default_factory=dict)  # told instead, by span and step

    def document(self, name: str) -> Document:
        """A top-level reply with the time on it."""
        return {"now": stamp(self.now + self.skew), **deepcopy(getattr(self, name))}

    def advance(self, seconds: float, *, bytes_in: int = 0, bytes_out: int = 0, connections: int = 0) -> None:
        self.now += timedelta(seconds=seconds)
        self.status["uptime_s"] += seconds
        for counters in (self.status["totals"], self.status["listeners"][0]):
            counters["bytes_in"] += bytes_in
            counters["bytes_out"] += bytes_out
            counters["connections_total"] += connections

    def refuse(self, number: int = 1) -> None:
        """More refusals, now."""
        for _ in range(number):
            seq = (self.refusals[0]["seq"] if self.refusals else 0) + 1
            self.refusals.insert(0, {**refusal(seq, self.now), "at": stamp(self.now)})
        self.status["totals"]["refusals_total"] += number
        self.status["listeners"][0]["refusals_total"] += number

    def past(self, span_s: int, step_s: int, *, upstream: str = "", identity: str = "") -> Document:
        if (span_s, step_s) in self.pasts:
            return self.pasts[span_s, step_s]
        names = [each["name"] for each in self.status["listeners"]]
        whole = history(
            self.now + self.skew,
            self.status["uptime_s"],
            names,
            span_s,
            step_s,
            out=any(problem.get("code") == "upstream_down" for problem in self.status["problems"]),
        )
        series = [{key: value for key, value in each.items() if key != "name"} for each in whole["listeners"]]
        since = whole["since"]
        upstreams = [("127.0.0.1:8080", "127.0.0.1:8080")]
        identities = [("k1", "spiffe://prod.example/ns/shop/sa/frontend"), ("k2", "backup")]
        for kind, kept, wanted in (("upstreams", upstreams, upstream), ("identities", identities, identity)):
            whole[f"kept_{kind}"] = [{"key": key, "name": name, "since": since} for key, name in kept]
            rest = [("", "others")] if kind == "identities" and wanted in ("*", "others") else []
            chosen = [each for each in kept if wanted in ("*", *each)] if wanted else []
            whole[kind] = [
                {"key": key, "name": name, **series[number % len(series)]}
                for number, (key, name) in enumerate([*chosen, *rest])
            ]
        return whole

    def happen(self, kind: str, **fields: Any) -> None:
        """An event."""
        seq = (self.events[-1][1]["seq"] if self.events else 0) + 1
        self.events.append((kind, {"seq": seq, "at": stamp(self.now), **fields}))


def _material(now: datetime, *, not_before: datetime, not_after: datetime, renewal: datetime | None) -> Document:
    identity = "spiffe://prod.example/ns/shop/sa/web"
    leaf = certificate(
        "CN=web,O=Example",
        "CN=Prod Issuing CA 7,O=Example",
        not_before,
        not_after,
        identity=identity,
        uris=(identity,),
        dns=("web.internal", "web.shop.svc"),
    )
    root = certificate(
        "CN=Prod Root CA,O=Example",
        "CN=Prod Root CA,O=Example",
        now - timedelta(days=400),
        now + timedelta(days=3250),
        is_ca=True,
    )
    issuing = certificate(
        "CN=Prod Issuing CA 7,O=Example",
        "CN=Prod Root CA,O=Example",
        now - timedelta(days=20),
        now + timedelta(days=70, hours=5),
        is_ca=True,
    )
    return {
        "generation": 3,
        "activated_at": stamp(now - timedelta(hours=8, minutes=3)),
        "source": "files: /etc/tls/tls.crt, /etc/tls/tls.key; trust /etc/tls/ca.crt",
        "leaf": leaf,
        "chain": [issuing],
        "trust": [root],
        "crls": [
            {
                "issuer": "CN=Prod Issuing CA 7,O=Example",
                "this_update": stamp(now - timedelta(hours=3)),
                "next_update": stamp(now + timedelta(days=6, hours=21)),
                "revoked": 2,
            }
        ],
        "next_renewal_at": stamp(renewal),
        "renewal_overdue_at": stamp(renewal + timedelta(minutes=1)),
        "renewal_failures": 0,
        "last_attempt": {
            "at": stamp(now - timedelta(hours=8, minutes=3)),
            "trigger": "file_change",
            "outcome": "applied",
            "reason": "",
            "detail": "",
            "generation": 3,
            "previous_serial": "5b1fa1d3",
            "serial": leaf["serial"],
            "duration_s": 0.0041,
            "warnings": [],
        },
        "connections_by_generation": {"2": 1, "3": 11},
        "attempts": _attempts(now, leaf["serial"]),
    }


def _attempts(now: datetime, serial: str) -> list[Document]:
    """The time line: a refusal, then a good one that changed something."""
    plain = {"warnings": [], "configuration": "", "configuration_changes": [], "differences": [], "identity": "default"}
    return [
        {
            **plain,
            "at": stamp(now - timedelta(hours=8, minutes=3)),
            "trigger": "file_change",
            "outcome": "applied",
            "reason": "",
            "detail": "",
            "generation": 3,
            "previous_serial": "5b1fa1d3",
            "serial": serial,
            "duration_s": 0.0041,
            "warnings": ["the chain was not in order, leaf first, then each one's issuer: served in order"],
            "differences": [
                {
                    "what": "issuer",
                    "before": "CN=Prod Issuing CA 6,O=Example",
                    "after": "CN=Prod Issuing CA 7,O=Example",
                },
                {"what": "key", "before": "RSA 2048 5f8e24b84c7a", "after": "EC P-256 9e17f9d2a3bb"},
                {"what": "lifetime", "before": "90d", "after": "1d"},
            ],
        },
        {
            **plain,
            "at": stamp(now - timedelta(hours=8, minutes=4)),
            "trigger": "file_change",
            "outcome": "refused",
            "reason": "key_mismatch",
            "detail": "the key does not belong to the certificate (/etc/tls/tls.key)",
            "generation": 2,
            "previous_serial": "5b1fa1d3",
            "serial": "",
            "duration_s": 0.0012,
        },
    ]


def healthy(now: datetime = NOW, connections: int = 12, node: str = "web-1") -> World:
    """All is well; two listeners, some traffic, a few refusals long ago."""
    material = _material(
        now,
        not_before=now - timedelta(hours=8),
        not_after=now + timedelta(hours=16, minutes=12),
        renewal=now + timedelta(hours=7, minutes=48),
    )
    web = listener("web", "terminate", "http", "0.0.0.0:8443", "127.0.0.1:8080")
    payments = listener("payments", "originate", "tcp", "127.0.0.1:9001", "payments.internal:8443")
    listed = [connection(number, now) for number in range(1, connections + 1)]
    web["connections_active"] = sum(each["listener"] == "web" for each in listed)
    payments["connections_active"] = connections - web["connections_active"]
    refusals = [refusal(seq, now - timedelta(hours=2)) for seq in (3, 2, 1)]
    web["refusals_total"] = len(refusals)
    leaf = material["leaf"]
    status = {
        "version": "0.1.0",
        "pid": 4711,
        "node": node,
        "started_at": stamp(now - timedelta(days=2, hours=5)),
        "uptime_s": 190_800.0,
        "state": "ready",
        "ready": True,
        "live": True,
        "generation": 3,
        "openssl": "OpenSSL 4.0.3 29 Sep 2026",
        "python": "3.11.7",
        "event_loop": "asyncio",
        "log_level": "info",
        "workers": [{"worker": 0, "pid": 4711, "connections": connections, "loop_lag_s": 0.0004}],
        "listeners": [web, payments],
        "totals": {
            "connections_active": connections,
            "connections_total": 8484,
            "handshakes_total": 8500,
            "handshakes_failed": 16,
            "refusals_total": len(refusals),
            "bytes_in": 2_469_134,
            "bytes_out": 91_357_802,
            "requests_total": 3013,
        },
        "certificate": {
            "identity": leaf["identity"],
            "serial": leaf["serial"],
            "not_before": leaf["not_before"],
            "not_after": leaf["not_after"],
            "next_renewal_at": material["next_renewal_at"],
            "renewal_overdue_at": material["renewal_overdue_at"],
            "renewal_failures": 0,
        },
        "sandbox": {
            "mode": "auto",
            "holds": True,
            "abi": 7,
            "reason": "",
            "covers": ["files", "tcp_ports", "devices", "abstract_sockets", "signals"],
            "gaps": ["UDP, and whatever else is not TCP", "connecting to Unix sockets that have a path"],
        },
        "problems": [],
    }
    world = World(now=now, status=status, certificates=material, connections=listed, refusals=refusals)
    for each in listed:
        peer = certificate(
            each["subject"],
            "CN=Prod Issuing CA 7,O=Example",
            now - timedelta(hours=4),
            now + timedelta(hours=20),
            identity=each["identity"],
            uris=(each["identity"],),
        )
        world.chains[each["id"]] = [peer, material["chain"][0]]
    world.happen("state", state="ready", previous="starting")
    world.happen("reload", outcome="applied", trigger="file_change", generation=3, duration_s=0.0041)
    for each in listed[:3]:
        world.happen(
            "opened",
            id=each["id"],
            listener=each["listener"],
            peer_address=each["peer_address"],
            identity=each["identity"],
        )
    world.happen("refusal", **{name: value for name, value in refusals[0].items() if name not in ("seq", "at")})
    world.happen("closed", id=1, listener="web", reason="completed", bytes_in=1379, bytes_out=70001, duration_s=12.5)
    return world


def several() -> World:
    """Two identities: one that a listener shows, and one with a shorter life that none does."""
    world = healthy()
    first = {key: value for key, value in world.certificates.items() if key != "attempts"}
    leaf = {
        **first["leaf"],
        "identity": "inner.mesh",
        "sha256": "ab" * 32,
        "serial": "5e",
        "not_after": stamp(NOW + timedelta(hours=3)),
    }
    second = {**first, "leaf": leaf, "generation": 9, "connections_by_generation": {}}
    world.certificates["identities"] = [
        {**first, "name": "public", "listeners": ["web"]},
        {**second, "name": "mesh", "listeners": []},
    ]
    own = {**world.status["certificate"], "name": "public", "generation": 3}
    world.status["identities"] = [own, {**own, "name": "mesh", "not_after": leaf["not_after"], "generation": 9}]
    return world


def degraded(now: datetime = NOW) -> World:
    """A reload was refused, an upstream is down, one identity is refused again and again, renewal is overdue."""
    world = healthy(now)
    status = world.status
    status["state"] = "degraded"
    status["listeners"][0]["recent_handshake_p99_s"] = 0.015
    status["problems"] = [
        {
            "severity": "critical",
            "code": "reload_refused",
            "message": "new material was refused, the old one goes on serving: "
            "the key does not belong to the certificate (/etc/tls/tls.key)",
            "since": stamp(now - timedelta(minutes=12, seconds=30)),
            "subject": "key_mismatch",
            "advice": "What was served before is still served. Mend the files named, then reload.",
        },
        {
            "severity": "critical",
            "code": "upstream_down",
            "message": "payments: no upstream answers; payments.internal:8443: connection refused; 14 requests failed",
            "since": stamp(now - timedelta(minutes=4)),
            "subject": "payments",
            "advice": "Look at the service itself: the sidecar cannot reach it.",
        },
        {
            "severity": "warning",
            "code": "renewal_overdue",
            "message": "our certificate should have been renewed at 2026-11-23T19:15:00Z",
            "since": stamp(now - timedelta(hours=4)),
            "subject": "spiffe://prod.example/ns/shop/sa/web",
            "advice": "The last attempt says why it was not.",
        },
        {
            "severity": "warning",
            "code": "repeated_refusal",
            "message": "spiffe://prod.example/ns/crm/sa/exporter was refused 23 times on web: no access rule allows "
            "this identity",
            "since": stamp(now - timedelta(minutes=14)),
            "subject": "spiffe://prod.example/ns/crm/sa/exporter",
            "advice": "If it should be let in, add an access rule; if not, find out who uses it.",
        },
    ]
    own = world.certificates["leaf"]
    own["not_before"], own["not_after"] = stamp(now - timedelta(hours=20)), stamp(now + timedelta(hours=4))
    renewal = stamp(now - timedelta(hours=4))
    late = stamp(now - timedelta(hours=4) + timedelta(minutes=1))
    for shown in (world.certificates, status["certificate"]):
        shown |= {"next_renewal_at": renewal, "renewal_overdue_at": late}
    status["certificate"] |= {"not_before": own["not_before"], "not_after": own["not_after"]}
    world.certificates["last_attempt"] |= {
        "at": stamp(now - timedelta(minutes=2)),
        "outcome": "refused",
        "reason": "key_mismatch",
        "detail": "the key does not belong to the certificate (/etc/tls/tls.key)",
        "serial": "",
    }
    payments = status["listeners"][1]
    payments["upstreams"][0] |= {"healthy": False, "failures": 14, "last_error": "connection refused"}
    payments["upstream_errors"] = {"upstream_refused": 14}
    world.failures = {
        "total": 14,
        "failures": [
            {
                "listener": "payments",
                "upstream": "payments.internal:8443",
                "reason": "upstream_refused",
                "sentence": "the upstream refused the connection",
                "detail": "payments.internal:8443: Connection refused",
                "count": 14,
                "first_at": stamp(now - timedelta(minutes=4)),
                "last_at": stamp(now - timedelta(seconds=9)),
                "last_identity": "",
            }
        ],
    }
    world.refusals = [refusal(seq, now) for seq in range(40, 0, -1)]
    status["totals"]["refusals_total"] = status["listeners"][0]["refusals_total"] = 40
    status["totals"]["handshakes_failed"] = 53
    return world


def expired(now: datetime = NOW) -> World:
    """Our certificate has expired, and so has the revocation list."""
    world = healthy(now)
    own = world.certificates["leaf"]
    own["not_before"], own["not_after"] = stamp(now - timedelta(days=1)), stamp(now - timedelta(minutes=7, seconds=5))
    for shown in (world.certificates, world.status["certificate"]):
        shown |= {"next_renewal_at": None, "renewal_overdue_at": None}
    world.certificates["crls"][0]["next_update"] = stamp(now - timedelta(hours=1))
    world.status["certificate"] |= {"not_before": own["not_before"], "not_after": own["not_after"]}
    world.status |= {"state": "degraded", "ready": False}
    world.status["problems"] = [
        {
            "severity": "critical",
            "code": "certificate_expired",
            "message": "our certificate expired at 2026-11-23T23:07:55Z: peers refuse it; "
            "put a new one in place, or renew at its issuer",
            "since": own["not_after"],
            "subject": own["identity"],
            "advice": "Peers refuse us. Put a new certificate in place, or rotate.",
        },
        {
            "severity": "critical",
            "code": "crl_expired",
            "message": "the revocation list of CN=Prod Issuing CA 7,O=Example expired at 2026-11-23T22:15:00Z: every "
            "peer it covers is refused",
            "since": stamp(now - timedelta(hours=1)),
            "subject": "CN=Prod Issuing CA 7,O=Example",
            "advice": "Write a new one (tlsidecar certs crl) and reload.",
        },
    ]
    return world


def empty(now: datetime = NOW) -> World:
    """Just started: no connection, no refusal, no event."""
    world = healthy(now, connections=0)
    world.refusals.clear()
    world.events.clear()
    world.certificates["crls"] = []
    world.certificates["connections_by_generation"] = {}
    world.status["uptime_s"] = 2.0
    for counters in (world.status["totals"], *world.status["listeners"]):
        for name, value in counters.items():
            if isinstance(value, int) and name not in ("max_connections", "max_handshakes"):
                counters[name] = 0
    for each in world.status["listeners"]:
        each |= {"handshake_p50_s": None, "handshake_p99_s": None, "recent_handshake_p99_s": None, "requests": {}}
    return world


def crowded(now: datetime = NOW, connections: int = 10_000) -> World:
    """As many connections as a sidecar may carry."""
    world = healthy(now, connections=connections)
    world.chains.clear()
    return world


def hostile(now: datetime = NOW) -> World:
    """Every text that a peer or a file can influence is an attack on the terminal."""
    world = degraded(now)
    texts = iter(HOSTILE * 500)

    def poison(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: poison(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [poison(inner, name) for inner in value]
        keeps = ("at", "since", "severity", "sha256", "state", "outcome", "mode", "protocol", "started_at")
        if not isinstance(value, str) or name in keeps or name.startswith("not_") or name.endswith(("_at", "_update")):
            return value
        return next(texts)

    world.status = poison(world.status)
    world.certificates = poison(world.certificates)
    world.connections = poison(world.connections)
    world.chains = {number: poison(chain) for number, chain in world.chains.items()}
    world.refusals = poison(world.refusals)
    world.events = [(kind, poison(fields)) for kind, fields in world.events]
    return world
