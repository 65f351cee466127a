"""A reset, or an end without close_notify, is never passed on as a clean end; and nothing is left behind."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
            sidecar.counts(1, "tlsidecar_connections_total", outcome="truncated")


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

            def once(_number: int) -> None:
                peer = connect(port, pki.trust, client)
                peer.send(b"!")
                if who == "peer":
                    peer.recv_exactly(100_000)
                    peer.reset()
                else:
                    with pytest.raises(ConnectionError):
                        peer.recv_all()
                    peer.close()

            with ThreadPoolExecutor(4) as executor:
                list(executor.map(once, range(40)))
            sidecar.settles()
            eventually(lambda: sidecar.descriptors() <= before)


@pytest.mark.parametrize("ambassador", [False, True])
def test_what_a_service_said_before_its_reset_arrives(ambassador: bool, pki: Pki, tmp_path: Path) -> None:
    """A service that refuses an upload answers and closes over the rest: that is a reset, to which the answer is not
    lost, and which does not pass for an end."""
    answer = b"413 " * 7500

    def refuses(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(answer)

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(serving(refuses))
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        sidecar = stack.enter_context(running(tmp_path / "sidecar", config))
        port = sidecar.port()
        if ambassador:
            config = configs.identity(client, pki.trust) + configs.originate(f"localhost:{port}")
            port = stack.enter_context(running(tmp_path / "ambassador", config)).port()

        def uploads() -> tuple[int, bool]:
            """How much of the answer came, and whether a reset came after it."""
            if ambassador:
                sock = socket.create_connection(("127.0.0.1", port), 20)
                return _upload(sock.sendall, sock.recv, sock.close)
            peer = connect(port, pki.trust, client)
            return _upload(peer.send, peer.recv, peer.close)

        with ThreadPoolExecutor(6) as executor:
            ends = list(executor.map(lambda _: uploads(), range(12)))
        assert set(ends) == {(len(answer), True)}
        sidecar.last_access(reason="upstream_reset")


def _upload(
    send: Callable[[bytes], object], receive: Callable[[int], bytes], close: Callable[[], None]
) -> tuple[int, bool]:
    """All is sent before anything is read, as most clients do."""
    count = 0
    try:
        for _ in range(12):
            send(b"u" * 65536)
        while data := receive(65536):
            count += len(data)
    except ConnectionError:
        return count, True
    finally:
        close()
    return count, False
