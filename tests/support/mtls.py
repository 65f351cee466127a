"""A mutual-TLS peer on pyOpenSSL: it can half-close, reset, and tell which alert it got. Blocking, with timeouts."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from OpenSSL import SSL

from support.pki import Pair

TIMEOUT_S = 20.0


class Alerted(Exception):
    """The other side ended the connection with a fatal alert: its name, as OpenSSL words it."""


class Peer:
    """One TLS connection over a socket that is already connected."""

    def __init__(self, context: SSL.Context, sock: socket.socket, *, server_side: bool = False, name: str = "") -> None:
        self.sock = sock
        self._lock = threading.Lock()  # OpenSSL's objects are not for two threads at once
        sock.setblocking(False)
        self.tls = SSL.Connection(context, sock)
        if server_side:
            self.tls.set_accept_state()
        else:
            self.tls.set_connect_state()
            if name:
                self.tls.set_tlsext_host_name(name.encode())

    def handshake(self) -> Peer:
        self._retry(self.tls.do_handshake)
        return self

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._retry(self.tls.send, view[:65536]) :]

    def recv(self, most: int = 65536) -> bytes:
        """Some bytes; empty after close_notify. Raises :class:`Alerted`, or ConnectionError when it was cut."""
        try:
            data: bytes = self._retry(self.tls.recv, most)
        except SSL.ZeroReturnError:
            return b""
        return data

    def recv_all(self) -> bytes:
        parts = []
        while data := self.recv():
            parts.append(data)
        return b"".join(parts)

    def recv_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.recv(count - len(data))
            if not more:
                raise AssertionError(f"ended after {len(data)} of {count} bytes")
            data += more
        return data

    def end_writing(self) -> None:
        """close_notify: no more from us."""
        self.tls.shutdown()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    def _retry(self, operation, *arguments):  # type: ignore[no-untyped-def]
        while True:
            try:
                with self._lock:
                    return operation(*arguments)
            except SSL.WantReadError:
                wanted = select.POLLIN
            except SSL.WantWriteError:
                wanted = select.POLLOUT
            except SSL.ZeroReturnError:
                raise
            except SSL.SysCallError as error:
                raise ConnectionError(*error.args) from None
            except SSL.Error as error:
                raise Alerted(error.args[0][0][2] if error.args and error.args[0] else "") from None
            poll = select.poll()  # select(2) takes no descriptor from 1,024 on
            poll.register(self.sock, wanted)
            if not poll.poll(TIMEOUT_S * 1000):
                raise TimeoutError(f"nothing within {TIMEOUT_S} s")


def client_context(trust: Path, pair: Pair | None = None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(trust))
    context.set_verify(SSL.VERIFY_PEER, lambda *seen: bool(seen[4]))
    _load(context, pair)
    return context


def server_context(trust: Path, pair: Pair, *, asks: bool = True) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.load_verify_locations(str(trust))
    context.set_session_id(b"test")
    if asks:
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *seen: bool(seen[4]))
    _load(context, pair)
    return context


def connect(
    port: int, trust: Path, pair: Pair | None = None, *, name: str = "localhost", protocols: Sequence[bytes] = ()
) -> Peer:
    """A finished handshake with 127.0.0.1:port, as the client sees it: in TLS 1.3 the server may still refuse."""
    sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        context = client_context(trust, pair)
        if protocols:
            context.set_alpn_protos(list(protocols))
        return Peer(context, sock, name=name).handshake()
    except BaseException:
        sock.close()
        raise


@contextlib.contextmanager
def connected(
    port: int, trust: Path, pair: Pair | None = None, *, name: str = "localhost", protocols: Sequence[bytes] = ()
) -> Iterator[Peer]:
    peer = connect(port, trust, pair, name=name, protocols=protocols)
    try:
        yield peer
    finally:
        peer.close()


def _load(context: SSL.Context, pair: Pair | None) -> None:
    if pair is not None:
        context.use_certificate_chain_file(str(pair.cert))
        context.use_privatekey_file(str(pair.key))
