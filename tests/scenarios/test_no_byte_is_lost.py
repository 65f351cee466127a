"""Bytes arrive as they were sent: a lot both ways at once, and one at a time."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from pathlib import Path

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running

MIB = 1024 * 1024


@pytest.mark.parametrize("through", ["terminate", "originate and terminate"])
def test_64_mib_each_way_at_once(through: str, pki: Pki, tmp_path: Path) -> None:
    leaf, client = pki.issue("both", "localhost"), pki.issue("client", "client.test")
    block = random.Random(1).randbytes(MIB)
    with serving(echo) as service:
        config = configs.identity(leaf, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "inner", config) as sidecar:
            if through == "terminate":
                with connected(sidecar.port(), pki.trust, client) as peer:
                    _pump(peer.send, peer.recv, peer.end_writing, block)
            else:
                outer_config = configs.identity(leaf, pki.trust) + configs.originate(f"localhost:{sidecar.port()}")
                with running(tmp_path / "outer", outer_config) as outer:
                    sock = socket.create_connection(("127.0.0.1", outer.port()), 20)
                    with sock:
                        _pump(sock.sendall, lambda: sock.recv(65536), lambda: sock.shutdown(socket.SHUT_WR), block)
                    outer.settles()
            sidecar.settles()
            sidecar.last_access(bytes_in=64 * MIB, bytes_out=64 * MIB, reason="completed")


def _pump(send, receive, end, block: bytes) -> None:  # type: ignore[no-untyped-def]
    """64 blocks out while they come back, compared by digest."""
    sent, received = hashlib.sha256(), hashlib.sha256()

    def write() -> None:
        for number in range(64):
            rotated = block[number:] + block[:number]
            sent.update(rotated)
            send(rotated)
        end()

    writer = threading.Thread(target=write)
    writer.start()
    count = 0
    while data := receive():
        count += len(data)
        received.update(data)
    writer.join(30)
    assert count == 64 * MIB
    assert received.digest() == sent.digest()


def test_one_byte_at_a_time(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            for number in range(2000):
                peer.send(bytes([number % 251]))
            peer.end_writing()
            assert peer.recv_all() == bytes(number % 251 for number in range(2000))
