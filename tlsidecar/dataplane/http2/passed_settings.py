"""SETTINGS made anew (RFC 9113 section 6.5): what each side may know of the other's.

No push, no header tables, frames of 16 KiB, and nothing that is not known here: relaying gRPC's 0xfe03 would make its
C core send raw NUL bytes in binary metadata. RFC 8441's ENABLE_CONNECT_PROTOCOL is not offered.
"""

from __future__ import annotations

from typing import Final

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode

MAX_STREAMS: Final = 100


def for_upstream(payload: bytes, max_header_bytes: int, *, first: bool) -> bytes:
    """The frame that the upstream gets of a client's."""
    kept = [(frames.ENABLE_PUSH, 0)] if first else []
    kept += [(number, value) for number, value in frames.settings_in(payload) if number == frames.INITIAL_WINDOW_SIZE]
    if first:
        kept.append((frames.MAX_HEADER_LIST_SIZE, max_header_bytes))
    return frames.settings(kept)


def for_client(payload: bytes, max_header_bytes: int, *, first: bool) -> bytes:
    """The frame that the client gets of an upstream's. Raises :class:`ConnectionFault`."""
    kept: list[tuple[int, int]] = []
    streams = MAX_STREAMS
    has_streams = first
    for number, value in frames.settings_in(payload):
        if number == frames.ENABLE_PUSH and value:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a server that enables push")
        if number == frames.MAX_CONCURRENT_STREAMS:
            streams = min(MAX_STREAMS, value)
            has_streams = True
        elif number == frames.INITIAL_WINDOW_SIZE:
            kept.append((number, value))
    if has_streams:
        kept.append((frames.MAX_CONCURRENT_STREAMS, streams))
    if first:
        kept.append((frames.MAX_HEADER_LIST_SIZE, max_header_bytes))
    return frames.settings(kept)
