"""Whoever is turned away is told why by an alert, and named with the reason; the service never hears of it."""

from __future__ import annotations

import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import configs
from support.engine import IS_PORTABLE, alert_of_ours
from support.mtls import Alerted, connect
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually

ALLOW = ("dns:*.ops.internal",)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_by_certificate(version: ssl.TLSVersion, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    good = pki.issue("good", "backup.ops.internal")
    wrong = pki.issue("wrong", "evil.example", common_name="backup.ops.internal")
    stranger = Pki(tmp_path / "elsewhere").issue("stranger", "backup.ops.internal")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, allow=ALLOW)
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()

            def talk(pair: object) -> bytes:
                context = pki.client_context(pair, max_version=version)  # type: ignore[arg-type]
                raw = socket.create_connection(("127.0.0.1", port), 10)
                with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
                    tls.sendall(b"early")
                    return tls.recv(10)

            for pair, alert, stage, reason, identity in (
                (None, "CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE", "verify", "no_certificate", ""),
                (wrong, alert_of_ours("BAD_CERTIFICATE"), "authorize", "not_allowed", "evil.example"),
                (stranger, "UNKNOWN_CA", "verify", "unknown_ca", "backup.ops.internal"),
            ):
                with pytest.raises(ssl.SSLError, match=f"(?i)alert_({alert})|{alert.replace('_', ' ')}"):
                    talk(pair)
                refusal = sidecar.refusal(reason=reason)
                assert (refusal["stage"], refusal["side"], refusal["identity"]) == (stage, "local", identity)
                assert refusal["peer_address"].startswith("127.0.0.1:")
                assert bool(refusal["serial"]) == bool(pair)
                sidecar.counts(1, "tlsidecar_refusals_total", stage=stage, reason=reason)
            assert service.connections == 0
            assert talk(good) == b"early"
            assert service.connections == 1
            rules = [line["rule"] for line in [sidecar.last_access(identity="backup.ops.internal")]]
            assert rules == ["dns:*.ops.internal"]
            sidecar.counts(3, "tlsidecar_handshakes_total", outcome="failed")
            sidecar.counts(1, "tlsidecar_handshakes_total", outcome="ok")


@pytest.mark.skipif(IS_PORTABLE, reason="the portable engine cannot choose an alert (docs/decisions.md)")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_one_that_is_not_valid_yet_is_told_of_its_time(version: ssl.TLSVersion, pki: Pki, tmp_path: Path) -> None:
    """RFC 8446 section 6.2: certificate_expired is for one that "has expired or is not currently valid"."""
    now = datetime.now(UTC)
    server = pki.issue("server", "localhost")
    early = pki.issue("early", "a.test", not_before=now + timedelta(days=1), not_after=now + timedelta(days=2))
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            context = pki.client_context(early, max_version=version)
            with pytest.raises(ssl.SSLError, match=r"(?i)certificate.expired"):
                _talk(sidecar.port(), context)
            assert sidecar.refusal(reason="certificate_not_yet_valid")["stage"] == "verify"


def _talk(port: int, context: ssl.SSLContext) -> bytes:
    raw = socket.create_connection(("127.0.0.1", port), 10)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        tls.sendall(b"early")
        return tls.recv(10)


@pytest.mark.needs("curl")
def test_plain_http_is_answered_with_a_hint(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            command = ["curl", "-sS", "--max-time", "10", "-w", "%{http_code}", f"http://127.0.0.1:{sidecar.port()}/"]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert answer == "A plain HTTP request was sent to TLS port\n400"
            assert sidecar.refusal(reason="plaintext")["stage"] == "handshake"
            assert service.connections == 0


@pytest.mark.parametrize(
    ("sent", "reasons"),
    [
        pytest.param(b"\x00" * 300, {"not_tls", "protocol_error"}, id="zeros"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", {"not_tls", "protocol_error"}, id="ssh"),
        pytest.param(b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x01" * 60, None, id="SSLv2 hello"),
        pytest.param(b"\x16\x03\x01\xff\xff" + b"\x01" * 70000, None, id="a record over its limit"),
        pytest.param(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01", {"handshake_aborted"}, id="half a record, then gone"),
    ],
)
def test_what_is_not_tls(sent: bytes, reasons: set[str] | None, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            with socket.create_connection(("127.0.0.1", sidecar.port()), 10) as sock:
                try:
                    sock.sendall(sent)
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(1000):
                        pass
                except OSError:
                    pass
            refusal = sidecar.refusal(listener="in")
            assert refusal["stage"] == "handshake"
            assert reasons is None or refusal["reason"] in reasons
            assert service.connections == 0
            sidecar.settles()


def test_old_versions_and_weak_suites_are_refused(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            for more in (["-tls1_1"], ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"], ["-tls1"]):
                command = [
                    "openssl",
                    "s_client",
                    "-connect",
                    f"127.0.0.1:{sidecar.port()}",
                    "-cipher",
                    "ALL:@SECLEVEL=0",
                ]
                command += ["-cert", str(client.cert), "-key", str(client.key), *more]
                outcome = subprocess.run(command, input=b"", capture_output=True, timeout=20)
                assert outcome.returncode != 0, more
            wanted = {"unsupported_version", "no_shared_cipher"}
            eventually(lambda: {refusal["reason"] for refusal in sidecar.refusals()} == wanted)


def test_the_handshake_has_a_deadline(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.limits(handshake_timeout="300ms") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            with socket.create_connection(("127.0.0.1", sidecar.port()), 10) as sock:
                assert sock.recv(10) == b""
            assert sidecar.refusal(reason="handshake_timeout")["stage"] == "handshake"


def test_above_its_limit_a_listener_refuses_and_recovers(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.limits(max_connections=3) + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            peers = [connect(port, pki.trust, client) for _ in range(3)]
            with pytest.raises((ConnectionError, Alerted)):
                connect(port, pki.trust, client)
            assert sidecar.refusal(reason="max_connections")["stage"] == "accept"
            for peer in peers:
                peer.send(b"still here")
                assert peer.recv_exactly(10) == b"still here"
                peer.close()
            sidecar.settles()
            connect(port, pki.trust, client).close()
