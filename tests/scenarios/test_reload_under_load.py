"""Fifty reloads, one in three with bad material, while ten clients pump hashed data: nothing is lost."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from support import configs
from support.mtls import Peer, connect
from support.pki import Pair, Pki
from support.reloading import BusyClient, reload_under_load, shown_to
from support.services import echo, serving
from support.sidecar import running

CLIENTS = 10


class Client(BusyClient):
    """Pumps blocks through one connection after another and compares what comes back."""

    def __init__(self, port: int, pki: Pki, pair: Pair, stop: threading.Event, seed: int) -> None:
        super().__init__(stop, seed)
        self._arguments = (port, pki.trust, pair)

    def one_connection(self) -> None:
        peer = connect(*self._arguments)
        shown = peer.tls.get_peer_certificate(as_cryptography=True)
        assert shown is not None
        self.serials.add(shown.serial_number)
        for _ in range(self.random.randrange(1, 30)):
            self._exchange(peer)
        peer.end_writing()
        assert peer.recv_all() == b""
        peer.close()

    def _exchange(self, peer: Peer) -> None:
        block = self.random.randbytes(self.random.randrange(1, 40_000))
        peer.send(block)
        back = peer.recv_exactly(len(block))
        assert hashlib.sha256(back).digest() == hashlib.sha256(block).digest()
        self.exchanges += 1


def test_no_byte_is_lost_and_new_connections_see_the_newest(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    stranger_key = Pki(tmp_path / "elsewhere").issue("other", "localhost").key.read_bytes()
    with serving(echo) as service:
        # No polling: what is on disk is read when the test says so, and not in between.
        config = configs.identity(server, pki.trust, poll_interval="1h") + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()

            def prove(serial: int) -> None:
                assert shown_to(port, pki, client) == serial

            clients = reload_under_load(
                sidecar,
                pki,
                server,
                stranger_key,
                lambda stop: [Client(port, pki, client, stop, seed) for seed in range(CLIENTS)],
                prove,
            )
            assert len(set().union(*(thread.serials for thread in clients))) > 3
            sidecar.settles()
