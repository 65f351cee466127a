"""Protocols that begin in the clear and agree on TLS by a few bytes of their own.

PostgreSQL (its documentation, "Message Flow": "SSL Session Encryption" and "Canceling Requests in Progress"): a client
sends SSLRequest and is answered one byte, or sends GSSENCRequest first, or a CancelRequest and nothing else.
Newer clients begin with TLS at once.

Each script is pure: it is shown what has come and not been taken yet, and says what to take, what to answer, and what
follows. Not a byte is taken that belongs to TLS: what was sent in the clear must never be read as if it had come
encrypted (CVE-2021-23222 and its kind).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple, Protocol

from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.reactor import EDGE, READ, Reactor

_WORDS = struct.Struct(">II")
_REQUEST_BYTES = _WORDS.size
_SSL_REQUEST, _GSSENC_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_MAX_CANCEL_BYTES = 12 + 256  # protocol 3.2: a key of up to 256 bytes
_TLS_HANDSHAKE = 22
_MAX_REQUESTS = 4  # SSLRequest and GSSENCRequest, once each, and room for a client that asks again

SSL_REQUEST = _WORDS.pack(_REQUEST_BYTES, _SSL_REQUEST)

_PEEK_BYTES = 512


class Next(Enum):
    """What follows what has been said."""

    MORE = auto()  # wait for more bytes
    TLS = auto()  # the handshake
    PLAIN = auto()  # the protocol itself, in the clear
    CANCEL = auto()  # one message for the service, and nothing after it
    REFUSED = auto()  # the other side will not


class Step(NamedTuple):
    """``take`` bytes of what was shown are done with; ``detail`` says why it was refused."""

    next: Next
    take: int = 0
    answer: bytes = b""
    detail: str = ""


_WAIT = Step(Next.MORE)


class Script(Protocol):
    """One side of one negotiation."""

    opening: bytes

    def look(self, shown: bytes) -> Step: ...


class PostgresServer:
    """For a client that has to agree on TLS, and shows a certificate there."""

    opening = b""

    def __init__(self) -> None:
        self._requests = 0

    def look(self, shown: bytes) -> Step:
        if shown[:1] and shown[0] == _TLS_HANDSHAKE:
            return Step(Next.TLS)
        if len(shown) < _REQUEST_BYTES:
            return _WAIT
        length, code = _WORDS.unpack_from(shown)
        self._requests += 1
        if self._requests > _MAX_REQUESTS:
            return Step(Next.REFUSED, detail="it goes on asking and does not begin")
        if (length, code) == (_REQUEST_BYTES, _SSL_REQUEST):
            return Step(Next.TLS, _REQUEST_BYTES, b"S")
        if (length, code) == (_REQUEST_BYTES, _GSSENC_REQUEST):
            return Step(Next.MORE, _REQUEST_BYTES, b"N")
        if code == _CANCEL_REQUEST and _REQUEST_BYTES < length <= _MAX_CANCEL_BYTES:
            if len(shown) < length:
                self._requests -= 1
                return _WAIT
            return Step(Next.CANCEL, length)
        detail = "a PostgreSQL client that does not ask for TLS: sslmode=require or more is needed"
        return Step(Next.REFUSED, 0, _error("28000", "mutual TLS is required here: use sslmode=require"), detail)


class PostgresLocal:
    """For an application that need not speak TLS: we do, on the way out."""

    opening = b""

    def __init__(self) -> None:
        self._requests = 0

    def look(self, shown: bytes) -> Step:
        if len(shown) < _REQUEST_BYTES:
            return _WAIT
        length, code = _WORDS.unpack_from(shown)
        if length != _REQUEST_BYTES or code not in (_SSL_REQUEST, _GSSENC_REQUEST):
            return Step(Next.PLAIN)
        self._requests += 1
        if self._requests > _MAX_REQUESTS:
            return Step(Next.REFUSED, detail="it goes on asking and does not begin")
        return Step(Next.MORE, _REQUEST_BYTES, b"N")


class PostgresClient:
    """Towards a server."""

    opening = SSL_REQUEST

    def look(self, shown: bytes) -> Step:
        if not shown:
            return _WAIT
        if shown[:1] == b"S":
            return Step(Next.TLS, 1)
        said = "it answered N" if shown[:1] == b"N" else "what it answers is not PostgreSQL's"
        return Step(Next.REFUSED, detail=f"it does not offer TLS to PostgreSQL's SSLRequest: {said}")


def _error(code: str, message: str) -> bytes:
    """An ErrorResponse, which a client shows to its user."""
    fields = b"".join(
        kind + text.encode() + b"\0" for kind, text in ((b"S", "FATAL"), (b"V", "FATAL"), (b"C", code), (b"M", message))
    )
    return b"E" + (len(fields) + 5).to_bytes(4, "big") + fields + b"\0"


# By the listener's setting: what faces a peer that is to speak TLS, a local application, and a remote server.
SERVERS: dict[str, Callable[[], Script]] = {"postgres": PostgresServer}
LOCALS: dict[str, Callable[[], Script]] = {"postgres": PostgresLocal}
CLIENTS: dict[str, Callable[[], Script]] = {"postgres": PostgresClient}


class Ended(NamedTuple):
    """How a negotiation went: ``message`` is what a CANCEL carries. ``late``: the time was up; ``empty``: the other
    side went without a byte."""

    next: Next
    detail: str = ""
    message: bytes = b""
    late: bool = False
    empty: bool = False


class Negotiation:
    """Plays a script on a non-blocking socket; ``ended`` is called once, with the socket not watched, perhaps before
    :meth:`start` returns."""

    __slots__ = ("_deadlines", "_ended", "_reactor", "_script", "_silent", "_sock")

    def __init__(
        self,
        reactor: Reactor,
        deadlines: DeadlineQueue,
        sock: socket.socket,
        script: Script,
        ended: Callable[[Ended], None],
    ) -> None:
        self._reactor = reactor
        self._deadlines = deadlines
        self._sock = sock
        self._script = script
        self._ended: Callable[[Ended], None] | None = ended
        self._silent = True

    def __repr__(self) -> str:
        return f"<Negotiation {type(self._script).__name__} {'running' if self._ended else 'over'}>"

    def start(self) -> None:
        self._deadlines.add(self, self._expired)
        self._reactor.watch(self._sock.fileno(), READ | EDGE, self._readable)
        if self._script.opening and not self._say(self._script.opening):
            return
        self._readable(READ)

    def cancel(self) -> None:
        """Give up; ``ended`` is not called any more."""
        if self._ended is not None:
            self._ended = None
            self._deadlines.lift(self)
            self._reactor.forget(self._sock.fileno())

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self._end(Ended(Next.REFUSED, "internal error"))

    def _readable(self, _events: int) -> None:
        while self._ended is not None:
            try:
                shown = self._sock.recv(_PEEK_BYTES, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(Ended(Next.REFUSED, error.strerror or str(error), empty=self._silent))
                return
            if not shown:
                self._end(Ended(Next.REFUSED, "it ended before TLS was agreed on", empty=self._silent))
                return
            self._silent = False
            step = self._script.look(shown)
            if step.take:
                self._sock.recv(step.take)
            if step.answer and not self._say(step.answer):
                return
            if step.next is Next.MORE:
                if not step.take:
                    return  # the next edge tells when more has come
                continue
            self._end(Ended(step.next, step.detail, shown[: step.take] if step.next is Next.CANCEL else b""))

    def _say(self, data: bytes) -> bool:
        """A few bytes on a socket that nothing was sent on yet: they fit, or it is broken."""
        with contextlib.suppress(OSError):
            if self._sock.send(data) == len(data):
                return True
        self._end(Ended(Next.REFUSED, "it cannot be written to", empty=self._silent))
        return False

    def _expired(self) -> None:
        self._end(Ended(Next.REFUSED, f"TLS was not agreed on within {self._deadlines.after_s:g} s", late=True))

    def _end(self, how: Ended) -> None:
        ended = self._ended
        if ended is not None:
            self.cancel()
            ended(how)
