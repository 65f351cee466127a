"""Our own answers: in them is not a byte of what they answer.

On a stream a head and nothing else: DATA of ours would use up window that the upstream believes to have. A client that
speaks HTTP/1 is answered in its own words, for frames would tell it nothing.
"""

from __future__ import annotations

import re
from typing import Final

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http2.hpack import Encoder

# gRPC's statuses (grpc/doc/statuscodes.md); an HTTP status would leave its clients to guess.
UNKNOWN: Final = 2
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
_OF_STATUS: Final = {
    400: INTERNAL,
    403: PERMISSION_DENIED,
    413: RESOURCE_EXHAUSTED,
    429: RESOURCE_EXHAUSTED,
    502: UNAVAILABLE,
    503: UNAVAILABLE,
    504: UNAVAILABLE,
}

_encoder = Encoder(capacity=128)

_HTTP1_REQUEST: Final = re.compile(rb"[A-Z][A-Z-]{0,31} [!-~]+ HTTP/1\.[01]\r?\n")
_SAID: Final = b"HTTP/2 alone is spoken here.\n"
# RFC 9110 section 15.6.6.
HTTP2_ALONE: Final = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_SAID), _SAID)
)


def is_http1(begun: bytes) -> bool:
    """Whether a client begins with a request line of HTTP/1."""
    return _HTTP1_REQUEST.match(begun) is not None


def grpc_status(status: int) -> int:
    """What gRPC calls an HTTP status of ours (grpc/doc/http-grpc-status-mapping.md, but for our own limits)."""
    return _OF_STATUS.get(status, UNKNOWN)


def block(refusal: MessageRefused, *, grpc: bool) -> bytes:
    """The header block of a whole answer; for gRPC its trailers only (PROTOCOL-HTTP2.md), whose HTTP status is 200."""
    if grpc:
        return _encoder.block(
            [
                (b":status", b"200"),
                (b"content-type", b"application/grpc"),
                (b"grpc-status", b"%d" % grpc_status(refusal.status)),
                (b"grpc-message", refusal.reason.sentence.replace("%", "%25").encode("ascii", "replace")),
            ]
        )
    fields = [(b":status", b"%d" % refusal.status), (b"content-length", b"0")]
    if refusal.retry_after_s is not None:
        fields.append((b"retry-after", b"%d" % refusal.retry_after_s))
    return _encoder.block(fields)
