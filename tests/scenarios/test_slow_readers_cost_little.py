"""A reader that stops reads nothing more into our memory than the high-water marks, and is given up in the end."""

from __future__ import annotations

import contextlib
import socket
from functools import partial
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import Peer, client_context
from support.pki import Pki
from support.services import serving
from support.sidecar import running
from support.waiting import eventually
from unit.dataplane.http2.talk import OK, head

from tlsidecar.dataplane.http2 import frames

READERS = 25
KIB = 1024


# The largest windows that there are, of the stream and of the connection, and a request.
_ASKS = b"".join(
    (
        frames.PREFACE,
        frames.settings([(frames.INITIAL_WINDOW_SIZE, frames.MAX_WINDOW)]),
        frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW),
        head(1),
    )
)


def _floods(sock: socket.socket) -> None:
    block = bytes(65536)
    while True:
        sock.sendall(block)


def _floods_a_stream(sock: socket.socket) -> None:
    said = sock.recv(65536)
    while b"a.test" not in said:  # the authority of what it is asked
        said += sock.recv(65536)
    sock.sendall(frames.settings([]) + frames.SETTINGS_ACK + head(1, OK, end=False))
    block = frames.data(1, bytes(frames.MAX_FRAME_BYTES), end_stream=False)
    while True:
        sock.sendall(block)


_SERVICES = {"to the peer": _floods, "to an HTTP/2 client": _floods_a_stream}


@pytest.mark.parametrize("direction", [*_SERVICES, "to the service"])
def test_memory_is_bounded_and_the_time_too(direction: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    held: list[socket.socket] = []

    def reads_nothing(sock: socket.socket) -> None:
        held.append(sock.dup())

    is_http2 = direction == "to an HTTP/2 client"
    with serving(_SERVICES.get(direction, reads_nothing)) as service:
        config = configs.limits(write_timeout="4s") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address, **({"protocol": "http", "http2": "only"} if is_http2 else {}))
        with running(tmp_path / "sidecar", config) as sidecar, contextlib.ExitStack() as stack:
            before = sidecar.resident_bytes()
            context = client_context(pki.trust, client)
            if is_http2:
                context.set_alpn_protos([b"h2"])
            peers = []
            for _ in range(READERS):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", sidecar.port()), 10))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                peers.append(Peer(context, sock, name="localhost").handshake())
                if is_http2:
                    peers[-1].send(_ASKS)
            eventually(lambda: sidecar.status()["totals"]["connections_active"] == READERS)

            most = [0]

            def stands_still() -> bool:
                most[0] = max(most[0], sidecar.resident_bytes() - before)
                was = _moved(sidecar)
                if direction == "to the service":
                    for peer in peers:
                        _send_what_goes(peer)
                return was != (0, 0) and _moved(sidecar) == was

            eventually(stands_still, every_s=0.2)
            grown = max(most[0], sidecar.resident_bytes() - before)
            # Twice the high-water mark of 64 KiB, and what a TLS connection takes itself.
            assert grown < READERS * (2 * 64 + 100) * KIB + 2048 * KIB, f"{grown // KIB} KiB"
            busy_s = sidecar.cpu_s()
            # Seldom asked: each answer is work for it, too.
            given_up = partial(sidecar.metric, "tlsidecar_connections_total", outcome="slow_reader")
            eventually(lambda: given_up() == READERS, every_s=0.25)
            assert sidecar.cpu_s() - busy_s < 0.7
            for sock in held:
                sock.close()
            sidecar.settles()


def _send_what_goes(peer: Peer) -> None:
    with contextlib.suppress(SSL.Error):  # it takes no more, or is given up meanwhile
        while True:
            peer.tls.send(bytes(16384))


def _moved(sidecar) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    rows = sidecar.json("/v1/connections?limit=1000")["connections"]
    return sum(row["bytes_in"] for row in rows), sum(row["bytes_out"] for row in rows)
