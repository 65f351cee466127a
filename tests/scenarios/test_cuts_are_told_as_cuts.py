"""A reset, or an end without close_notify, is never passed on as a clean end; and nothing is left behind."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from support import configs
from support.mtls import connect, connected
from support.pki import Pki
from support.services import reset, serving
from support.sidecar import running
from support.waiting import eventually


class Recorder:
    """A service that says so when it has something, reads to the end and remembers how it came."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def __call__(self, sock: socket.socket) -> None:
        try:
            while sock.recv(65536):
                sock.sendall(b"ok")
            self.ends.append("clean")
        except ConnectionResetError:
            self.ends.append("reset")


def test_a_fin_without_close_notify_is_a_truncation(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    recorder = Recorder()
    with serving(recorder) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            peer = connect(sidecar.port(), pki.trust, client)
            peer.send(b"half of a messa")
            # Unread bytes would make the close a reset; what is wanted here is a FIN.
            assert peer.recv() == b"ok"
            peer.close()
            sidecar.settles()
            sidecar.last_access(reason="truncated")
            eventually(lambda: recorder.ends == ["reset"])

            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(b"a whole message")
                peer.end_writing()
                assert peer.recv_all() == b"ok"
            eventually(lambda: recorder.ends == ["reset", "clean"])
            assert sidecar.metric("tlsidecar_connections_total", outcome="truncated") == 1


def test_a_reset_of_the_service_cuts_the_peer(pki: Pki, tmp_path: Path) -> None:
    def answers_then_resets(sock: socket.socket) -> None:
        sock.recv(10)
        reset(sock)

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(answers_then_resets) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(b"x" * 10)
            with pytest.raises(ConnectionError):
                peer.recv_all()
            sidecar.settles()
            sidecar.last_access(reason="upstream_reset")


@pytest.mark.parametrize("who", ["peer", "service"])
def test_forty_resets_in_mid_transfer_leave_nothing(who: str, pki: Pki, tmp_path: Path) -> None:
    def floods(sock: socket.socket) -> None:
        sock.recv(1)
        for _ in range(20 if who == "service" else 10_000):
            sock.sendall(b"z" * 65536)
        reset(sock)

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(floods) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            connect(port, pki.trust, client).reset()
            sidecar.settles()
            before = sidecar.descriptors()
            for _ in range(40):
                peer = connect(port, pki.trust, client)
                peer.send(b"!")
                if who == "peer":
                    peer.recv_exactly(100_000)
                    peer.reset()
                else:
                    with pytest.raises(ConnectionError):
                        peer.recv_all()
                    peer.close()
            sidecar.settles()
            eventually(lambda: sidecar.descriptors() <= before)


def test_an_answer_before_the_upload_is_over_is_delivered(pki: Pki, tmp_path: Path) -> None:
    """A service that refuses an upload answers and closes: the answer must not be lost in the reset that follows."""

    def refuses(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(b"413 too much")
        sock.close()

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(refuses) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            writer = threading.Thread(target=_send_until_it_fails, args=(peer,))
            peer.send(b"u" * 2000)
            assert peer.recv_exactly(12) == b"413 too much"
            writer.start()
            writer.join(20)
            assert not writer.is_alive()
        with running(tmp_path / "again", config) as sidecar:
            assert sidecar.status()["state"] == "ready"


def _send_until_it_fails(peer) -> None:  # type: ignore[no-untyped-def]
    try:
        for _ in range(50):
            peer.send(b"u" * 65536)
    except (ConnectionError, TimeoutError):
        pass
