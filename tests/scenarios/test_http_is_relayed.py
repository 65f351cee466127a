"""HTTP/1.1 through the sidecar, both ways, with who is asking told to the service."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import pytest
from support import configs
from support.mtls import connect, connected
from support.pki import Pair, Pki
from support.ports import free_port
from support.services import http_service, serving
from support.several import in_one_worker
from support.sidecar import Sidecar, running
from support.waiting import eventually


def curl(sidecar: Sidecar, pki: Pki, pair: Pair | None, *arguments: str, path: str = "/") -> str:
    command = ["curl", "-sS", "--max-time", "20", "--cacert", str(pki.trust), *(pair.curl() if pair else [])]
    command += [*arguments, f"https://localhost:{sidecar.port('in')}{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.needs("curl")
def test_the_service_is_told_who_asks(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    client = pki.issue("client", "client.test", common_name="client", unit="sre")
    with http_service() as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            forged = ["-H", "X-Forwarded-Client-Cert: By=me;URI=spiffe://root", "-H", "X-Forwarded-For: 6.6.6.6"]
            answer = curl(sidecar, pki, client, *forged, "-H", "X-Other: kept", path="/a?b=c")
            lines = answer.splitlines()
            assert lines[0] == "GET /a?b=c"
            named = [line for line in lines if line.lower().startswith("x-forwarded-client-cert:")]
            assert len(named) == 1
            assert "DNS=client.test" in named[0]
            assert "CN=client" in named[0]
            assert "spiffe://root" not in answer
            assert "6.6.6.6" not in answer
            assert "X-Other: kept" in lines
            assert "X-Forwarded-Proto: https" in lines
            line = sidecar.last_access(access="request", status=200)
            assert (line["method"], line["target"], line["identity"]) == ("GET", "/a?b=c", "client.test")
            assert line["request_id"]
            sidecar.counts(1, "tlsidecar_requests_total", code="2xx")


@pytest.mark.needs("curl")
def test_bodies_of_every_kind_arrive(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    big = tmp_path / "big"
    big.write_bytes(b"0123456789abcdef" * 100_000)
    with http_service() as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            assert curl(sidecar, pki, client, "-d", "a=b").endswith("\na=b")
            assert curl(sidecar, pki, client, "--data-binary", f"@{big}").endswith(big.read_text())
            assert curl(sidecar, pki, client, "-H", "Expect: 100-continue", "-d", "x" * 2000).endswith("x" * 2000)
            assert curl(sidecar, pki, client, "-I").startswith("HTTP/1.1 200 OK")
            assert curl(sidecar, pki, client, "--http1.0").startswith("GET /\n")
            sidecar.settles()


@pytest.mark.needs("curl")
def test_connections_are_kept_on_both_sides(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with http_service() as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            url = f"https://localhost:{sidecar.port()}"
            command = ["curl", "-sS", "--cacert", str(pki.trust), *client.curl(), "-w", "%{num_connects}\n", "-o"]
            command += ["/dev/null", f"{url}/1", "-o", "/dev/null", f"{url}/2", "-o", "/dev/null", f"{url}/3"]
            connects = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            assert connects == ["1", "0", "0"]
            eventually(lambda: [sidecar.listener()["upstreams"][0][state] for state in ("active", "idle")] == [0, 1])


@pytest.mark.needs("curl")
def test_an_ambassador_before_a_sidecar(pki: Pki, tmp_path: Path) -> None:
    leaf = pki.issue("leaf", "localhost")
    with http_service() as service:
        inner = configs.identity(leaf, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "inner", inner) as inside:
            outer = configs.identity(leaf, pki.trust)
            outer += configs.originate(f"localhost:{inside.port()}", protocol="http")
            with running(tmp_path / "outer", outer) as outside:
                command = ["curl", "-sS", "--max-time", "20", "-d", "hello", f"http://127.0.0.1:{outside.port()}/x"]
                for _ in range(3):
                    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                    assert answer.startswith("POST /x\n")
                    assert answer.endswith("\nhello")
                    assert "DNS=localhost" in answer
                line = outside.last_access(status=200)
                assert line["identity"] == "localhost"
            inside.settles()


@pytest.mark.needs("curl")
def test_the_upstreams_failures_have_their_status_and_reason(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    hang = threading.Event()

    def behaves_badly(sock: socket.socket) -> None:
        request = sock.recv(65536)
        if b"/hang" in request:
            hang.wait(20)
        elif b"/nothing" in request:
            return
        elif b"/garbage" in request:
            sock.sendall(b"what is this\r\n\r\n")
        elif b"/short" in request:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

    with serving(behaves_badly) as service:
        config = configs.limits(response_timeout="1s") + configs.identity(server, pki.trust)
        config += configs.terminate(f"127.0.0.1:{port}", protocol="http", name="down")
        config += configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            status = ["-o", "/dev/null", "-w", "%{http_code}"]
            for path, code, reason in (
                ("/hang", "504", "upstream_timeout"),
                ("/nothing", "502", "upstream_closed"),
                ("/garbage", "502", "upstream_bad_response"),
            ):
                assert curl(sidecar, pki, client, *status, path=path) == code
                failure = sidecar.failure(reason=reason)
                assert (failure["upstream"], failure["count"]) == (service.address, 1), path
            with pytest.raises(subprocess.CalledProcessError):
                curl(sidecar, pki, client, path="/short")
            command = ["curl", "-sS", "--cacert", str(pki.trust), *client.curl(), *status]
            command.append(f"https://localhost:{sidecar.port('down')}/")
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "502"
            assert sidecar.failure(reason="upstream_refused")["listener"] == "down"
            assert sidecar.refusals() == []
            hang.set()
            sidecar.settles()


def test_pipelined_requests_are_answered_in_order(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with http_service() as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(200)]
            requests[-1] = b"GET /199 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            writer = threading.Thread(target=peer.send, args=(b"".join(requests),))
            writer.start()
            answer = peer.recv_all()
            writer.join(10)
            seen = [line for line in answer.split(b"\n") if line.startswith(b"GET /")]
            assert seen == [b"GET /%d" % number for number in range(200)]


def test_two_framings_in_one_request_are_refused(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    received: list[bytes] = []
    with serving(lambda sock: received.append(sock.recv(65536))) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
            assert peer.recv_all().startswith(b"HTTP/1.1 400 ")
            refusal = sidecar.refusal(reason="ambiguous_framing")
            assert (refusal["stage"], refusal["status"], refusal["identity"]) == ("request", 400, "client.test")
            assert received == []


def test_a_websocket_becomes_a_tunnel(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")

    def agrees(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65536)
        assert b"upgrade: websocket" in head.lower()
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        while data := sock.recv(65536):
            sock.sendall(data.upper())
        sock.sendall(b"the last word")

    with serving(agrees) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            answer = peer.recv_exactly(12)
            assert answer == b"HTTP/1.1 101"
            while not answer.endswith(b"first"):
                answer += peer.recv()
            peer.send(b"hello")
            assert peer.recv_exactly(5) == b"HELLO"
            peer.end_writing()
            assert peer.recv_all() == b"the last word"
            sidecar.settles()
            assert sidecar.last_access(access="request")["status"] == 101


def test_a_drain_finishes_the_exchange_and_closes(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    go = threading.Event()

    def slow(sock: socket.socket) -> None:
        while sock.recv(65536):
            go.wait(20)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    with serving(slow) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            # Of one worker: that the idle one ends shows that the drain has come to the other, too.
            peer, idle = in_one_worker(sidecar, 2, lambda: connect(sidecar.port(), pki.trust, client))
            peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            eventually(lambda: service.connections == 1)
            sidecar.signal(15)
            assert idle.recv_all() == b""
            idle.close()
            go.set()
            answer = peer.recv_all()
            peer.close()
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert b"connection: close" in answer.lower()
            assert answer.endswith(b"done")
            assert sidecar.wait() == 0
