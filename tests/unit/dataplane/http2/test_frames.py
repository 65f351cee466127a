from __future__ import annotations

import json
from pathlib import Path

import pytest
from hyperframe.exceptions import HyperframeError, InvalidPaddingError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st
from support.public_data import stories
from unit.dataplane.http2.reading import pieces_of, read_all

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.errors import ErrorCode


@pytest.mark.parametrize("story", stories("http2-frames"))
def test_a_public_frame_is_read_or_refused(story: Path) -> None:
    case = json.loads(story.read_text())
    wire = bytes.fromhex(case["wire"])
    if story.parent.name == "continuation":
        wire = frames.frame(frames.HEADERS, 0, int.from_bytes(wire[5:9], "big"), b"") + wire
    seen, fault, _ = read_all([wire])
    if case["error"] is not None:
        assert fault.partition(":")[0] in {ErrorCode(code).name for code in case["error"]}
        return
    if story.parent.name == "push_promise":
        assert fault.startswith("PROTOCOL_ERROR")  # nobody here ever asks for one
        return
    assert fault == ""
    ((kind, flags, stream, payload),) = seen or [(frames.CONTINUATION, 0, 0, b"")]
    expected = case["frame"]
    said = expected["frame_payload"]
    if story.parent.name == "continuation":
        assert not seen or payload == said["header_block_fragment"].encode()
        return
    assert (kind, flags, stream) == (expected["type"], expected["flags"], expected["stream_identifier"])
    if kind == frames.HEADERS:
        assert payload == said["header_block_fragment"].encode()
    elif kind == frames.DATA:
        padding = said["padding_length"]
        text = said["data"].encode()
        assert payload == (text if padding is None else bytes([padding]) + text + said["padding"].encode())
    elif kind == frames.SETTINGS:
        assert frames.settings_in(payload) == [tuple(pair) for pair in said["settings"]]
    elif kind == frames.WINDOW_UPDATE:
        assert frames.number(payload) == said["window_size_increment"]
    elif kind == frames.RST_STREAM:
        assert frames.number(payload) == said["error_code"]


_HEADER = frames.frame(frames.HEADERS, 0, 1, b"\x82")
_LONG = b"x" * (frames.MAX_FRAME_BYTES + 1)


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        pytest.param(frames.frame(0, 0, 1, _LONG), "FRAME_SIZE_ERROR", id="data over 16 KiB"),
        pytest.param(frames.frame(1, 4, 1, _LONG), "FRAME_SIZE_ERROR", id="headers over 16 KiB"),
        pytest.param(frames.frame(0x42, 0, 1, _LONG), "FRAME_SIZE_ERROR", id="an unknown kind over 16 KiB"),
        pytest.param(frames.frame(0, 8, 1, b""), "FRAME_SIZE_ERROR", id="padded data without padding"),
        pytest.param(frames.frame(1, 12, 1, b""), "FRAME_SIZE_ERROR", id="padded headers without padding"),
        pytest.param(frames.frame(1, 12, 1, b"\x02\x82"), "PROTOCOL_ERROR", id="headers all padding and more"),
        pytest.param(frames.frame(1, 36, 1, b"\0\0\0\0"), "FRAME_SIZE_ERROR", id="headers with half a priority"),
        pytest.param(frames.frame(1, 36, 3, b"\0\0\0\3\1"), "PROTOCOL_ERROR", id="headers that depend on themselves"),
        pytest.param(frames.frame(2, 0, 3, b"\x80\0\0\3\1"), "PROTOCOL_ERROR", id="priority on itself"),
        pytest.param(_HEADER + frames.frame(0, 0, 1, b""), "PROTOCOL_ERROR", id="data within a block"),
        pytest.param(_HEADER + frames.frame(0x42, 0, 1, b""), "PROTOCOL_ERROR", id="an unknown kind within a block"),
        pytest.param(_HEADER + frames.frame(9, 4, 3, b""), "PROTOCOL_ERROR", id="another stream's continuation"),
        pytest.param(frames.frame(9, 4, 1, b""), "PROTOCOL_ERROR", id="continuation of nothing"),
        pytest.param(_HEADER + frames.frame(9, 0, 1, b"x") * 9, "ENHANCE_YOUR_CALM", id="nine continuations"),
        pytest.param(_HEADER + frames.frame(9, 0, 1, b"x" * 16_384) * 2, "ENHANCE_YOUR_CALM", id="a block over 32 KiB"),
        pytest.param(frames.settings([(2, 2)]), "PROTOCOL_ERROR", id="push 2"),
        pytest.param(frames.settings([(4, 2**31)]), "FLOW_CONTROL_ERROR", id="a window over the limit"),
        pytest.param(frames.settings([(5, 16_383)]), "PROTOCOL_ERROR", id="frames too small"),
        pytest.param(frames.settings([(5, 2**24)]), "PROTOCOL_ERROR", id="frames too large"),
        pytest.param(frames.frame(8, 0, 0, b"\x80\0\0\0"), "PROTOCOL_ERROR", id="no increment but the reserved bit"),
        pytest.param(frames.frame(7, 0, 0, b"1234567"), "FRAME_SIZE_ERROR", id="a short goaway"),
        pytest.param(frames.frame(7, 0, 1, b"12345678"), "PROTOCOL_ERROR", id="a goaway on a stream"),
    ],
)
def test_a_frame_that_is_wrong_by_itself(wire: bytes, code: str) -> None:
    before = frames.frame(frames.PING, 0, 0, b"12345678")
    seen, fault, _ = read_all([before + wire])
    assert seen == [(frames.PING, 0, 0, b"12345678")]
    assert fault.partition(":")[0] == code


def test_reserved_bits_are_ignored() -> None:
    wire = bytearray(frames.headers(1, b"\x82", end_stream=True))
    wire[5] |= 0x80
    assert read_all([bytes(wire)]) == ([(1, 5, 1, b"\x82")], "", False)


def test_a_large_block_is_written_in_frames_and_read_as_one() -> None:
    block = b"\0\1a\x7f\x80\x80\x01" + b"x" * 20_000
    wire = frames.headers(7, block, end_stream=True)
    assert len(wire) == len(block) + 2 * frames.HEAD_BYTES
    assert read_all([wire]) == ([(1, 1, 7, block)], "", False)


streams = st.integers(1, 2**31 - 1)
small = st.binary(max_size=40)
padding = st.integers(0, 30)


@st.composite
def legal_frames(draw: st.DrawFn) -> bytes:
    """One frame, or header block, that hyperframe writes."""
    stream = draw(streams)
    kind = draw(st.integers(0, 8))
    if kind == 0:
        pad = draw(padding)
        flags = ["PADDED"] * (pad > 0) + ["END_STREAM"] * draw(st.booleans())
        return DataFrame(stream, draw(small), pad_length=pad, flags=flags).serialize()
    if kind == 1:
        pad = draw(padding)
        flags = ["PADDED"] * (pad > 0) + ["END_STREAM"] * draw(st.booleans()) + ["PRIORITY"] * draw(st.booleans())
        more = draw(st.lists(small, max_size=8))
        fields = {"depends_on": stream - 1, "stream_weight": 3, "pad_length": pad}
        first = HeadersFrame(stream, draw(small), flags=flags if more else [*flags, "END_HEADERS"], **fields)
        rest = [ContinuationFrame(stream, part) for part in more]
        if rest:
            rest[-1].flags.add("END_HEADERS")
        return b"".join(each.serialize() for each in (first, *rest))
    if kind == 2:
        return PriorityFrame(stream, depends_on=stream - 1, stream_weight=7).serialize()
    if kind == 3:
        return RstStreamFrame(stream, error_code=draw(st.integers(0, 2**32 - 1))).serialize()
    if kind == 4:
        values = draw(st.dictionaries(st.sampled_from([1, 3, 4, 6, 8, 0xFE03]), st.integers(0, 2**31 - 1), max_size=4))
        return SettingsFrame(0, settings=values).serialize()
    if kind == 5:
        return SettingsFrame(0, flags=["ACK"]).serialize()
    if kind == 6:
        return PingFrame(0, draw(st.binary(min_size=8, max_size=8))).serialize()
    if kind == 7:
        return GoAwayFrame(0, last_stream_id=stream, error_code=2, additional_data=draw(small)).serialize()
    return WindowUpdateFrame(draw(st.sampled_from([0, stream])), draw(st.integers(1, 2**31 - 1))).serialize()


wires = st.lists(legal_frames(), max_size=8).map(b"".join)
cuts = st.lists(st.integers(0, 2**16), max_size=12)


@given(wires, cuts)
def test_any_split_gives_the_same_frames(wire: bytes, cuts: list[int]) -> None:
    whole = read_all([wire])
    assert whole[1:] == ("", False)
    assert read_all(pieces_of(wire, cuts)) == whole


@given(wires, cuts, st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_mutation_is_refused_or_understood_as_hyperframe_does(
    wire: bytes, cuts: list[int], changes: list[tuple[int, int]]
) -> None:
    mutated = bytearray(wire or b"\0")
    for at, value in changes:
        mutated[at % len(mutated)] = value
    seen, fault, unfinished = read_all([bytes(mutated)])
    again = read_all(pieces_of(bytes(mutated), cuts))
    assert again[:2] == (seen, fault)
    understood = _as_hyperframe_reads(bytes(mutated))
    whole = seen[:-1] if unfinished and seen else seen  # the last one may be a part of DATA
    assert understood[: len(whole)] == whole
    if not fault and not unfinished:
        assert len(understood) == len(seen)


def _as_hyperframe_reads(wire: bytes) -> list[tuple[int, int, int, bytes]]:
    """What hyperframe makes of ``wire`` until something is not there or wrong."""
    found: list[tuple[int, int, int, bytes]] = []
    block: list[bytes] = []
    head = (0, 0)
    at = 0
    while len(wire) - at >= 9:
        try:
            frame, length = Frame.parse_frame_header(memoryview(wire[at : at + 9]))
            if at + 9 + length > len(wire):
                break
            raw = wire[at + 9 : at + 9 + length]
            # It refuses an increment with the reserved bit, which RFC 9113 section 6.9 says to ignore.
            bare = bytes([raw[0] & 0x7F]) + raw[1:] if frame.type == frames.WINDOW_UPDATE and raw else raw
            frame.parse_body(memoryview(bare))
        except InvalidPaddingError:
            # It does not take HEADERS of nothing but padding, which RFC 9113 section 6.2 allows.
            start = 1 + 5 * bool(wire[at + 4] & frames.WITH_PRIORITY)
            if frame.type != frames.HEADERS or start + raw[0] != length:
                break
            frame.data = b""
        except HyperframeError:
            break
        flags = wire[at + 4]
        at += 9 + length
        kind = frame.type if frame.type is not None and frame.type < 10 else frames.UNKNOWN
        if kind in (frames.HEADERS, frames.CONTINUATION):
            if kind == frames.HEADERS:
                head = (flags, frame.stream_id)
                block = []
            block.append(bytes(frame.data))
            if not flags & frames.END_HEADERS:
                continue
            found.append((frames.HEADERS, *head, b"".join(block)))
            continue
        found.append((kind, flags, frame.stream_id, raw))
    return found
