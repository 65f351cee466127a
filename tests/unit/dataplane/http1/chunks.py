"""Reading chunked bodies with our reader, and with h11 for comparison."""

from __future__ import annotations

import h11
from unit.dataplane.http1.conversation import cut

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1.body import BodyReader
from tlsidecar.dataplane.http1.chunked import ChunkedReader


def read(reader: BodyReader, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """What went on, and what was left over."""
    out = b""
    for number, piece in enumerate(pieces):
        buffer = bytearray(piece)
        found: list[bytes | memoryview] = []
        position = reader.read(buffer, 0, len(buffer), found)
        out += b"".join(found)
        if reader.done:
            return out, piece[position:] + b"".join(pieces[number + 1 :])
        assert position == len(piece), "bytes of an unfinished body were left"
    return out, b""


def mean_the_same(data: bytes, cuts: list[int]) -> None:
    """Assert that ``data`` is refused, or is to h11 what becomes of it, and all the same in any pieces."""
    reader = ChunkedReader()
    try:
        out, rest = read(reader, cut(data, cuts))
    except MessageRefused:
        out = None
    whole = ChunkedReader()
    try:
        assert read(whole, [data] if data else []) == (out, rest if out is not None else b"")
    except MessageRefused:
        assert out is None, "it depends on the pieces"
    if out is not None and reader.done:
        body = decoded(out)[0]
        try:
            assert decoded(data) == (body, rest)
        except h11.RemoteProtocolError:
            # It looks into trailers that do not go on.
            assert reader._trailer_fields


def decoded(data: bytes) -> tuple[bytes, bytes]:
    """A chunked body as h11 reads it, and what it leaves."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    assert isinstance(connection.next_event(), h11.Request)
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.EndOfMessage):
            return body, connection.trailing_data[0]
        assert isinstance(event, h11.Data), event
        body += event.data
