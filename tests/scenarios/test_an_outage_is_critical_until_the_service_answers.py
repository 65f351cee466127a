"""The service dies: that is a critical problem, with the error, since when and what it cost; the clients are nobody's
refusals; and it ends with the first answer."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from support import configs
from support.grpc_calls import channel, credentials, unary
from support.h2_services import H2Service
from support.mtls import Peer, connected, server_context
from support.pki import Pair, Pki
from support.ports import free_port
from support.remotes import talk
from support.services import echo, reset, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually


def curl(sidecar: Sidecar, pki: Pki, client: Pair, name: str = "in") -> str:
    command = ["curl", "-sS", "--cacert", str(pki.trust), *client.curl(), "-o", "/dev/null", "-w", "%{http_code}"]
    command.append(f"https://localhost:{sidecar.port(name)}/")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def problem(sidecar: Sidecar, code: str) -> dict[str, Any] | None:
    return next((each for each in sidecar.status()["problems"] if each["code"] == code), None)


def told(sidecar: Sidecar, code: str, words: str) -> dict[str, Any]:
    """Wait for this problem, with these words in its message: it may be told before the last failure is counted."""

    def look() -> dict[str, Any]:
        found = problem(sidecar, code)
        assert found is not None, f"no {code}"
        assert words in found["message"], found
        return found

    return eventually(look)


def answer(*status: bytes) -> Any:
    return answers(list(status))


def answers(status: list[bytes]) -> Any:
    """A service that answers with the first of ``status``, as it stands then."""

    def handle(sock: socket.socket) -> None:
        while sock.recv(65536):
            sock.sendall(b"HTTP/1.1 " + status[0] + b"\r\nContent-Length: 0\r\n\r\n")

    return handle


def test_http(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    config = configs.identity(server, pki.trust) + configs.terminate(f"127.0.0.1:{port}", protocol="http")
    with running(tmp_path / "sidecar", config) as sidecar:
        assert problem(sidecar, "upstream_down") is None
        for _ in range(4):
            assert curl(sidecar, pki, client) == "502"
        down = told(sidecar, "upstream_down", "4 requests failed since")
        assert (down["severity"], down["subject"], sidecar.status()["state"]) == ("critical", "in", "degraded")
        assert "Connection refused" in down["message"]
        assert down["advice"]
        failure = sidecar.failure(reason="upstream_refused")
        assert (failure["count"], failure["last_identity"]) == (4, "client.test")
        assert sidecar.refusals() == []
        with serving(answer(b"200 OK"), port=port):
            assert eventually(lambda: curl(sidecar, pki, client) == "200")
            eventually(lambda: problem(sidecar, "upstream_down") is None and sidecar.status()["state"] == "ready", 10)


def test_tcp(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    config = configs.identity(server, pki.trust) + configs.terminate(f"127.0.0.1:{port}")
    with running(tmp_path / "sidecar", config) as sidecar:
        for _ in range(3):
            with connected(sidecar.port(), pki.trust, client) as peer:
                assert peer.recv_all() == b""
        told(sidecar, "upstream_down", "3 connections failed since")
        sidecar.counts(3, "tlsidecar_connections_total", outcome="failed")
        assert sidecar.metric("tlsidecar_connections_total", outcome="refused") == 0
        with serving(echo, port=port), connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"!")
            assert peer.recv_exactly(1) == b"!"
            eventually(lambda: problem(sidecar, "upstream_down") is None, 10)


def test_another_listener_that_reaches_it_ends_it(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    config = configs.identity(server, pki.trust)
    config += configs.terminate(f"127.0.0.1:{port}", protocol="http", name="one")
    config += configs.terminate(f"127.0.0.1:{port}", protocol="http", name="two")
    # One worker: several learn of it each for itself.
    with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": "1"}) as sidecar:
        assert curl(sidecar, pki, client, "one") == "502"
        assert eventually(lambda: problem(sidecar, "upstream_down"))
        with serving(answer(b"200 OK"), port=port):
            assert eventually(lambda: curl(sidecar, pki, client, "two") == "200")
            eventually(lambda: problem(sidecar, "upstream_down") is None, 10)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_answers_with_errors(pki: Pki, tmp_path: Path, workers: str) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    said = [b"500 Internal Server Error"]

    with serving(answers(said)) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": workers}) as sidecar:
            for _ in range(5):
                assert curl(sidecar, pki, client) == "500"
            words = "5 of its last 5 requests failed, mostly because the service answers 5xx"
            failing = told(sidecar, "requests_failing", words)
            assert (failing["severity"], failing["subject"]) == ("critical", "in")
            said[0] = b"200 OK"
            eventually(lambda: curl(sidecar, pki, client) == "200" and problem(sidecar, "requests_failing") is None, 20)


def half(sock: socket.socket) -> None:
    """The service begins its answer and dies of it."""
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def accepts(sock: socket.socket) -> None:
    """The service closes whatever it accepts."""
    sock.recv(65536)


def test_failures_that_no_status_tells_of(pki: Pki, tmp_path: Path) -> None:
    """An answer cut off, a service that never speaks HTTP/2, one that says in gRPC's way that it cannot."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    unavailable = H2Service(b"", more=[(b"content-type", b"application/grpc"), (b"grpc-status", b"14")])
    with serving(half) as cut, serving(accepts) as closes, serving(unavailable) as fails:
        config = configs.identity(server, pki.trust)
        config += configs.terminate(cut.address, protocol="http", name="cut")
        config += configs.terminate(closes.address, protocol="grpc", name="closes")
        config += configs.terminate(fails.address, protocol="grpc", name="fails")
        with running(tmp_path / "sidecar", config) as sidecar:
            for name in ("closes", "fails"):
                with channel(sidecar.port(name), credentials(pki, client)) as through:
                    for _ in range(3):
                        with pytest.raises(grpc.RpcError) as raised:
                            unary(through)(b"", timeout=20)
                        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
                        assert name == "fails" or "the upstream" in raised.value.details()
            for _ in range(3):
                with connected(sidecar.port("cut"), pki.trust, client) as peer:
                    peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    with pytest.raises(ConnectionError):
                        peer.recv_all()

            def causes() -> dict[str, str]:
                failing = [each for each in sidecar.problems() if each["code"] == "requests_failing"]
                return {each["subject"]: each["message"] for each in failing}

            said = eventually(lambda: len(causes()) == 3 and causes())
            assert said
            assert "the upstream closed before its response was complete" in said["cut"]
            assert "the upstream" in said["closes"]
            assert "gRPC's UNAVAILABLE" in said["fails"]
            for name, where in (("cut", cut), ("closes", closes)):
                assert {each["upstream"] for each in sidecar.failures() if each["listener"] == name} == {where.address}
                assert sidecar.metric("tlsidecar_upstream_errors_total", listener=name)  # of `closes` by connection


def test_an_ambassadors_remote_that_resets(pki: Pki, tmp_path: Path) -> None:
    """It shakes hands, and resets each connection at its first byte: nobody is served, and that was no failure."""
    us, remote = pki.issue("us", "us.test"), pki.issue("remote", "localhost")
    context = server_context(pki.trust, remote)

    def resets(sock: socket.socket) -> None:
        peer = Peer(context, sock, server_side=True).handshake()
        peer.recv(1)
        reset(sock)

    with serving(resets) as service:
        config = configs.identity(us, pki.trust) + configs.originate(f"localhost:{service.port}")
        with running(tmp_path / "sidecar", config) as sidecar:
            asked = 0

            def fails() -> dict[str, Any] | None:
                nonlocal asked
                with pytest.raises(ConnectionResetError):
                    talk(port, b"!")
                asked += 1
                return problem(sidecar, "requests_failing")

            port = sidecar.port()
            failing = eventually(fails)  # what failed before it was first looked at does not count as an outage
            assert failing is not None
            assert "connections failed, mostly because the upstream reset the connection" in failing["message"]
            eventually(lambda: sidecar.failure(reason="upstream_reset")["count"] == asked)
            name = "tlsidecar_upstream_errors_total"
            eventually(lambda: sidecar.metric(name, reason="upstream_reset") == asked)
