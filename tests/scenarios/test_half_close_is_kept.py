"""One side may finish while the other goes on: in each direction what comes later still arrives."""

from __future__ import annotations

import socket
from pathlib import Path

from support import configs
from support.mtls import connected
from support.pki import Pki
from support.services import serving
from support.sidecar import running
from support.waiting import eventually


def test_the_client_finishes_first(pki: Pki, tmp_path: Path) -> None:
    """The service answers only once it has seen the end, as ``nc`` and many RPCs do."""

    def answers_at_the_end(sock: socket.socket) -> None:
        received = b""
        while data := sock.recv(65536):
            received += data
        sock.sendall(b"got %d bytes" % len(received) + b"." * 200_000)

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(answers_at_the_end) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"x" * 300_000)
            peer.end_writing()
            answer = peer.recv_all()
            assert answer.startswith(b"got 300000 bytes")
            assert len(answer) == len(b"got 300000 bytes") + 200_000
            sidecar.settles()
            sidecar.last_access(reason="completed")


def test_the_service_finishes_first(pki: Pki, tmp_path: Path) -> None:
    received: list[bytes] = []

    def speaks_first(sock: socket.socket) -> None:
        sock.sendall(b"that is all")
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65536):
            received.append(data)

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(speaks_first) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            assert peer.recv_all() == b"that is all"
            peer.send(b"y" * 300_000)
            peer.end_writing()
            eventually(lambda: sum(map(len, received)) == 300_000)
            sidecar.settles()


def test_a_silent_peer_is_not_awaited_for_ever(pki: Pki, tmp_path: Path) -> None:
    """After our close_notify the peer's is awaited, but not longer than the close timeout."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(lambda sock: sock.sendall(b"bye")) as service:
        config = configs.limits(close_timeout="200ms") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            assert peer.recv_all() == b"bye"
            sidecar.settles()
            sidecar.last_access(reason="close_timeout")
