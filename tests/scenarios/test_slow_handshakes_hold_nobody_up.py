"""A hundred peers that never finish their handshake: each is closed in time, and a good one hardly notices."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from pathlib import Path

import pytest
from support import configs
from support.hello import client_hello
from support.mtls import connect
from support.pki import Pair, Pki
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

SLOW = 100
HANDSHAKE_TIMEOUT_S = 2.0


def handshake_s(sidecar: Sidecar, pki: Pki, client: Pair) -> float:
    """The median of a few whole handshakes, each proved by a byte that comes back."""
    port, times = sidecar.port(), []
    for _ in range(15):
        began = time.monotonic()
        peer = connect(port, pki.trust, client)
        peer.send(b"!")
        assert peer.recv_exactly(1) == b"!"
        times.append(time.monotonic() - began)
        peer.end_writing()
        peer.recv_all()
        peer.close()
    return statistics.median(times)


def timed_out(sidecar: Sidecar) -> int:
    return int(sidecar.metric("tlsidecar_refusals_total", reason="handshake_timeout"))


def _dribble(socks: list[socket.socket], hello: bytes, over: threading.Event) -> None:
    for at in range(len(hello)):
        for sock in socks:
            try:
                sock.send(hello[at : at + 1])
            except OSError:
                continue
        if over.wait(0.1):
            return


@pytest.mark.parametrize("kind", ["silent", "a byte at a time", "stalls after the ServerHello"])
def test_they_are_closed_in_time(kind: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    hello = client_hello(pki.trust, client)
    over = threading.Event()
    with serving(echo) as service:
        config = configs.limits(handshake_timeout=f"{HANDSHAKE_TIMEOUT_S:g}s") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            idle_s = handshake_s(sidecar, pki, client)
            began = time.monotonic()
            socks = [socket.create_connection(("127.0.0.1", sidecar.port()), 10) for _ in range(SLOW)]
            thread = threading.Thread(target=_dribble, args=(socks, hello, over))
            if kind == "a byte at a time":
                thread.start()
            elif kind == "stalls after the ServerHello":
                for sock in socks:
                    sock.sendall(hello)
                for sock in socks:
                    assert sock.recv(5)[0] == 0x16
            eventually(lambda: sidecar.listener()["handshakes_active"] + timed_out(sidecar) == SLOW)
            opened = time.monotonic()
            # On a quiet machine 1.0 to 1.3 times; the allowance is for a busy one, and for this test's own threads.
            assert handshake_s(sidecar, pki, client) < 5 * idle_s + 0.1
            for sock in socks:
                try:
                    while sock.recv(65536):
                        pass
                except ConnectionResetError:
                    pass
            assert time.monotonic() - began > HANDSHAKE_TIMEOUT_S - 0.5
            assert time.monotonic() - opened < HANDSHAKE_TIMEOUT_S + 5
            over.set()
            for sock in socks:
                sock.close()
            if thread.ident:
                thread.join(10)
            eventually(lambda: timed_out(sidecar) == SLOW)
            sidecar.settles()
