"""Over HTTP, too, what is recorded of an end is what it was: a remote that refused us, one that stalled, a TLS record
that was broken, a head that was refused."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, Peer, connected, server_context
from support.pki import Pki
from support.raw_http import read_answer, request
from support.records import RecordWriter
from support.services import Handler, http_service, serving
from support.sidecar import running
from support.waiting import eventually

TIMES = 20


def refuses_us(context: SSL.Context, *, reads: bool) -> Handler:
    """A TLS 1.3 server whose alert comes after our handshake; it closes over what is still coming, or reads it."""

    def handle(sock: socket.socket) -> None:
        with contextlib.suppress(SSL.Error, OSError, Alerted):
            Peer(context, sock, server_side=True).handshake()
        if reads:
            sock.setblocking(True)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass

    return handle


@pytest.mark.parametrize(
    ("body", "reads"),
    [
        pytest.param(b"", True, id="it reads on"),
        pytest.param(b"", False, id="it resets"),
        pytest.param(b"x" * 5_000_000, False, id="it resets amid a body"),
    ],
)
def test_a_remote_that_refuses_us(body: bytes, reads: bool, pki: Pki, tmp_path: Path) -> None:
    ours, theirs = pki.issue("ours", "app.internal"), pki.issue("theirs", "localhost")
    context = server_context(Pki(tmp_path / "other").trust, theirs)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    with serving(refuses_us(context, reads=reads)) as service:
        config = configs.identity(ours, pki.trust)
        config += configs.originate(f"localhost:{service.port}", protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            for number in range(TIMES):
                with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as app:
                    app.request("PUT", f"/{number}", body)
                    assert app.getresponse().status == 502

            def all_are_told() -> bool:
                lines = sidecar.access_lines()
                assert [line["reason"] for line in lines] == ["refused_by_peer"] * TIMES, lines
                return {line["identity"] for line in lines} == {"localhost"}

            eventually(all_are_told)
            refusals = sidecar.refusals()
            assert {(refusal["stage"], refusal["side"], refusal["identity"]) for refusal in refusals} == {
                ("verify", "peer", "localhost")
            }
            # Which alert it was is lost only when its reset came between our look and our write.
            assert sum("unknown_ca" in refusal["detail"] for refusal in refusals) > len(refusals) // 2
            assert all("alert" in refusal["detail"] for refusal in refusals)
            sidecar.counts(TIMES, "tlsidecar_upstream_errors_total", reason="refused_by_peer")
            sidecar.counts(TIMES, "tlsidecar_refusals_total", reason="refused_by_peer")


def test_a_remote_that_stalls_in_the_handshake(pki: Pki, tmp_path: Path) -> None:
    ours = pki.issue("ours", "app.internal")

    def stalls(sock: socket.socket) -> None:
        while sock.recv(65536):
            pass

    with serving(stalls) as service:
        config = configs.limits(handshake_timeout="300ms") + configs.identity(ours, pki.trust)
        config += configs.originate(f"localhost:{service.port}", protocol="http")
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            socket.create_connection(("127.0.0.1", sidecar.port()), 10) as app,
        ):
            app.sendall(request("GET", "/slow"))
            assert read_answer(app).status == 504
            failure = sidecar.failure(reason="upstream_handshake_timeout")
            assert (failure["upstream"], failure["count"]) == (f"localhost:{service.port}", 1)
            line = sidecar.last_access(status=504, reason="upstream_handshake_timeout", upstream_s=0)
            assert line["wait_s"] == line["total_s"] >= 0.3


@pytest.mark.parametrize("begun", [b"", b"GET /half HTTP/1.1\r\nHost: x\r\n"], ids=["between requests", "in a head"])
def test_a_broken_record_after_the_handshake(begun: bytes, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with http_service() as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            writer = RecordWriter(sidecar.port(), pki.trust, client)
            writer.send(writer.seal(request("GET", "/whole")))
            assert read_answer(writer.peer).status == 200
            before = writer.seal(begun) if begun else b""
            broken = bytearray(writer.seal(b"something"))
            broken[-1] ^= 1
            writer.send(before + broken)
            # It is told why, and the alert is not lost to a reset.
            with pytest.raises(Alerted, match="bad record mac"):
                writer.peer.recv()
            writer.close()
            sidecar.counts(1, "tlsidecar_connections_total", outcome="protocol_error")
            if begun:
                sidecar.last_access(reason="protocol_error", method="GET", target="/half", status=0)
            else:
                refusal = sidecar.refusal(reason="protocol_error")
                assert (refusal["stage"], refusal["side"], refusal["identity"]) == ("request", "local", "client.test")
                assert "bad record mac" in refusal["detail"]
            assert sidecar.metric("tlsidecar_connections_total", outcome="completed") == 0


def test_a_refused_head_after_a_served_request(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with http_service() as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(request("GET", "/served"))
            assert read_answer(peer).status == 200
            sidecar.last_access(target="/served", upstream=service)
            began = time.monotonic()
            peer.send(b"DELETE /refused HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n")
            assert read_answer(peer).status == 400
            line = sidecar.last_access(method="DELETE", target="/refused", status=400, reason="bad_header", upstream="")
            assert (line["wait_s"], line["upstream_s"]) == (0, 0)
            assert line["total_s"] <= time.monotonic() - began  # its own time, not that of the one before it
            refusal = sidecar.refusal(reason="bad_header")
            assert (refusal["method"], refusal["target"], refusal["status"]) == ("DELETE", "/refused", 400)
