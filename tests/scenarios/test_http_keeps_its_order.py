"""What happens at once stays in order: failures on the spot, cut connections, readers that do not read."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, connected
from support.pki import Pki
from support.ports import free_port
from support.services import serving
from support.sidecar import running
from support.waiting import eventually


def numbered(count: int) -> list[bytes]:
    requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(count)]
    requests[-1] = requests[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    return requests


def test_a_pipeline_to_an_upstream_that_is_down_is_answered_whole(pki: Pki, tmp_path: Path) -> None:
    """Each request fails within the call that began it; that must neither nest nor reorder."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    config = configs.identity(server, pki.trust) + configs.terminate(f"127.0.0.1:{port}", protocol="http")
    with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
        writer = threading.Thread(target=peer.send, args=(b"".join(numbered(2000)),))
        writer.start()
        answer = peer.recv_all()
        writer.join(20)
        assert answer.count(b"HTTP/1.1 502 ") == 2000
        sidecar.counts(2000, "tlsidecar_requests_total", code="5xx")
        sidecar.settles()


def test_an_upstream_that_comes_back_amid_a_pipeline_gets_each_request_once_and_in_order(
    pki: Pki, tmp_path: Path
) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    seen: list[int] = []

    def answers(sock: socket.socket) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                seen.append(int(head.split(b" ")[1][1:]))
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    path = tmp_path / "service.sock"
    config = configs.identity(server, pki.trust) + configs.terminate(f"unix:{path}", protocol="http")
    with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
        writer = threading.Thread(target=peer.send, args=(b"".join(numbered(3000)),))
        writer.start()
        answer = peer.recv()
        with serving(answers, family=socket.AF_UNIX, path=str(path)):
            answer += peer.recv_all()
        writer.join(20)
        codes = [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]
        assert len(codes) == 3000
        assert seen == [number for number, code in enumerate(codes) if code == 200]
        assert set(codes) <= {200, 502}


def test_a_cut_connection_gives_its_place_back(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    waiting: list[socket.socket] = []
    go = threading.Event()

    def hangs(sock: socket.socket) -> None:
        if b"/hang" in sock.recv(65536):
            waiting.append(sock)
            go.wait(20)
        else:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with serving(hangs) as service:
        config = configs.limits(max_concurrent_requests=2) + configs.identity(server, pki.trust)
        config += configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            for number in range(4):
                with connected(sidecar.port(), pki.trust, client) as peer:
                    peer.send(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
                    eventually(lambda number=number: len(waiting) == number + 1)  # type: ignore[misc]
                    (open_one,) = sidecar.json("/v1/connections")["connections"]
                    assert sidecar.call("DELETE", f"/v1/connections/{open_one['id']}")[0] < 300
                    with pytest.raises(ConnectionError):
                        peer.recv_all()
                    sidecar.settles()
            go.set()
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert peer.recv_all().startswith(b"HTTP/1.1 200 ")

            def all_are_told() -> bool:
                lines = sorted(sidecar.access_lines(), key=lambda line: str(line["time"]))
                assert [line["reason"] for line in lines] == ["closed_by_admin"] * 4 + ["completed"]
                return True

            eventually(all_are_told)  # each worker writes its lines in its own time


def test_who_does_not_read_the_answers_gets_no_more_questions_in(pki: Pki, tmp_path: Path) -> None:
    """Ordinary exchanges take the shortest way; their answers must not pile up all the same."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    body = b"x" * 60_000
    served: list[int] = []

    def answers(sock: socket.socket) -> None:
        while sock.recv(65536):
            served.append(1)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with serving(answers) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            for asked in range(1, 601):
                peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                try:
                    eventually(lambda asked=asked: len(served) == asked, within_s=0.5, every_s=0.001)  # type: ignore[misc]
                except AssertionError:
                    break
            # The kernel's buffers hold a few megabytes; ours hold the high-water mark and one answer.
            assert asked < 550
            received = 0
            while received < asked * (len(body) + 41):
                received += len(peer.recv())
            assert len(served) == asked


def test_what_follows_the_101_at_once_arrives_whole(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    first = bytes(range(256)) * 900

    def agrees(sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65536)
        sock.sendall(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + first)
        digest = hashlib.sha256()
        while data := sock.recv(65536):
            digest.update(data)
        sock.sendall(digest.digest())

    with serving(agrees) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            ahead = bytes(range(255, -1, -1)) * 200
            peer.send(b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + ahead)
            head = _head(peer)
            assert head.startswith(b"HTTP/1.1 101 ")
            assert peer.recv_exactly(len(first)) == first
            peer.send(b"more")
            peer.end_writing()
            assert peer.recv_all() == hashlib.sha256(ahead + b"more").digest()
            sidecar.settles()


def _head(peer: Peer) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv_exactly(1)
    return head
