"""Fifty reloads, one in three with bad material, while ten clients pump hashed data: nothing is lost."""

from __future__ import annotations

import hashlib
import random
import threading
from pathlib import Path

from support import configs
from support.mtls import Peer, connect
from support.pki import Pki, replace
from support.services import echo, serving
from support.sidecar import running

CLIENTS = 10
RELOADS = 50


class Client(threading.Thread):
    """Pumps blocks through one connection after another and compares what comes back."""

    def __init__(self, port: int, pki: Pki, pair, stop: threading.Event, seed: int) -> None:  # type: ignore[no-untyped-def]
        super().__init__(daemon=True)
        self._arguments = (port, pki.trust, pair)
        self._stop_asked = stop
        self._random = random.Random(seed)
        self.exchanges = 0
        self.serials: set[int] = set()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                peer = connect(*self._arguments)
                shown = peer.tls.get_peer_certificate(as_cryptography=True)
                assert shown is not None
                self.serials.add(shown.serial_number)
                for _ in range(self._random.randrange(1, 30)):
                    self._exchange(peer)
                peer.end_writing()
                assert peer.recv_all() == b""
                peer.close()
        except BaseException as error:
            self.error = error

    def _exchange(self, peer: Peer) -> None:
        block = self._random.randbytes(self._random.randrange(1, 40_000))
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
            stop = threading.Event()
            clients = [Client(sidecar.port(), pki, client, stop, seed) for seed in range(CLIENTS)]
            for thread in clients:
                thread.start()
            good_key = server.key.read_bytes()
            generation = 1
            for number in range(RELOADS):
                if number % 3 == 2:
                    replace(server.key, stranger_key, mode=0o600)
                    status, answer = sidecar.call("POST", "/v1/reload")
                    assert (status, answer["outcome"]) == (409, "refused")
                    assert answer["attempt"]["reason"] == "key_mismatch"
                    replace(server.key, good_key, mode=0o600)
                else:
                    pki.issue("server", "localhost")
                    good_key = server.key.read_bytes()
                    status, answer = sidecar.call("POST", "/v1/reload")
                    assert (status, answer["outcome"]) == (200, "applied")
                    generation += 1
                    serial = answer["attempt"]["serial"]
                    peer = connect(sidecar.port(), pki.trust, client)
                    shown = peer.tls.get_peer_certificate(as_cryptography=True)
                    assert shown is not None
                    assert shown.serial_number == int(serial, 16)
                    peer.close()
            stop.set()
            for thread in clients:
                thread.join(30)
            assert [thread.error for thread in clients if thread.error] == []
            assert all(thread.exchanges > 10 for thread in clients)
            assert len(set().union(*(thread.serials for thread in clients))) > 3
            certificates = sidecar.json("/v1/certificates")
            assert certificates["generation"] == generation
            assert sidecar.metric("tlsidecar_reloads_total", outcome="refused", reason="key_mismatch") == RELOADS // 3
            sidecar.settles()
