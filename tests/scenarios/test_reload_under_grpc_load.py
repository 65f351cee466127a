"""Fifty reloads, one in three with bad material, while gRPC clients keep calling on connections that are also replaced
for their age: no call fails, and a new connection gets the newest good certificate."""

from __future__ import annotations

import threading
from pathlib import Path

from support import configs
from support.grpc_calls import SERVICE, channel, credentials, grpc_service, unary
from support.pki import Pair, Pki
from support.reloading import BusyClient, none_failed, reload_under_load, shown_to
from support.sidecar import running

CLIENTS = 4


class Client(BusyClient):
    def __init__(self, port: int, stop: threading.Event, seed: int, *, pki: Pki, pair: Pair) -> None:
        super().__init__(stop, seed)
        self._port = port
        self._credentials = credentials(pki, pair)

    def one_connection(self) -> None:
        with channel(self._port, self._credentials) as through:
            for _ in range(self.random.randrange(1, 60)):
                body = self.random.randbytes(self.random.randrange(1, 50_000))
                assert unary(through)(body, timeout=20) == body
                many = through.unary_stream(f"/{SERVICE}/ServerStream")(b"7", timeout=20)
                assert list(many) == [b"%d" % number for number in range(7)]
                self.exchanges += 1


def test_no_call_fails_and_no_stream_is_lost(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    stranger_key = Pki(tmp_path / "elsewhere").issue("other", "localhost").key.read_bytes()
    with grpc_service() as (_, address):
        config = configs.identity(server, pki.trust, poll_interval="1h")
        config += configs.terminate(address, protocol="grpc", max_connection_age="500ms")
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
