"""What an ambassador talks to, and the application that talks through it."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

from OpenSSL import SSL

from support.mtls import Alerted, Peer, server_context
from support.pki import Pair
from support.services import Service, serving


@contextlib.contextmanager
def remote(trust: Path, pair: Pair, *, asks: bool = True, seen: list[object] | None = None) -> Iterator[Service]:
    """A mutual-TLS server that echoes."""
    context = server_context(trust, pair, asks=asks)

    def handle(sock: socket.socket) -> None:
        peer = Peer(context, sock, server_side=True)
        try:
            peer.handshake()
            if seen is not None:
                seen.append(peer.tls.get_peer_certificate(as_cryptography=True))
                seen.append(peer.tls.get_servername())
            while data := peer.recv():
                peer.send(data)
            peer.end_writing()
        except (SSL.Error, OSError, Alerted):
            pass

    with serving(handle) as service:
        yield service


def talk(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(data)
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            raise ConnectionResetError(errno.ECONNRESET, "it was reset before we had ended") from None
        received = b""
        while more := sock.recv(65536):
            received += more
        return received
