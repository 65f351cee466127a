"""What a service sends on an idle connection, asked by nobody, is never taken for the answer to the next request: even
when it comes in the very moment in which the connection is to be used again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, connected, server_context
from support.pki import Pki
from support.raw_http import read_answer, request
from support.services import serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n%s"


class Poisoner:
    """Answers every request well, and says something more, once, when it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.done = threading.Event()

    def serve(self, peer: Peer | socket.socket) -> None:
        while peer.recv(65536):
            peer.send(ANSWER % b"good")
            if not self.done.is_set():
                assert self.go_on.wait(20)
                peer.send(ANSWER % b"evil")
                self.done.set()


@contextlib.contextmanager
def stopped(sidecar: Sidecar) -> Iterator[None]:
    """The process stands still meanwhile, so that all that comes then is there in one turn of its loop."""
    os.kill(sidecar.pid, signal.SIGSTOP)
    try:
        eventually(lambda: Path(f"/proc/{sidecar.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        yield
    finally:
        os.kill(sidecar.pid, signal.SIGCONT)


@pytest.mark.parametrize("first", ["the request", "the poison"])
def test_of_a_plain_service(first: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    poisoner = Poisoner()
    with serving(poisoner.serve) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": "1"}) as sidecar:
            port = sidecar.port()
            with connected(port, pki.trust, client) as one, connected(port, pki.trust, client) as other:
                one.send(request())
                assert read_answer(one).body == b"good"
                judge(sidecar, poisoner, other, first, service.port)


@pytest.mark.parametrize("first", ["the request", "the poison"])
def test_of_a_remote(first: str, pki: Pki, tmp_path: Path) -> None:
    ours, theirs = pki.issue("ours", "app.internal"), pki.issue("theirs", "localhost")
    poisoner = Poisoner()
    context = server_context(pki.trust, theirs)
    with serving(lambda sock: poisoner.serve(Peer(context, sock, server_side=True).handshake())) as service:
        config = configs.identity(ours, pki.trust) + configs.originate(f"localhost:{service.port}", protocol="http")
        with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": "1"}) as sidecar:
            address = ("127.0.0.1", sidecar.port())
            with socket.create_connection(address, 10) as one, socket.create_connection(address, 10) as other:
                one.sendall(request())
                assert read_answer(one).body == b"good"
                judge(sidecar, poisoner, other, first, service.port)


def unread(port: int) -> int:
    """How many bytes lie in sockets that are connected to ``port``, read by nobody."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if int(row[2].partition(":")[2], 16) == port)


def judge(sidecar: Sidecar, poisoner: Poisoner, other: Peer | socket.socket, first: str, port: int) -> None:
    eventually(lambda: sidecar.listener()["upstreams"][0]["idle"] == 1)
    with stopped(sidecar):
        if first == "the request":
            other.send(request())
        poisoner.go_on.set()
        assert poisoner.done.wait(20)
        eventually(lambda: unread(port) > 0)  # a busy machine takes its time between two sockets
        if first == "the poison":
            other.send(request())
    assert read_answer(other).body == b"good"
