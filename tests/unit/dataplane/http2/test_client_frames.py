"""What a client says: what goes on to the service, what is answered here, and what ends a stream or everything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http2.talk import CALL, GET, OK, TRAILERS, Talk, head

from tlsidecar.dataplane.http2 import frames
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits


@pytest.mark.parametrize(
    ("frame", "heard"),
    [
        (frames.frame(frames.PING, 0, 0, b"12345678"), ("ping", b"12345678")),
        (frames.window_update(0, 5), ("window", 0, 5)),
        (frames.window_update(1, 5), ("window", 1, 5)),
        (frames.frame(frames.WINDOW_UPDATE, 0, 1, b"\x80\0\0\5"), ("window", 1, 5)),
        (frames.goaway(0, 0), ("goaway", 0, "NO_ERROR")),
        (frames.rst_stream(1, 8), ("reset", 1, "CANCEL")),
    ],
    ids=["ping", "window", "stream window", "reserved bit", "goaway", "reset"],
)
def test_frames_that_go_on(frame: bytes, heard: tuple[object, ...]) -> None:
    talk = Talk().client(head(1, end=False), frame)
    assert talk.at_upstream.heard[1:] == [heard]


@pytest.mark.parametrize(
    "frame",
    [
        frames.frame(frames.PRIORITY, 0, 1, b"\0\0\0\3\7"),
        frames.frame(frames.PRIORITY, 0, 9, b"\0\0\0\3\7"),
        frames.frame(0x42, 0, 1, b"whatever"),
    ],
    ids=["priority", "priority of an idle stream", "unknown"],
)
def test_frames_that_end_here(frame: bytes) -> None:
    talk = Talk().client(head(1, end=False), frame, frames.data(1, b"x", end_stream=True))
    assert [each[0] for each in talk.at_upstream.heard] == ["head", "data"]


def test_a_frame_with_a_reserved_bit_goes_on_without_it() -> None:
    ping = bytearray(frames.frame(frames.PING, 0, 0, b"12345678"))
    ping[5] |= 0x80
    talk = Talk().client(bytes(ping))
    assert talk.at_upstream.raw.endswith(frames.frame(frames.PING, 0, 0, b"12345678"))


def test_a_body_over_the_limit() -> None:
    settings = replace(listener(), http2="only", limits=Limits(max_body_bytes=100))
    stated = [*GET, (b"content-length", b"101")]
    talk = Talk(settings).client(head(1, stated, end=False))
    assert talk.statuses == [413]
    talk = Talk(settings).client(head(1, end=False), frames.data(1, b"x" * 90, end_stream=False))
    assert talk.statuses == []
    talk.client(frames.data(1, b"x" * 90, end_stream=True))
    assert talk.statuses == [413]
    assert ("reset", 1, "CANCEL") in talk.at_upstream.heard


def test_a_cancelled_call() -> None:
    talk = Talk().client(head(1, CALL, end=False)).upstream(head(1, OK, end=False))
    talk.client(frames.rst_stream(1, 8))
    assert talk.reasons == [Reason.STREAM_RESET]
    # What was under way is legal, and the client's window with it.
    talk.upstream(frames.data(1, b"late", end_stream=False), head(1, TRAILERS))
    assert talk.at_client.data(1) == b"late"
    assert len(talk.at_client.heads(1)) == 1


def test_a_block_that_is_repeated_means_the_same() -> None:
    """Blocks are remembered while the table stays: with a table that changes they are read anew."""
    first = b"\x82\x87\x41\x06a.test\x44\x02/x"
    again = b"\x82\x87\xbf\xbe"
    other = b"\x82\x87\xbf\x44\x02/y"
    talk = Talk()
    for number, block in ((1, first), (3, again), (5, again), (7, other), (9, b"\x82\x87\xc0\xbe")):
        talk.client(frames.headers(number, block, end_stream=True))
    assert [talk.at_upstream.heads(number)[0][b":path"] for number in (1, 3, 5, 7, 9)] == [b"/x"] * 3 + [b"/y"] * 2
    ids = {talk.at_upstream.heads(number)[0][b"x-request-id"] for number in (1, 3, 5, 7, 9)}
    assert len(ids) == 5


LYING = [
    pytest.param([frames.data(1, b"1234", end_stream=True)], id="less"),
    pytest.param([frames.data(1, b"123456", end_stream=True)], id="more"),
    pytest.param([frames.data(1, b"123456", end_stream=False)], id="more, not at the end"),
    pytest.param([head(1, [(b"x-t", b"1")])], id="trailers instead"),
    pytest.param([frames.frame(0, 9, 1, b"\2" + b"1234" + b"\0\0")], id="padding counted"),
]


@pytest.mark.parametrize("said", LYING)
def test_a_content_length_that_lies(said: list[bytes]) -> None:
    talk = Talk().client(head(1, [*GET, (b"content-length", b"5")], end=False), *said)
    assert talk.at_client.heard[0] == ("reset", 1, "PROTOCOL_ERROR")
    assert talk.at_upstream.of("data") == []
    assert ("reset", 1, "CANCEL") in talk.at_upstream.heard
    assert [refusal.reason for refusal in talk.ledger.refusals] == [Reason.BAD_CONTENT_LENGTH]


def test_trailers_with_a_pseudo_header() -> None:
    talk = Talk().client(head(1, end=False), head(1, [(b":path", b"/b")]))
    assert ("reset", 1, "PROTOCOL_ERROR") in talk.at_client.heard
    assert [refusal.reason for refusal in talk.ledger.refusals] == [Reason.BAD_TRAILER]


def test_headers_on_a_stream_that_has_ended_on_both_sides() -> None:
    talk = Talk().client(head(1)).upstream(head(1, OK)).client(head(1))
    assert talk.at_client.heard[-1] == ("goaway", 1, "STREAM_CLOSED")


def test_streams_over_the_limit_are_refused_and_may_be_tried_again() -> None:
    talk = Talk().client(*[head(2 * at + 1, end=False) for at in range(103)])
    assert talk.at_client.of("reset") == [("reset", 2 * at + 1, "REFUSED_STREAM") for at in (100, 101, 102)]
    assert len(talk.session.streams) == 100
    talk.upstream(head(1, OK), frames.rst_stream(1, 0)).client(head(207))
    assert len(talk.at_upstream.heads(207)) == 1
