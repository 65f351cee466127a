"""Hundreds of idle connections: little memory each, no processor time, and a new one is served at once.

The figures for thousands are in docs/performance.md (``make bench``); here it is shown that the cost is per connection
and small.
"""

from __future__ import annotations

import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import configs
from support.mtls import connect
from support.pki import Pair, Pki
from support.services import reset, serving
from support.sidecar import running
from support.waiting import eventually

IDLE = 300
KIB = 1024


def test_three_hundred(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")

    def echoes(sock: socket.socket) -> None:
        while data := sock.recv(100):
            sock.sendall(data)

    with serving(echoes) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            alone_s = _newcomer_s(port, pki, client)
            sidecar.settles()
            before = sidecar.resident_bytes()
            with ThreadPoolExecutor(8) as pool:
                peers = list(pool.map(lambda _: connect(port, pki.trust, client), range(IDLE)))
            eventually(lambda: sidecar.status()["totals"]["connections_active"] == IDLE)
            assert (sidecar.resident_bytes() - before) / IDLE < 100 * KIB
            busy_s, began = sidecar.cpu_s(), time.monotonic()
            time.sleep(1.5)  # nothing is awaited: this is the time over which idleness is measured
            assert sidecar.cpu_s() - busy_s < 0.05 * (time.monotonic() - began)
            # Who is held up by them is so each time; a machine that is busy makes some wait.
            eventually(lambda: _newcomer_s(port, pki, client) < 3 * alone_s + 0.03)
            for peer in peers:
                peer.close()
            sidecar.settles()


def _newcomer_s(port: int, pki: Pki, client: Pair) -> float:
    """The median time in which a new connection is served."""
    times = []
    for _ in range(10):
        asked = time.monotonic()
        peer = connect(port, pki.trust, client)
        peer.send(b"!")
        assert peer.recv_exactly(1) == b"!"
        times.append(time.monotonic() - asked)
        peer.close()
    return statistics.median(times)


@pytest.mark.parametrize("who", ["peer", "service"])
def test_forty_resets_while_idle(who: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    held: list[socket.socket] = []

    def holds(sock: socket.socket) -> None:
        held.append(sock.dup())  # before the peer can know of it
        sock.sendall(b"hello")

    with serving(holds) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            peers = [connect(sidecar.port(), pki.trust, client) for _ in range(40)]
            for peer in peers:
                assert peer.recv_exactly(5) == b"hello"
            for end in peers if who == "peer" else held:
                if who == "peer":
                    end.reset()  # type: ignore[union-attr]
                else:
                    reset(end)  # type: ignore[arg-type]
            sidecar.settles()
            reason = "peer_reset" if who == "peer" else "upstream_reset"
            sidecar.counts(40, "tlsidecar_connections_total", outcome=reason)
            for peer in peers:
                if who == "service":
                    with pytest.raises(ConnectionError):
                        peer.recv_all()
                peer.close()
            for sock in held:
                sock.close()
