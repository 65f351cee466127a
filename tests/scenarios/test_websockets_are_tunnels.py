"""WebSocket connections: opened where the rules allow it, then a tunnel with ends and bounds of its own."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from support import configs
from support.mtls import Peer, connect, connected
from support.pki import Pair, Pki
from support.raw_http import read_answer, request
from support.services import Service, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x")
AGREED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def head_of(sock: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        more = sock.recv(65536)
        if not more:
            return b""
        head += more
    return head


def echoes(sock: socket.socket) -> None:
    head = head_of(sock)
    if b"upgrade: websocket" not in head.lower():
        sock.sendall(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
        return
    sock.sendall(AGREED)
    while data := sock.recv(65536):
        sock.sendall(data)


def opened(sidecar: Sidecar, pki: Pki, pair: Pair, target: str = "/chat") -> Peer:
    peer = connect(sidecar.port(), pki.trust, pair)
    peer.send(request("GET", target, *UPGRADE))
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += peer.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return peer


def config_of(pki: Pki, service: Service, more: str = "", **listener: object) -> str:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust)
    return config + configs.terminate(service.address, protocol="http", **listener) + more


def test_only_where_the_routes_allow_it(pki: Pki, tmp_path: Path) -> None:
    sre, dev = pki.issue("sre", "sre.test", unit="sre"), pki.issue("dev", "dev.test")
    route = '[[listener.route]]\npath = "/live/**"\nallow = ["ou:sre"]\n'
    with serving(echoes) as service, running(tmp_path / "sidecar", config_of(pki, service, route)) as sidecar:
        peer = opened(sidecar, pki, sre, "/live/prices")
        peer.send(b"hello")
        assert peer.recv_exactly(5) == b"hello"
        peer.end_writing()
        assert peer.recv_all() == b""
        peer.close()
        before = service.connections
        with connected(sidecar.port(), pki.trust, dev) as refused:
            refused.send(request("GET", "/live/prices", *UPGRADE))
            assert read_answer(refused).status == 403
        refusal = sidecar.refusal(reason="route_denied")
        assert (refusal["identity"], refusal["target"]) == ("dev.test", "/live/prices")
        assert service.connections == before
        peer = opened(sidecar, pki, dev, "/chat")
        peer.close()


def test_only_where_the_listener_allows_it(pki: Pki, tmp_path: Path) -> None:
    client = pki.issue("client", "client.test")
    with serving(echoes) as service, running(tmp_path / "sidecar", config_of(pki, service, upgrades=[])) as sidecar:
        with connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(request("GET", "/chat", *UPGRADE))
            assert read_answer(peer).status in (400, 426)
        assert sidecar.metric("tlsidecar_requests_total", code="1xx") == 0


def test_each_direction_ends_for_itself(pki: Pki, tmp_path: Path) -> None:
    client = pki.issue("client", "client.test")
    received: list[bytes] = []

    def ends_first(sock: socket.socket) -> None:
        head_of(sock)
        sock.sendall(AGREED + b"that was all from me")
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65536):
            received.append(data)

    with serving(ends_first) as service, running(tmp_path / "sidecar", config_of(pki, service)) as sidecar:
        peer = opened(sidecar, pki, client)
        assert peer.recv_all() == b"that was all from me"
        for _ in range(20):
            peer.send(b"x" * 10_000)
        peer.end_writing()
        eventually(lambda: sum(map(len, received)) == 200_000)
        sidecar.settles()
        line = sidecar.last_access(access="request", reason="completed")
        assert line["status"] == 101
        assert line["bytes_in"] >= 200_000
        peer.close()


def test_an_idle_tunnel_ends_and_a_busy_one_does_not(pki: Pki, tmp_path: Path) -> None:
    client = pki.issue("client", "client.test")
    # The times of HTTP do not count in a tunnel.
    times = {"keepalive_timeout": "300ms", "head_timeout": "300ms", "body_idle_timeout": "300ms"}
    limits = configs.limits(idle_timeout="1s", **times)
    with serving(echoes) as service, running(tmp_path / "sidecar", limits + config_of(pki, service)) as sidecar:
        busy = opened(sidecar, pki, client)
        began = time.monotonic()
        idle = opened(sidecar, pki, client)
        stop = threading.Event()
        failures: list[BaseException] = []

        def ping() -> None:
            try:
                while not stop.wait(0.05):
                    busy.send(b"ping")
                    assert busy.recv_exactly(4) == b"ping"
            except BaseException as error:
                failures.append(error)

        pinging = threading.Thread(target=ping)
        pinging.start()
        assert idle.recv_all() == b""  # an end, not a cut
        assert time.monotonic() - began >= 0.95
        eventually(lambda: sidecar.status()["totals"]["connections_active"] == 1)
        assert sidecar.last_access(access="request", reason="idle_timeout")["status"] == 101
        stop.set()
        pinging.join(10)
        assert failures == []
        busy.close()
        idle.close()


def test_an_old_tunnel_ends(pki: Pki, tmp_path: Path) -> None:
    client = pki.issue("client", "client.test")
    limits = configs.limits(max_connection_age="1s")
    with serving(echoes) as service, running(tmp_path / "sidecar", limits + config_of(pki, service)) as sidecar:
        peer = opened(sidecar, pki, client)
        exchanged = 0
        while True:
            try:
                peer.send(b"ping")
                if peer.recv() == b"":
                    break
            except ConnectionError:
                break
            exchanged += 1
            threading.Event().wait(0.02)
        assert exchanged > 0
        assert sidecar.last_access(access="request", reason="max_age")["status"] == 101
        peer.close()
