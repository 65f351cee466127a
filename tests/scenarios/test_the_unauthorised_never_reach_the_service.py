"""Every way of not being authorised: the right alert, the right reason, and not one connection towards the service,
though the client speaks before it has been judged."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import configs
from support.engine import IS_PORTABLE, alert_of_ours
from support.pki import Pair, Pki
from support.services import echo, serving
from support.sidecar import running

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ALLOWED = "backup.ops.internal"


@dataclass(frozen=True)
class Case:
    pair: Callable[[Pki, Path], Pair | None]
    alert: str
    stage: str
    reason: str


CASES = {
    "no certificate": Case(lambda pki, at: None, "CERTIFICATE_REQUIRED", "verify", "no_certificate"),
    "another CA": Case(
        lambda pki, at: Pki(at / "else").issue("stranger", ALLOWED), "UNKNOWN_CA", "verify", "unknown_ca"
    ),
    "expired": Case(
        lambda pki, at: pki.issue("expired", ALLOWED, not_before=NOW - 9 * DAY, not_after=NOW - DAY),
        "CERTIFICATE_EXPIRED",
        "verify",
        "certificate_expired",
    ),
    "not valid yet": Case(
        lambda pki, at: pki.issue("early", ALLOWED, not_before=NOW + DAY, not_after=NOW + 9 * DAY),
        # "expired or not currently valid": RFC 8446 section 6.2; OpenSSL's own choice is another
        "BAD_CERTIFICATE" if IS_PORTABLE else "CERTIFICATE_EXPIRED",
        "verify",
        "certificate_not_yet_valid",
    ),
    "revoked": Case(lambda pki, at: _revoked(pki), "CERTIFICATE_REVOKED", "verify", "certificate_revoked"),
    "another name": Case(
        lambda pki, at: pki.issue("other", "evil.example"), alert_of_ours("BAD_CERTIFICATE"), "authorize", "not_allowed"
    ),
    "the name as CN only": Case(
        lambda pki, at: pki.issue("named", "evil.example", common_name=ALLOWED),
        alert_of_ours("BAD_CERTIFICATE"),
        "authorize",
        "not_allowed",
    ),
}


def _revoked(pki: Pki) -> Pair:
    pair = pki.issue("revoked", ALLOWED)
    pki.revoke(pair)
    return pair


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_each_is_told_why(version: ssl.TLSVersion, pki: Pki, tmp_path: Path) -> None:
    server, good = pki.issue("server", "localhost"), pki.issue("good", ALLOWED)
    pairs = {name: case.pair(pki, tmp_path) for name, case in CASES.items()}
    with serving(echo) as service:
        config = configs.identity(server, pki.trust, crl=str(pki.directory / "ca.crl"))
        config += configs.terminate(service.address, allow=(f"dns:{ALLOWED}",))
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            for number, (name, case) in enumerate(CASES.items(), 1):
                with pytest.raises(ssl.SSLError) as refused:
                    _speak_early(pki, port, pairs[name], version)
                told = str(refused.value).upper().replace(" ", "_")
                # TLS 1.2 has no alert of its own for a certificate that is missing.
                alert = "HANDSHAKE_FAILURE" if not pairs[name] and version == ssl.TLSVersion.TLSv1_2 else case.alert
                refusal = sidecar.newest_refusal(number)
                assert alert in told, (name, told, refusal)
                assert (refusal["stage"], refusal["reason"], refusal["side"]) == (case.stage, case.reason, "local"), (
                    name
                )
                assert bool(refusal["serial"]) == bool(pairs[name])
            assert service.connections == 0
            sidecar.counts(len(CASES), "tlsidecar_connections_total", outcome="refused")
            assert _speak_early(pki, port, good, version) == b"early"
            assert service.connections == 1


def _speak_early(pki: Pki, port: int, pair: Pair | None, version: ssl.TLSVersion) -> bytes:
    context = pki.client_context(pair, max_version=version)
    raw = socket.create_connection(("127.0.0.1", port), 10)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        tls.sendall(b"early")
        return tls.recv(10)
