"""A read that is taken apart: what goes on, what comes in its place, and since when the rest has been under way."""

from __future__ import annotations

import pytest

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.errors import Http2Error, broken
from tlsidecar.dataplane.http2.forwarding import block_since, pass_on
from tlsidecar.dataplane.http2.frames import Frame, FrameReader

PING = frames.frame(frames.PING, 0, 0, b"12345678")
SETTINGS = frames.settings([(4, 1)])
DATA = frames.data(1, b"content", end_stream=False)


def went_on(wire: bytes, *, ahead: bytes = b"", ahead_goes_on: bool = True) -> tuple[bytes, Http2Error | None]:
    """Of a read of ``wire``, after the ``ahead`` of a DATA frame: SETTINGS are made anew, GOAWAY is a fault."""
    reader = FrameReader()
    if ahead:
        reader.read(ahead, len(ahead))
    begin, found = reader.read(wire, len(wire))
    out: list[bytes | memoryview] = []
    made: list[bytes] = []

    def judge(frame: Frame) -> bool:
        if frame[0] == frames.GOAWAY:
            raise broken("a test")
        if frame[0] == frames.SETTINGS:
            made.append(b"<anew>")
        return frame[0] in (frames.PING, frames.DATA)

    fault = pass_on(reader, found, begin, 0 if ahead_goes_on else begin, judge, out, made)
    return b"".join(out), fault


def test_what_goes_on_and_what_comes_in_its_place() -> None:
    assert went_on(PING + SETTINGS + DATA + frames.rst_stream(1, 8) + PING) == (PING + b"<anew>" + DATA + PING, None)
    assert went_on(b"") == (b"", None)


def test_half_a_data_frame_goes_on_and_any_other_half_waits() -> None:
    assert went_on(PING + DATA[:12]) == (PING + DATA[:12], None)
    assert went_on(PING + PING[:12]) == (PING, None)


@pytest.mark.parametrize("goes_on", [True, False])
def test_the_rest_of_a_data_frame_goes_where_it_began(goes_on: bool) -> None:
    said, fault = went_on(DATA[12:] + PING, ahead=DATA[:12], ahead_goes_on=goes_on)
    assert (said, fault) == ((DATA[12:] if goes_on else b"") + PING, None)


@pytest.mark.parametrize(
    "bad", [frames.goaway(0, 0), frames.frame(frames.PING, 0, 1, bytes(8))], ids=["state", "frame"]
)
def test_what_comes_before_a_fault_goes_on(bad: bytes) -> None:
    said, fault = went_on(PING + SETTINGS + DATA + bad + PING)
    assert said == PING + b"<anew>" + DATA
    assert fault is not None
    assert fault.__traceback__ is None  # its frames would hold the buffer


def test_since_when_a_block_is_under_way() -> None:
    def since(*pieces: bytes) -> float:
        reader, at = FrameReader(), 0.0
        for now, piece in enumerate(pieces, 1):
            begin, found = reader.read(piece, len(piece))
            at = block_since(reader, found, begin, at, float(now))
        return at

    begun, more = frames.frame(frames.HEADERS, 0, 1, b"\x82"), frames.frame(frames.CONTINUATION, 0, 1, b"\x87")
    last = frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b"\x84")
    assert since(PING) == 0
    assert since(PING[:5]) == 1
    assert since(PING, begun, more, more[:4]) == 2
    assert since(begun, more, last) == 0
    assert since(PING[:5], PING[5:] + PING[:5]) == 2
