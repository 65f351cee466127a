"""Many reloads while clients are busy: who the clients are is the scenario's, what a reload must do is here."""

from __future__ import annotations

import random
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

from support.mtls import connect
from support.pki import Pair, Pki, replace
from support.sidecar import Sidecar
from support.waiting import eventually

RELOADS = 50


class BusyClient(threading.Thread):
    """Works until it is told to stop; what went wrong is in ``error``, and how much was done in ``exchanges``."""

    def __init__(self, stop: threading.Event, seed: int) -> None:
        super().__init__(daemon=True)
        self._stop_asked = stop
        self.random = random.Random(seed)
        self.exchanges = 0
        self.serials: set[int] = set()  # of the certificates it was shown
        self.error: BaseException | None = None

    @abstractmethod
    def one_connection(self) -> None:
        """Open a connection, use it for some exchanges, close it; raises on anything lost."""

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self.one_connection()
        except BaseException as error:
            self.error = error


def reload_under_load(
    sidecar: Sidecar,
    pki: Pki,
    server: Pair,
    stranger_key: bytes,
    make_clients: Callable[[threading.Event], Sequence[BusyClient]],
    prove: Callable[[int], None],
) -> Sequence[BusyClient]:
    """Fifty reloads of ``server``'s pair, one in three with a key that does not fit; ``prove(serial)`` is called after
    each good one and must find it in use on a new connection. Every client must have got on, without an error."""
    stop = threading.Event()
    clients = make_clients(stop)
    for client in clients:
        client.start()

    def has_done(count: int) -> bool:
        return sum(client.exchanges for client in clients) >= count or any(client.error for client in clients)

    try:
        good_key = server.key.read_bytes()
        generation = 1
        for number in range(RELOADS):
            # All through the reloads there is work under way.
            enough = sum(client.exchanges for client in clients) + len(clients) // 2
            eventually(partial(has_done, enough), 30, 0.002)
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
                prove(int(answer["attempt"]["serial"], 16))
        eventually(lambda: all(client.exchanges > 10 or client.error for client in clients), 30)
    finally:
        stop.set()
        for client in clients:
            client.join(30)
    failed = [client.error for client in clients if client.error]
    assert not failed, failed  # said here: pytest does not rewrite what stands in this module
    assert not any(client.is_alive() for client in clients)
    assert sidecar.json("/v1/certificates")["generation"] == generation
    sidecar.counts(RELOADS // 3, "tlsidecar_reloads_total", outcome="refused", reason="key_mismatch")
    return clients


def none_failed(sidecar: Sidecar) -> None:
    """Every request was answered with success, and by the upstream."""
    total = "tlsidecar_requests_total"
    eventually(lambda: sidecar.metric(total) == sidecar.metric(total, code="2xx"))
    assert sidecar.metric("tlsidecar_upstream_errors_total") == 0


def shown_to(port: int, pki: Pki, client: Pair) -> int:
    """The serial number of the certificate that a new connection is shown."""
    peer = connect(port, pki.trust, client)
    shown = peer.tls.get_peer_certificate(as_cryptography=True)
    peer.close()
    assert shown is not None
    return shown.serial_number
