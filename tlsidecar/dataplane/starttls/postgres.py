"""PostgreSQL's own words for TLS: the client asks, and is answered one byte.

Source: its documentation, "Message Flow": "SSL Session Encryption" and "Canceling Requests in Progress". A client sends
SSLRequest, or GSSENCRequest first, or a CancelRequest and nothing else. Newer clients begin with TLS at once.
"""

from __future__ import annotations

import struct

from tlsidecar.dataplane.starttls.script import TLS_HANDSHAKE, WAIT, Next, Step

_WORDS = struct.Struct(">II")
_REQUEST_BYTES = _WORDS.size
_SSL_REQUEST, _GSSENC_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_MAX_CANCEL_BYTES = 12 + 256  # protocol 3.2: a key of up to 256 bytes
_MAX_REQUESTS = 4  # SSLRequest and GSSENCRequest, once each, and room for a client that asks again

SSL_REQUEST = _WORDS.pack(_REQUEST_BYTES, _SSL_REQUEST)


class PostgresServer:
    """For a client that has to agree on TLS, and shows a certificate there."""

    opening = b""

    def __init__(self) -> None:
        self._requests = 0

    def look(self, shown: bytes) -> Step:
        if shown[:1] and shown[0] == TLS_HANDSHAKE:
            return Step(Next.TLS)
        if len(shown) < _REQUEST_BYTES:
            return WAIT
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
                return WAIT
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
            return WAIT
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
            return WAIT
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


def not_served(text: str) -> bytes:
    """In the place of an answer: that there is no connection to the server (08006, connection_failure)."""
    return _error("08006", f"tlsidecar: {text}")
