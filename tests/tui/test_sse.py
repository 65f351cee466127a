"""Server-Sent Events, cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.api.sse import MAX_MESSAGE_BYTES, SseMessage, SseOverflow, SseParser

STREAM = (
    b": hello\n\n"
    b'id: 7\nevent: opened\ndata: {"seq": 7}\n\n'
    b"event: lost\r\ndata: a\r\ndata:b\r\n\r\n"
    b"event: nothing\n\n"
    b"retry: 5\nid: bad\x00id\ndata\n\n"
    b": comment\n\n"
    b"data: \xc3\xa4\xe2\x80\xa8\n\n"
)
MESSAGES = [
    SseMessage("opened", '{"seq": 7}', "7"),
    SseMessage("lost", "a\nb", "7"),
    SseMessage("message", "", "7"),
    SseMessage("message", "ä\u2028", "7"),
]


@given(st.lists(st.integers(0, len(STREAM))))
def test_messages_do_not_depend_on_where_the_stream_is_cut(cuts: list[int]) -> None:
    parser = SseParser()
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(places)]
    assert [message for piece in pieces for message in parser.feed(piece)] == MESSAGES


@given(st.binary())
def test_any_bytes_are_taken(octets: bytes) -> None:
    SseParser().feed(octets)


@pytest.mark.parametrize("chunk", [b"data: " + b"x" * 1000, b"data: " + b"x" * 1000 + b"\n"])
def test_an_endless_message_is_refused(chunk: bytes) -> None:
    parser = SseParser()
    for _ in range(MAX_MESSAGE_BYTES // len(chunk)):
        parser.feed(chunk)
    with pytest.raises(SseOverflow):
        parser.feed(chunk * 2)
