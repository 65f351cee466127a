"""TLS on a socket through pyOpenSSL's cffi binding: the one module that steps below a public API.

What it gains, in CPU per small exchange, is in docs/performance.md. Importing it raises ImportError when a name it
needs is gone from the binding; :mod:`.engine` then takes :mod:`.stream_portable`.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

from OpenSSL import SSL, crypto

try:
    from OpenSSL._util import ffi, lib

    _ssl_new = lib.SSL_new
    _ssl_free = lib.SSL_free
    _ssl_set_fd = lib.SSL_set_fd
    _ssl_accept = lib.SSL_set_accept_state
    _ssl_connect = lib.SSL_set_connect_state
    _ssl_read = lib.SSL_read
    _ssl_peek = lib.SSL_peek
    _ssl_write = lib.SSL_write
    _ssl_do_handshake = lib.SSL_do_handshake
    _ssl_shutdown = lib.SSL_shutdown
    _ssl_get_error = lib.SSL_get_error
    _error_next = lib.ERR_get_error
    _error_reason = lib.ERR_GET_REASON
    _error_text = lib.ERR_reason_error_string
    _store_error = lib.X509_STORE_CTX_get_error
    _store_set_error = lib.X509_STORE_CTX_set_error
    _store_depth = lib.X509_STORE_CTX_get_error_depth
    _store_leaf = lib.X509_STORE_CTX_get0_cert
    _store_chain = lib.X509_STORE_CTX_get1_chain
    _stack_size = lib.sk_X509_num
    _stack_value = lib.sk_X509_value
    _stack_free = lib.sk_X509_free
    _x509_free = lib.X509_free
    _store_data = lib.X509_STORE_CTX_get_ex_data
    _STORE_INDEX = lib.SSL_get_ex_data_X509_STORE_CTX_idx()
    _set_verify = lib.SSL_CTX_set_verify
    _set_information = lib.SSL_set_info_callback
    _set_shutdown = lib.SSL_set_shutdown
    _set_mode = lib.SSL_CTX_set_mode
    _set_alpn = lib.SSL_CTX_set_alpn_select_cb
    _set_certificate_callback = lib.SSL_CTX_set_cert_cb
    _set_name_callback = lib.SSL_CTX_set_tlsext_servername_callback
    _server_name = lib.SSL_get_servername
    _HOST_NAME: int = lib.TLSEXT_NAMETYPE_host_name
    _set_context = lib.SSL_set_SSL_CTX
    # SSL_MODE_AUTO_RETRY: a message that is no data does not end an SSL_read while there is more to read.
    _MODES = (
        lib.SSL_MODE_ENABLE_PARTIAL_WRITE
        | lib.SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
        | lib.SSL_MODE_RELEASE_BUFFERS
        | lib.SSL_MODE_AUTO_RETRY
    )
    _ALPN_CHOSEN: int = lib.SSL_TLSEXT_ERR_OK
    _ALPN_NONE: int = lib.SSL_TLSEXT_ERR_NOACK
    _ERROR_SSL = lib.SSL_ERROR_SSL
    _ERROR_WANT_READ = lib.SSL_ERROR_WANT_READ
    _ERROR_WANT_WRITE = lib.SSL_ERROR_WANT_WRITE
    _ERROR_ZERO_RETURN = lib.SSL_ERROR_ZERO_RETURN
    _ERROR_SYSCALL = lib.SSL_ERROR_SYSCALL
    _x509_up_ref = lib.X509_up_ref
    _x509_digest = lib.X509_digest
    _SHA256 = lib.EVP_get_digestbyname(b"sha256")
    _wrap_certificate = crypto.X509._from_raw_x509_ptr
except AttributeError as missing:
    raise ImportError(f"pyOpenSSL's binding has changed: {missing}") from missing

from tlsidecar.dataplane.stream import (
    BUFFER,
    BUFFER_BYTES,
    CERTIFICATE_REJECTED,
    DONE,
    FAILED,
    POST_HANDSHAKE_EVENTS,
    WANT_READ,
    WANT_WRITE,
    StreamBase,
    Verifier,
    der_of,
)
from tlsidecar.dataplane.tls_failure import SslFailure

_log = logging.getLogger("tlsidecar.dataplane")

_NULL = ffi.NULL
_string = ffi.string
_from_buffer = ffi.from_buffer
_C_BUFFER = _from_buffer(BUFFER)
_PEEKED = ffi.new("char[1]")
_DIGEST = ffi.new("unsigned char[32]")
_DIGEST_BYTES = ffi.new("unsigned int *")
_DIGEST_BUFFER = ffi.buffer(_DIGEST)


# The streams that OpenSSL's callbacks may ask for, each until its release.
_streams: dict[Any, FastStream] = {}


class FastStream(StreamBase):
    """See :mod:`.stream` for the contract.

    The SSL object is made without pyOpenSSL's Connection, which costs 0.7 KB and 15 µs for each; :attr:`connection`
    makes one when there is something to ask.
    """

    __slots__ = ("_ssl",)

    def __init__(self, context: SSL.Context, sock: socket.socket, verifier: Verifier, *, server_side: bool) -> None:
        super().__init__(verifier)
        ssl = _ssl_new(context._context)
        if ssl == ffi.NULL:
            raise MemoryError("SSL_new failed")
        ssl = self._ssl = ffi.gc(ssl, _ssl_free)
        _ssl_set_fd(ssl, sock.fileno())
        if server_side:
            _ssl_accept(ssl)
        else:
            _ssl_connect(ssl)
        _streams[ssl] = self

    @property
    def connection(self) -> SSL.Connection:
        view = SSL.Connection.__new__(SSL.Connection)
        view._ssl = self._ssl
        view._socket = None
        return view

    def release(self) -> None:
        _streams.pop(self._ssl, None)
        self.verifier = None

    def handshake(self) -> int:
        result = _ssl_do_handshake(self._ssl)
        if result != 1:
            return self._answer(result)
        _set_information(self._ssl, _heard)  # from here on only: it is called for every step of a handshake
        return DONE

    def read(self) -> int:
        count: int = _ssl_read(self._ssl, _C_BUFFER, BUFFER_BYTES)
        return count if count > 0 else self._answer(count)

    def read_more(self, start: int) -> int:
        count: int = _ssl_read(self._ssl, _C_BUFFER + start, BUFFER_BYTES - start)
        return count if count > 0 else self._answer(count)

    def peek(self) -> int:
        count: int = _ssl_peek(self._ssl, _PEEKED, 1)
        return count if count > 0 else self._answer(count)

    def write(self, start: int, stop: int) -> int:
        # Mostly from the beginning, and then no pointer need be made.
        count: int = _ssl_write(self._ssl, _C_BUFFER + start if start else _C_BUFFER, stop - start)
        return count if count > 0 else self._answer(count)

    def write_bytes(self, data: bytes | memoryview) -> int:
        # bytes are a pointer to C as they are; of anything else cffi must be asked for one, a quarter of the call.
        count: int = _ssl_write(self._ssl, data if data.__class__ is bytes else _from_buffer(data), len(data))
        return count if count > 0 else self._answer(count)

    def close_notify(self) -> int:
        result = _ssl_shutdown(self._ssl)
        return DONE if result >= 0 else self._answer(result)

    def _answer(self, result: int) -> int:
        error = _ssl_get_error(self._ssl, result)
        if error == _ERROR_WANT_READ:
            return WANT_READ
        if error == _ERROR_WANT_WRITE:
            return WANT_WRITE
        if error == _ERROR_ZERO_RETURN:
            return self.closed()
        number = ffi.errno
        queue = []
        while code := _error_next():  # all: the queue is the thread's, what stays in it is the next connection's error
            text = _error_text(code)
            queue.append((_error_reason(code), _string(text).decode("ascii", "replace") if text != _NULL else ""))
        if error == _ERROR_SYSCALL or not queue:
            self.failure = SslFailure.from_errno(number)
        else:
            self.failure = SslFailure.from_queue(queue)
        return FAILED


@ffi.callback("int (*)(int, X509_STORE_CTX *)")  # type: ignore[untyped-decorator]
def _judge(passed: int, store: Any) -> int:
    """OpenSSL's verify callback (SSL_CTX_set_verify(3)): asks the stream's verifier, sets the error of a refusal."""
    try:
        depth = _store_depth(store)
        if passed and depth:
            return 1
        verifier = _streams[_store_data(store, _STORE_INDEX)].verifier
        verdict = CERTIFICATE_REJECTED
        if verifier is not None:
            error = 0 if passed else _store_error(store)
            verdict = verifier.verify(error, depth, _Leaf(store))
    except Exception:
        # An exception must not cross into C: it would be printed, and the error number left as it was.
        _log.exception("judging a peer's certificate failed", extra={"fields": {"reason": "internal_error"}})
        verdict = CERTIFICATE_REJECTED
    _store_set_error(store, verdict)
    return 0 if verdict else 1


@ffi.callback("void (*)(const SSL *, int, int)")  # type: ignore[untyped-decorator]
def _heard(ssl: Any, where: int, _value: int) -> None:
    """OpenSSL's info callback (SSL_set_info_callback(3)): notices what a peer sends after its handshake."""
    if not where & POST_HANDSHAKE_EVENTS:
        return
    stream = _streams.get(ssl)
    if stream is not None and stream.is_flood():
        _set_shutdown(ssl, SSL.RECEIVED_SHUTDOWN)


class _Leaf:
    """See :class:`.stream.Leaf`. The digest is all that a certificate seen before costs: a tenth of its DER's copy."""

    __slots__ = ("_store",)

    def __init__(self, store: Any) -> None:
        self._store = store

    def sha256(self) -> bytes:
        return _sha256_of(_store_leaf(self._store))

    def der(self) -> bytes:
        return _der_of(_store_leaf(self._store))

    def above_sha256(self) -> bytes:
        return b"".join(self._of_above(_sha256_of, _anchor_sha256_of))

    def above(self) -> list[bytes]:
        return self._of_above(_der_of, _der_of)

    def _of_above(self, ask: Callable[[Any], bytes], ask_anchor: Callable[[Any], bytes]) -> list[bytes]:
        chain = _store_chain(self._store)
        if chain == _NULL:
            raise MemoryError("X509_STORE_CTX_get1_chain failed")
        pointers = [_stack_value(chain, index) for index in range(_stack_size(chain))]
        try:
            if len(pointers) < 2:
                return []
            return [*map(ask, pointers[1:-1]), ask_anchor(pointers[-1])]
        finally:
            for pointer in pointers:
                _x509_free(pointer)
            _stack_free(chain)


def _sha256_of(pointer: Any) -> bytes:
    if not _x509_digest(pointer, _SHA256, _DIGEST, _DIGEST_BYTES):
        raise MemoryError("X509_digest failed")  # there is no other reason for it
    return bytes(_DIGEST_BUFFER)


# The digests of trust anchors by their address, which stays their own, for each is held: one that stands in a context
# is the same object in every handshake, where whatever the peer sends is made anew.
_anchors: dict[Any, tuple[Any, bytes]] = {}
_ANCHORS_KEPT = 64


def _anchor_sha256_of(pointer: Any) -> bytes:
    known = _anchors.get(pointer)
    if known is None:
        if len(_anchors) >= _ANCHORS_KEPT:
            _anchors.clear()
        digest = _sha256_of(pointer)
        _x509_up_ref(pointer)
        known = _anchors[pointer] = (ffi.gc(pointer, _x509_free), digest)
    return known[1]


def _der_of(pointer: Any) -> bytes:
    _x509_up_ref(pointer)
    return der_of(_wrap_certificate(pointer))


@ffi.callback("int (*)(SSL *, void *)", error=0)  # type: ignore[untyped-decorator]
def _asked(ssl: Any, _arg: Any) -> int:
    """OpenSSL's certificate callback (SSL_CTX_set_cert_cb(3)): a client is called when the server has sent a
    CertificateRequest, and only then."""
    stream = _streams.get(ssl)
    if stream is not None:
        stream.was_asked = True
    return 1


def notice_requests(context: SSL.Context) -> None:
    """Let each stream of a client notice that it was asked for its certificate."""
    _set_certificate_callback(context._context, _asked, _NULL)


@ffi.callback("int (*)(SSL *, int *, void *)", error=lib.SSL_TLSEXT_ERR_OK)  # type: ignore[untyped-decorator]
def _named(ssl: Any, _alert: Any, _arg: Any) -> int:
    """OpenSSL's server name callback (SSL_CTX_set_tlsext_servername_callback(3)). What SSL_set_SSL_CTX takes over is
    the certificate, the chain, the key, whom we trust and the names of those CAs; how to verify, the versions and the
    groups stay those of the first context, and are the same in all of ours."""
    stream = _streams.get(ssl)
    if stream is not None:
        name = _server_name(ssl, _HOST_NAME)
        context = stream.chosen(_string(name) if name != _NULL else b"")
        if context is not None:
            _set_context(ssl, context._context)
    return _ALPN_CHOSEN


def install_chooser(context: SSL.Context) -> None:
    """Let each stream's verifier choose the context to go on with, by the client's server name."""
    _set_name_callback(context._context, _named)


def install_verifier(context: SSL.Context, mode: int) -> None:
    """Let each stream's verifier judge, and set the modes that non-blocking relaying needs."""
    _set_verify(context._context, mode, _judge)
    _set_mode(context._context, _MODES)


@ffi.callback(  # type: ignore[untyped-decorator]
    "int (*)(SSL *, unsigned char **, unsigned char *, unsigned char *, unsigned int, void *)",
    error=_ALPN_NONE,
)
def _choose_protocol(_ssl: Any, chosen: Any, length: Any, offered: Any, offered_bytes: int, wanted: Any) -> int:
    """OpenSSL's callback for ALPN (SSL_CTX_set_alpn_select_cb(3)). ``wanted`` are names, each behind its length, and
    a zero; so, without the zero, are those offered."""
    name = ffi.cast("unsigned char *", wanted)
    names = ffi.buffer(offered, offered_bytes)[:]
    while name[0]:
        protocol = ffi.buffer(name, name[0] + 1)[:]
        at = 0
        while at < len(names):
            if names.startswith(protocol, at):
                chosen[0], length[0] = offered + at + 1, names[at]
                return _ALPN_CHOSEN
            at += names[at] + 1
        name += len(protocol)
    return _ALPN_NONE


def select_protocol(context: SSL.Context, protocols: Sequence[bytes]) -> None:
    """See :func:`.stream_portable.select_protocol`."""
    names = b"".join([bytes((len(protocol),)) + protocol for protocol in protocols]) + b"\0"
    wanted = _protocol_names.setdefault(names, ffi.new("unsigned char[]", names))
    _set_alpn(context._context, _choose_protocol, wanted)


_protocol_names: dict[bytes, Any] = {}  # what the contexts point to: few, and kept
