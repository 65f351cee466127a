"""Our own answers on a stream: a head and nothing else, and in it not a byte of what it answers.

Without a body: DATA of ours would use up window that the upstream believes to have.
"""

from __future__ import annotations

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
