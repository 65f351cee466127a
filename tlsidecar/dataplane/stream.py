"""TLS on one non-blocking socket: handshake, read, write, close_notify, each answering at once with a number.

The contract, which both implementations keep and the same tests check:

- ``read()`` fills :data:`BUFFER` from its start and returns how many bytes (> 0), or one of the answers below;
  ``read_more(start)`` does so from ``start`` on.
- ``peek()`` returns 1 when there is something to read, or an answer; the buffer is left alone.
- ``write(start, stop)`` sends that part of :data:`BUFFER`, ``write_bytes(data)`` sends ``data``; both return how many
  bytes were taken (> 0) or an answer. What would not go must be offered again, unchanged at its start and not shorter
  (OpenSSL's SSL_write(3)).
- ``handshake()`` and ``close_notify()`` return :data:`DONE` or an answer.
- After :data:`FAILED`, ``failure`` says why, and nothing but ``release()`` may follow. Nothing raises.

There is one shared read buffer for the whole thread: whatever is read is passed on, or copied away, before anything
else is read.

:mod:`.stream_fast` calls OpenSSL through pyOpenSSL's own cffi binding, which is private; it saves a copy, a bytes
object and an exception per "would block", about a fifth of a small request. :mod:`.stream_portable` is its twin on the
public API. :mod:`.engine` chooses at import.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from OpenSSL import SSL, crypto

from tlsidecar.dataplane.tls_failure import FLOOD_TEXT, FailureKind, SslFailure

# Four times the usual high-water mark: one system call moves more while a reader keeps up (8 % of bulk).
BUFFER_BYTES = 256 * 1024
BUFFER = bytearray(BUFFER_BYTES)
VIEW = memoryview(BUFFER)

# A TLS record carries at most this much (RFC 8446 section 5.1): a shorter read means that no more is at hand.
RECORD_BYTES = 16 * 1024
# So much of a TLS stream is gathered in one turn while the other side keeps up; after it the others get theirs.
MOST_GATHERED_BYTES = BUFFER_BYTES - RECORD_BYTES

DONE = 1
CLOSED = 0  # the peer sent close_notify
WANT_READ = -1
WANT_WRITE = -2
FAILED = -3

_log = logging.getLogger("tlsidecar.dataplane")

VERIFIED = 0
# X509_V_ERR_CERT_REJECTED: the peer sees the alert bad_certificate. OpenSSL cannot be made to send access_denied.
CERTIFICATE_REJECTED = 28


# SSL_CB_EXIT and SSL_CB_WRITE (openssl/ssl.h): a message after the handshake was dealt with, or an alert answers one.
# A KeyUpdate looks like the first, a renegotiation that is refused like the second.
POST_HANDSHAKE_EVENTS = 0x02 | 0x08
# OpenSSL takes any number of KeyUpdates, all within one SSL_read, which does not return while they keep coming: 3.5 MB
# a second of them would stop the loop. RFC 8446 section 5.5 asks for one in 2^24 records.
MAX_POST_HANDSHAKE = 32
POST_HANDSHAKE_WINDOW_S = 1.0


class Leaf(Protocol):
    """The leaf that a peer shows; good while the verifier is being asked."""

    def sha256(self) -> bytes:
        """The digest of its DER."""
        ...

    def der(self) -> bytes: ...

    def above_sha256(self) -> bytes:
        """The digests of the verified chain above it, issuer first, one after the other."""
        ...

    def above(self) -> Sequence[bytes]:
        """The DER of each of them."""
        ...


class Verifier(Protocol):
    """Decides about one peer's certificate while the handshake runs."""

    def verify(self, error: int, depth: int, leaf: Leaf) -> int:
        """Called with OpenSSL's X509_V_ERR number (0: the chain is good) and the depth it arose at. Returns
        :data:`VERIFIED` to go on, or the number to refuse with, which decides the alert."""
        ...

    def choose(self, server_name: str) -> SSL.Context | None:
        """The context to go on with for a client that asks for ``server_name``, empty where it asks for none; None to
        keep the one it began with. Asked before anything is answered, where that one was made to choose."""
        ...


class Parameters(NamedTuple):
    """What a handshake agreed on; the server name is what the client asked for."""

    version: str
    cipher: str
    group: str
    server_name: str
    alpn: str


class StreamBase(ABC):
    """What both implementations share: everything that does not happen once per read or write. Whoever makes a stream
    calls ``release`` when it is done with it."""

    __slots__ = ("_window_messages", "_window_until", "failure", "flooded", "verifier", "was_asked")

    def __init__(self, verifier: Verifier) -> None:
        self.verifier: Verifier | None = verifier
        self.failure: SslFailure | None = None
        self.flooded = False
        self.was_asked = False  # for our certificate, where we are the client
        self._window_messages = 0
        self._window_until = 0.0

    @property
    @abstractmethod
    def connection(self) -> SSL.Connection:
        """pyOpenSSL's object for it: for all that is asked rarely."""

    @abstractmethod
    def release(self) -> None:
        """Let go of everything, so that its memory goes at once."""

    def name_server(self, name: str) -> None:
        """Send ``name`` as SNI: a DNS name, never an address (RFC 6066 section 3)."""
        self.connection.set_tlsext_host_name(name.encode("idna"))

    def chosen(self, server_name: bytes) -> SSL.Context | None:
        """What the verifier chooses; a defect of ours leaves the context that the handshake began with."""
        try:
            return self.verifier.choose(_host(server_name)) if self.verifier is not None else None
        except Exception:
            _log.exception("choosing an identity failed", extra={"fields": {"reason": "internal_error"}})
            return None

    def parameters(self) -> Parameters:
        connection = self.connection
        return Parameters(
            version=connection.get_protocol_version_name(),
            cipher=connection.get_cipher_name() or "",
            group=connection.get_group_name() or "",
            server_name=_host(connection.get_servername() or b""),
            alpn=connection.get_alpn_proto_negotiated().decode("ascii", "backslashreplace"),
        )

    def peer_chain(self) -> tuple[bytes, ...]:
        """The chain the peer presented, leaf first, as DER; empty when it presented none."""
        leaf = self.connection.get_peer_certificate()
        if leaf is None:
            return ()
        presented = self.connection.get_peer_cert_chain() or []
        return tuple(dict.fromkeys(der_of(certificate) for certificate in (leaf, *presented)))

    def is_flood(self) -> bool:
        """Count one message after the handshake: whether there have been too many of late."""
        now = time.monotonic()
        if now > self._window_until:
            self._window_messages = 0
            self._window_until = now + POST_HANDSHAKE_WINDOW_S
        self._window_messages += 1
        self.flooded = self._window_messages > MAX_POST_HANDSHAKE
        return self.flooded

    def closed(self) -> int:
        """OpenSSL says the peer has ended: it has, or we told OpenSSL so to end a flood."""
        if not self.flooded:
            return CLOSED
        self.failure = SslFailure(FailureKind.PROTOCOL, FLOOD_TEXT)
        return FAILED


def _host(server_name: bytes) -> str:
    return server_name.decode("ascii", "backslashreplace")


def der_of(certificate: crypto.X509) -> bytes:
    """In DER, by which the rest of the house knows certificates."""
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
