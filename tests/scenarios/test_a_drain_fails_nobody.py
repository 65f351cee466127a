"""TERM in the middle of HTTP traffic: every request that was taken is answered whole, the last answer on each
connection says so, and the process ends with 0."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path

from support import configs
from support.mtls import Alerted, Peer, connect
from support.pki import Pki
from support.services import serving
from support.sidecar import running
from support.waiting import eventually

CLIENTS = 8
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Service:
    """Answers each request in two parts; while it is told to hold, not before it may go on."""

    def __init__(self) -> None:
        self.holds, self.may_go_on = threading.Event(), threading.Event()
        self.held = 0
        self._lock = threading.Lock()

    def __call__(self, sock: socket.socket) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
            while b"\r\n\r\n" in data:
                _, _, data = data.partition(b"\r\n\r\n")
                if self.holds.is_set():
                    with self._lock:
                        self.held += 1
                    self.may_go_on.wait(20)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
                threading.Event().wait(0.01)
                sock.sendall(b" half")


def test_requests_under_way_are_answered(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    told, errors = [], []
    behind = Service()
    with serving(behind) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            answered = [0] * CLIENTS

            def ask(number: int) -> None:
                peer = connect(port, pki.trust, client)
                try:
                    while True:
                        answer = _asked(peer)
                        answered[number] += 1
                        if b"connection: close" in answer.lower():
                            assert peer.recv() == b""
                            told.append("Connection: close")
                            return
                except (AssertionError, ConnectionError, Alerted) as error:
                    errors.append(error)
                finally:
                    peer.close()

            threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(CLIENTS)]
            for thread in threads:
                thread.start()
            eventually(lambda: min(answered) >= 2)
            behind.holds.set()
            eventually(lambda: behind.held == CLIENTS)
            sidecar.signal(signal.SIGTERM)
            eventually(lambda: sidecar.status()["state"] == "draining")
            sidecar.status()  # each worker answers in the order it is asked: now all of them know
            behind.may_go_on.set()
            assert sidecar.wait() == 0
            for thread in threads:
                thread.join(20)
            assert errors == []
            assert told == ["Connection: close"] * CLIENTS


def _asked(peer: Peer) -> bytes:
    peer.send(REQUEST)
    return _answer(peer)


def _answer(peer: Peer) -> bytes:
    answer = b""
    while not answer.endswith(b"first half"):
        more = peer.recv()
        assert more, answer
        answer += more
    return answer
