"""TLS on a socket by pyOpenSSL's public API: the twin of :mod:`.stream_fast`, and its fallback."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence

from OpenSSL import SSL, crypto

from tlsidecar.dataplane.stream import (
    BUFFER,
    DONE,
    FAILED,
    POST_HANDSHAKE_EVENTS,
    VERIFIED,
    VIEW,
    WANT_READ,
    WANT_WRITE,
    StreamBase,
    Verifier,
    der_of,
)
from tlsidecar.dataplane.tls_failure import SslFailure


class PortableStream(StreamBase):
    """See :mod:`.stream` for the contract."""

    __slots__ = ("_connection", "_context", "_established", "deferred_error", "verified")

    def __init__(self, context: SSL.Context, sock: socket.socket, verifier: Verifier, *, server_side: bool) -> None:
        super().__init__(verifier)
        connection = self._connection = SSL.Connection(context, sock)
        # Another may be chosen; the callbacks that OpenSSL goes on calling are this one's, and live as long as it does.
        self._context = context
        connection.set_app_data(self)
        if server_side:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        self._established = False
        self.deferred_error = (VERIFIED, 0)
        self.verified: dict[int, crypto.X509] = {}  # by depth, while the leaf is yet to come

    @property
    def connection(self) -> SSL.Connection:
        return self._connection

    def release(self) -> None:
        self._connection.set_app_data(None)  # breaks the cycle with it
        self.verifier = None

    def handshake(self) -> int:
        try:
            self._connection.do_handshake()
        except SSL.Error as error:
            return self._answer(error)
        self._established = True
        return DONE

    def heard(self, where: int) -> None:
        """OpenSSL's info callback; of the handshake only a CertificateRequest means something."""
        if not self._established and not self.was_asked and where & _HANDSHAKE_STEP:
            self.was_asked = _ASKED_STATE in self._connection.get_state_string()
        if self._established and where & POST_HANDSHAKE_EVENTS and self.is_flood():
            self._connection.set_shutdown(SSL.RECEIVED_SHUTDOWN)

    def read(self) -> int:
        try:
            return self._connection.recv_into(BUFFER)
        except SSL.Error as error:
            return self._answer(error)

    def read_more(self, start: int) -> int:
        try:
            return self._connection.recv_into(VIEW[start:])
        except SSL.Error as error:
            return self._answer(error)

    def peek(self) -> int:
        try:
            return len(self._connection.recv(1, socket.MSG_PEEK))
        except SSL.Error as error:
            return self._answer(error)

    def write(self, start: int, stop: int) -> int:
        return self.write_bytes(VIEW[start:stop])

    def write_bytes(self, data: bytes | memoryview) -> int:
        try:
            return self._connection.send(data)
        except SSL.Error as error:
            return self._answer(error)

    def close_notify(self) -> int:
        try:
            self._connection.shutdown()
        except SSL.Error as error:
            return self._answer(error)
        return DONE

    def _answer(self, error: SSL.Error) -> int:
        if isinstance(error, SSL.WantReadError):
            return WANT_READ
        if isinstance(error, SSL.WantWriteError):
            return WANT_WRITE
        if isinstance(error, SSL.ZeroReturnError):
            return self.closed()
        if isinstance(error, SSL.SysCallError):
            number = error.args[0] if error.args else -1
            self.failure = SslFailure.from_errno(max(number, 0))
            return FAILED
        queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
        self.failure = SslFailure.from_queue([(None, entry[2]) for entry in queue])
        return FAILED


class _Leaf:
    """See :class:`.stream.Leaf`."""

    def __init__(self, certificate: crypto.X509, above: Sequence[crypto.X509] = ()) -> None:
        self._certificate = certificate
        self._above = above

    def sha256(self) -> bytes:
        return hashlib.sha256(self.der()).digest()

    def der(self) -> bytes:
        return der_of(self._certificate)

    def above_sha256(self) -> bytes:
        return b"".join(hashlib.sha256(each).digest() for each in self.above())

    def above(self) -> list[bytes]:
        return [der_of(each) for each in self._above]


# SSL_CB_LOOP, and what SSL_state_string_long(3) calls the state in which a client has read a CertificateRequest.
_HANDSHAKE_STEP = 0x01
_ASKED_STATE = b"read server certificate request"


def notice_requests(_context: SSL.Context) -> None:
    """See :func:`.stream_fast.notice_requests`; the information callback of :func:`install_verifier` does it here."""


def install_verifier(context: SSL.Context, mode: int) -> None:
    """Let each stream's verifier judge.

    The public callback shows only the certificate an error arose at and cannot choose the error a refusal ends with. So
    an error above the leaf waits until the leaf is shown, and the alert of such a refusal, and of one by policy, is
    internal_error. All else is as in :mod:`.stream_fast`.
    """

    def judge(connection: SSL.Connection, shown: crypto.X509, error: int, depth: int, _ok: int) -> bool:
        stream: PortableStream = connection.get_app_data()
        verifier = stream.verifier
        if verifier is None:
            return False
        if depth:
            if not error:
                stream.verified[depth] = shown
            if error and stream.deferred_error[0] == VERIFIED:
                stream.deferred_error = (error, depth)
            return True
        deferred, at = stream.deferred_error
        if deferred:
            return verifier.verify(deferred, at, _Leaf(shown)) == VERIFIED
        above = [stream.verified[each] for each in sorted(stream.verified)]
        stream.verified = {}
        return verifier.verify(error, depth, _Leaf(shown, above)) == VERIFIED

    def heard(connection: SSL.Connection, where: int, _value: int) -> None:
        stream = connection.get_app_data()
        if isinstance(stream, PortableStream):
            stream.heard(where)

    context.set_verify(mode, judge)
    context.set_info_callback(heard)


def install_chooser(context: SSL.Context) -> None:
    """Let each stream's verifier choose the context to go on with, by the client's server name."""

    def named(connection: SSL.Connection) -> None:
        stream = connection.get_app_data()
        if isinstance(stream, PortableStream):
            chosen = stream.chosen(connection.get_servername() or b"")
            if chosen is not None:
                connection.set_context(chosen)

    context.set_tlsext_servername_callback(named)


def select_protocol(context: SSL.Context, protocols: Sequence[bytes]) -> None:
    """Agree by ALPN on the first of ``protocols`` that the client offers. A client that offers others only is served
    without an agreement: ``curl --http1.0`` offers ``http/1.0``, and what a client then really speaks is judged by its
    first bytes."""

    def select(_connection: SSL.Connection, offered: list[bytes]) -> bytes:
        for protocol in protocols:
            if protocol in offered:
                return protocol
        return SSL.NO_OVERLAPPING_PROTOCOLS  # type: ignore[return-value]

    context.set_alpn_select_callback(select)
