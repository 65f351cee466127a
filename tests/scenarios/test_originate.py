"""The ambassador: plaintext in from the local application, mutual TLS out, and only to whom it should be."""

from __future__ import annotations

import contextlib
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, Peer, server_context
from support.pki import Pki
from support.ports import free_port
from support.remotes import remote, talk
from support.services import serving
from support.sidecar import running

UNKNOWN_CA = "the peer sent the alert unknown_ca"
LOST_ALERT = "the peer sent an alert and a reset; which alert it was is lost"


def test_our_certificate_is_shown_and_the_name_asked_for(pki: Pki, tmp_path: Path) -> None:
    ours, theirs = pki.issue("ours", "app.internal"), pki.issue("theirs", "localhost")
    seen: list[object] = []
    with remote(pki.trust, theirs, seen=seen) as service:
        config = configs.identity(ours, pki.trust) + configs.originate(f"localhost:{service.port}")
        with running(tmp_path / "sidecar", config) as sidecar:
            assert talk(sidecar.port(), b"hello" * 1000) == b"hello" * 1000
            shown, name = seen
            assert "app.internal" in str(shown.extensions)  # type: ignore[attr-defined]
            assert name == b"localhost"
            line = sidecar.last_access(reason="completed")
            assert (line["identity"], line["rule"]) == ("localhost", "dns:localhost")


@pytest.mark.parametrize(
    ("names", "more", "reason", "stage"),
    [
        pytest.param(["elsewhere.internal"], {}, "not_expected", "authorize", id="another name"),
        pytest.param(["localhost"], {"expect": ["dns:payments.internal"]}, "not_expected", "authorize", id="rule"),
        pytest.param(None, {}, "unknown_ca", "verify", id="another CA"),
    ],
)
def test_the_wrong_remote_gets_nothing(
    names: list[str] | None, more: dict[str, object], reason: str, stage: str, pki: Pki, tmp_path: Path
) -> None:
    ours = pki.issue("ours", "app.internal")
    theirs = pki.issue("theirs", *names) if names else Pki(tmp_path / "elsewhere").issue("theirs", "localhost")
    seen: list[object] = []
    with remote(pki.trust, theirs, seen=seen) as service:
        config = configs.identity(ours, pki.trust) + configs.originate(f"localhost:{service.port}", **more)
        with running(tmp_path / "sidecar", config) as sidecar:
            with pytest.raises(ConnectionResetError):
                talk(sidecar.port(), b"a secret")
            refusal = sidecar.refusal(reason=reason)
            assert (refusal["stage"], refusal["side"]) == (stage, "local")
            sidecar.counts(1, "tlsidecar_upstream_errors_total", reason="upstream_tls")
            sidecar.settles()


def test_an_expired_remote_gets_nothing_and_a_renewed_one_is_used_at_once(pki: Pki, tmp_path: Path) -> None:
    ours = pki.issue("ours", "app.internal")
    now = datetime.now(UTC)
    when = {"not_before": now - timedelta(days=9), "not_after": now - timedelta(days=1)}
    expired, renewed = pki.issue("expired", "localhost", **when), pki.issue("renewed", "localhost")
    contexts = [server_context(pki.trust, expired)]

    def handle(sock: socket.socket) -> None:
        peer = Peer(contexts[-1], sock, server_side=True)
        with contextlib.suppress(SSL.Error, OSError, Alerted):
            peer.handshake()
            while data := peer.recv():
                peer.send(data)
            peer.end_writing()

    with serving(handle) as service:
        config = configs.identity(ours, pki.trust) + configs.originate(f"localhost:{service.port}")
        with running(tmp_path / "sidecar", config) as sidecar:
            for _ in range(3):
                with pytest.raises(ConnectionResetError):
                    talk(sidecar.port(), b"a secret")
            refusal = sidecar.refusal(reason="certificate_expired")
            assert (refusal["stage"], refusal["side"], refusal["identity"]) == ("verify", "local", "localhost")
            contexts.append(server_context(pki.trust, renewed))
            assert talk(sidecar.port(), b"hello") == b"hello"


def test_a_wildcard_certificate_covers_one_label(pki: Pki, tmp_path: Path) -> None:
    ours, theirs = pki.issue("ours", "app.internal"), pki.issue("theirs", "*.pay.internal")
    with remote(pki.trust, theirs) as service:
        config = configs.identity(ours, pki.trust)
        config += configs.originate(
            f"127.0.0.1:{service.port}", expect=["dns:api.pay.internal"], server_name="api.pay.internal"
        )
        with running(tmp_path / "sidecar", config) as sidecar:
            assert talk(sidecar.port(), b"hello") == b"hello"


@pytest.mark.parametrize("sent", [b"hello", b"x" * 1_000_000], ids=["little", "much"])
def test_being_refused_is_recorded_as_theirs(sent: bytes, pki: Pki, tmp_path: Path) -> None:
    """In TLS 1.3 the remote's judgement of our certificate comes after our own handshake is over. Its close is a reset,
    and a write of ours that meets it between two looks for the alert loses which one it was: never who refused whom."""
    times = 10
    ours = pki.issue("ours", "app.internal")
    theirs_pki = Pki(tmp_path / "theirs")
    theirs = theirs_pki.issue("theirs", "localhost")
    trust = tmp_path / "both.crt"
    trust.write_bytes(pki.trust.read_bytes() + theirs_pki.trust.read_bytes())
    with remote(theirs_pki.trust, theirs) as service:
        config = configs.identity(ours, trust) + configs.originate(f"localhost:{service.port}")
        with running(tmp_path / "sidecar", config) as sidecar:
            for _ in range(times):
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    talk(sidecar.port(), sent)
            sidecar.counts(times, "tlsidecar_refusals_total", reason="refused_by_peer")
            refusals = sidecar.refusals()
            assert {(each["reason"], each["side"], each["stage"]) for each in refusals} == {
                ("refused_by_peer", "peer", "verify")
            }
            details = {each["detail"] for each in refusals}
            assert UNKNOWN_CA in details
            assert details <= {UNKNOWN_CA, LOST_ALERT}
            sidecar.counts(times, "tlsidecar_upstream_errors_total", reason="refused_by_peer")
            sidecar.counts(times, "tlsidecar_connections_total", outcome="refused_by_peer")
            sidecar.last_access(reason="refused_by_peer")
            assert sidecar.status()["listeners"][0]["upstreams"][0]["healthy"] is False


def test_a_plaintext_remote_is_never_talked_to_in_plaintext(pki: Pki, tmp_path: Path) -> None:
    ours = pki.issue("ours", "app.internal")
    heard: list[bytes] = []
    done = threading.Event()

    def plaintext(sock: socket.socket) -> None:
        heard.append(sock.recv(65536))
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        done.set()

    with serving(plaintext) as service:
        config = configs.identity(ours, pki.trust) + configs.originate(f"localhost:{service.port}")
        with running(tmp_path / "sidecar", config) as sidecar:
            with pytest.raises(ConnectionResetError):
                talk(sidecar.port(), b"a secret")
            assert done.wait(10)
            assert heard[0][:1] == b"\x16"  # a TLS handshake record
            assert b"a secret" not in b"".join(heard)
            assert sidecar.refusal(listener="out")["stage"] == "handshake"


def test_a_remote_that_is_down_is_said_so(pki: Pki, tmp_path: Path) -> None:
    ours = pki.issue("ours", "app.internal")
    port = free_port()
    config = configs.identity(ours, pki.trust) + configs.originate(f"localhost:{port}")
    with running(tmp_path / "sidecar", config) as sidecar:
        with pytest.raises(ConnectionResetError):
            talk(sidecar.port(), b"hello")
        failure = sidecar.failure(reason="upstream_refused")
        assert (failure["upstream"], failure["count"]) == (f"localhost:{port}", 1)
        assert f"localhost:{port}" in failure["detail"]
        assert sidecar.refusals() == []
        assert sidecar.status()["listeners"][0]["upstreams"][0]["healthy"] is False
        problem = sidecar.problems()[0]
        assert (problem["code"], problem["severity"], problem["subject"]) == ("upstream_down", "critical", "out")
