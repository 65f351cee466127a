"""Two hundred admin clients at once, slow ones and hostile ones: the operator is served, and so is the traffic."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from pathlib import Path

from support import configs
from support.mtls import Peer, connected
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import Sidecar, running

MANY = 200

HOSTILE = {
    "ten megabytes": b"POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 10485760\r\n\r\n" + b"[" * 100_000,
    "ten thousand deep": b"POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 20000\r\n\r\n" + b"[" * 10_000 + b"]" * 10_000,
    "a NUL in the path": b"GET /v1/\0status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "not UTF-8": b"PUT /v1/log-level HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 12\r\n\r\n" + b'{"level":"\xff"'[:12],
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00",
    "from a browser": b"POST /v1/shutdown HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil\r\n"
    b"Content-Length: 0\r\n\r\n",
}


def _exchange_s(peer: Peer, times: int = 40) -> float:
    taken = []
    for _ in range(times):
        began = time.monotonic()
        peer.send(b"!")
        assert peer.recv_exactly(1) == b"!"
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def _admin(sidecar: Sidecar) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(20)
    sock.connect(str(sidecar.socket_path))
    return sock


def test_many_slow_and_hostile(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            connected(sidecar.port(), pki.trust, client) as peer,
            contextlib.ExitStack() as stack,
        ):
            idle_s = _exchange_s(peer)
            for _ in range(20):  # more than there are places: they say half a word and stop
                stack.enter_context(_admin(sidecar)).sendall(b"GET /v1/st")
            for kind, sent in HOSTILE.items():
                with _admin(sidecar) as sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    sock.sendall(sent)
                    status = sock.recv(4096).split(b" ")[1:2]
                    assert not status or status[0][:1] == b"4", (kind, status)
            answers: list[str] = []

            def ask() -> None:
                answers.append(sidecar.status()["state"])

            threads = [threading.Thread(target=ask, daemon=True) for _ in range(MANY)]
            for thread in threads:
                thread.start()
            meanwhile_s = _exchange_s(peer)
            for thread in threads:
                thread.join(30)
            assert answers == ["ready"] * MANY
            # The test's own threads compete with it for the machine: what is shown is that nothing waits for them.
            assert meanwhile_s < 20 * idle_s + 0.25
            with _admin(sidecar) as sock:  # asks for much, reads none of it, leaves
                sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            assert sidecar.status()["state"] == "ready"
            assert sidecar.status()["log_level"] == "info"
