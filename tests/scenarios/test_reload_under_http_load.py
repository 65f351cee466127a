"""Fifty reloads, one in three with bad material, while ten HTTP clients keep their connections busy with bodies of
every kind: no request fails, no byte changes, and a new connection gets the newest good certificate, on either side."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from pathlib import Path

from support import configs
from support.http_bodies import body_service, exchange
from support.pki import Pair, Pki
from support.reloading import BusyClient, none_failed, reload_under_load, shown_to
from support.sidecar import running

CLIENTS = 10


class Client(BusyClient):
    """Keep-alive connections: over TLS with a certificate of its own, or in the clear to an ambassador."""

    def __init__(self, port: int, stop: threading.Event, seed: int, *, pki: Pki | None, pair: Pair | None) -> None:
        super().__init__(stop, seed)
        self._port = port
        self._context = pki.client_context(pair) if pki is not None else None

    def one_connection(self) -> None:
        connection = (
            http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            if self._context is None
            else http.client.HTTPSConnection("localhost", self._port, timeout=20, context=self._context)
        )
        with contextlib.closing(connection):
            connection.connect()
            kept = connection.sock
            for _ in range(self.random.randrange(1, 30)):
                exchange(connection, self.random)
                self.exchanges += 1
            assert connection.sock is kept, "the connection was not kept"


def test_a_terminating_sidecar_changes_its_certificate_unnoticed(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    stranger_key = Pki(tmp_path / "elsewhere").issue("other", "localhost").key.read_bytes()
    with body_service() as service:
        config = configs.identity(server, pki.trust, poll_interval="1h")
        config += configs.terminate(service, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()

            def prove(serial: int) -> None:
                assert shown_to(port, pki, client) == serial

            reload_under_load(
                sidecar,
                pki,
                server,
                stranger_key,
                lambda stop: [Client(port, stop, seed, pki=pki, pair=client) for seed in range(CLIENTS)],
                prove,
            )
            none_failed(sidecar)
            sidecar.settles()


def test_an_ambassador_changes_its_certificate_unnoticed(pki: Pki, tmp_path: Path) -> None:
    """Plain clients, an originating sidecar that reloads, a terminating one that sees by whom it is called."""
    inner_pair, outer_pair = pki.issue("inner", "localhost"), pki.issue("server", "localhost")
    stranger_key = Pki(tmp_path / "elsewhere").issue("other", "localhost").key.read_bytes()
    with body_service() as service:
        inner = configs.identity(inner_pair, pki.trust) + configs.terminate(service, protocol="http")
        with running(tmp_path / "inner", inner) as inside:
            outer = configs.identity(outer_pair, pki.trust, poll_interval="1h")
            outer += configs.originate(f"localhost:{inside.port()}", protocol="http")
            with running(tmp_path / "outer", outer) as outside:
                port = outside.port()

                def prove(serial: int) -> None:
                    leaf = outside.json("/v1/certificates")["leaf"]
                    assert int(leaf["serial"], 16) == serial
                    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as asked:
                        asked.request("GET", "/bytes?seed=1&count=1")
                        response = asked.getresponse()
                        response.read()
                    # Upstream connections made under the old certificate are not used for new requests.
                    seen = re.search("Hash=([0-9a-f]{64})", response.headers["X-Seen"])
                    assert seen is not None
                    assert seen[1] == leaf["sha256"]

                reload_under_load(
                    outside,
                    pki,
                    outer_pair,
                    stranger_key,
                    lambda stop: [Client(port, stop, seed, pki=None, pair=None) for seed in range(CLIENTS)],
                    prove,
                )
                for sidecar in (outside, inside):
                    none_failed(sidecar)
                outside.settles()
            inside.settles()
