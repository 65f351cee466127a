"""Where a body ends, and what of it goes on."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http1.chunks import decoded, mean_the_same, read
from unit.dataplane.http1.conversation import cut

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1.body import LAST_CHUNK, ChunkingReader, CloseReader, LengthReader, NoBody
from tlsidecar.dataplane.http1.chunked import ChunkedReader
from tlsidecar.dataplane.http1.halves import body_reader
from tlsidecar.dataplane.http1.request_head import Framing
from tlsidecar.outcomes import Reason

BAD_CHUNKS = [
    b"-1\r\n", b"+1\r\n", b" 1\r\n", b"1 \r\n", b"1\t\r\n", b"0x1\r\n", b"1_0\r\n", b"g\r\n", b"\r\n", b";a\r\n",
    b"1\n", b"1\ra", b"1\r\r\n", b"1;a\n", b"1;a\rb\r\n", b"1;\0\r\n", b"1;\x7f\r\n", b"00000000000000001\r\n",
    b"8000000000000000\r\n", b"FFFFFFFFFFFFFFFF\r\n", b"1" * 17, b"1;" + b"a" * 1024, b"1 ;a\r\n", b"1\x0b\r\n",
    b"1\r\nab", b"1\r\na\n", b"1\r\na\r\r", b"1\r\na\rx", b"1\r\n\r\n\r\n\r\nx", b"1\r\na0\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("step", [1, 2, 1_000_000])
@pytest.mark.parametrize("data", BAD_CHUNKS, ids=[repr(data[:24]) for data in BAD_CHUNKS])
def test_a_chunk_that_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(MessageRefused) as refused:
        read(ChunkedReader(), [data[at : at + step] for at in range(0, len(data), step)])
    assert (refused.value.status, refused.value.reason) == (400, Reason.BAD_CHUNK)


BAD_TRAILERS = [
    (b"X : a\r\n", 400), (b" X: a\r\n", 400), (b"X\r\n", 400), (b": a\r\n", 400), (b"X: \0\r\n", 400), (b"X: a\n", 400),
    (b"X: a\rb\r\n", 400), (b"X: a\r\n b\r\n", 400), (b"\n", 400), (b"\r\r", 400), (b"X: y\r\n" * 33, 431),
    (b"X: " + b"y" * 8200, 431), (b"X\xe9: a\r\n", 400),
]  # fmt: skip


@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize(("data", "status"), BAD_TRAILERS, ids=[repr(row[0][:24]) for row in BAD_TRAILERS])
def test_a_trailer_that_is_refused(data: bytes, status: int, step: int) -> None:
    data = b"0\r\n" + data
    with pytest.raises(MessageRefused) as refused:
        read(ChunkedReader(frozenset({b"x"})), [data[at : at + step] for at in range(0, len(data), step)])
    assert (refused.value.status, refused.value.reason) == (status, Reason.BAD_TRAILER)


def test_extensions_and_unlisted_trailers_do_not_go_on() -> None:
    data = b'3;a="b";c\r\nabc\r\n0;last\r\nX-Keep: \t1 \r\nX-Drop: 2\r\nContent-Length: 9\r\n\r\n'
    reader = ChunkedReader(frozenset({b"x-keep"}))
    assert read(reader, [data + b"GET"]) == (b"3\r\nabc\r\n0\r\nX-Keep: 1\r\n\r\n", b"GET")


def test_the_longest_size_line_there_may_be() -> None:
    data = b"000000000000000a;" + b"x" * 1023 + b"\r\n0123456789\r\n0\r\n\r\n"
    for step in (1, 7, 1041, 5000):
        out, rest = read(ChunkedReader(), [data[at : at + step] for at in range(0, len(data), step)])
        assert (out, rest) == (b"000000000000000a\r\n0123456789\r\n0\r\n\r\n", b"")


def test_too_much_is_refused_before_its_first_byte() -> None:
    with pytest.raises(MessageRefused) as refused:
        read(ChunkedReader(max_body_bytes=10), [b"5\r\nabcde\r\n6\r\n"])
    assert (refused.value.status, refused.value.reason) == (413, Reason.BODY_TOO_LARGE)
    assert read(ChunkedReader(max_body_bytes=10), [b"5\r\nabcde\r\n5\r\nabcde\r\n0\r\n\r\n"])[1] == b""


def test_a_body_of_known_length_ends_there() -> None:
    reader = LengthReader(5)
    assert read(reader, [b"ab", b"cdefg"]) == (b"abcde", b"fg")
    assert reader.done
    assert LengthReader(0).done


def test_a_body_that_ends_with_its_connection() -> None:
    reader = CloseReader()
    assert read(reader, [b"ab", b"cd"]) == (b"abcd", b"")
    assert not reader.done
    reader.finish()
    assert reader.done


def test_the_reader_follows_the_framing() -> None:
    kinds = [type(body_reader(framing, 3)) for framing in Framing]
    assert kinds == [NoBody, LengthReader, ChunkedReader, ChunkingReader]
    assert type(body_reader(Framing.CLOSE, 0, takes_chunks=False)) is CloseReader


def test_what_ends_with_its_connection_goes_on_in_chunks_to_who_takes_them() -> None:
    reader = ChunkingReader()
    out, _ = read(reader, [b"ab", b"c" * 20])
    assert out + reader.finish() == b"2\r\nab\r\n14\r\n" + b"c" * 20 + b"\r\n0\r\n\r\n"
    assert decoded(out + LAST_CHUNK) == (b"ab" + b"c" * 20, b"")


@pytest.mark.parametrize("unit", [b"1\r\na\r\n", b"2\r\naa\r\n01\r\nb\r\n", b"3F\r\n" + b"x" * 63 + b"\r\n1\r\n\n\r\n"])
def test_small_chunks_are_not_looked_at_one_by_one(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one they cost a hundred times what their sender spends."""
    looks = 0
    look = ChunkedReader._size_line

    def counted(reader: ChunkedReader, *where: object) -> object:
        nonlocal looks
        looks += 1
        return look(reader, *where)  # type: ignore[arg-type]

    monkeypatch.setattr(ChunkedReader, "_size_line", counted)
    data = bytearray(unit * 1000 + b"0\r\n\r\n")
    for reader in (ChunkedReader(), ChunkedReader(max_body_bytes=100_000)):
        out: list[bytes | memoryview] = []
        assert reader.read(data, 0, len(data), out) == len(data)
        assert (b"".join(out), len(out), reader.done) == (data, 1, True)
    assert looks <= 6


def test_small_chunks_may_end_anywhere() -> None:
    """CPython before 3.11.5 took the half of a chunk for a whole one (gh-106052)."""
    body = b"6\r\n123456\r\n1\r\na\r\n" + b"1f\r\n%b\r\n2\r\nab\r\n0\r\n\r\n" % (b"x" * 31)
    for at in range(len(body) + 1):
        assert read(ChunkedReader(), cut(body, [at]))[0] == body, at


@pytest.mark.parametrize("limit", [999, 1000])
def test_small_chunks_are_counted_all_the_same(limit: int) -> None:
    data = b"1\r\na\r\n" * 998 + b"2\r\nbb\r\n0\r\n\r\n"
    if limit == 1000:
        assert read(ChunkedReader(max_body_bytes=limit), [data])[0] == data
        return
    with pytest.raises(MessageRefused) as refused:
        read(ChunkedReader(max_body_bytes=limit), [data])
    assert refused.value.status == 413


def test_extensions_are_bounded_and_earned_by_data() -> None:
    with pytest.raises(MessageRefused) as refused:
        read(ChunkedReader(), [b"1;\r\na\r\n" * 5000])
    assert (refused.value.status, refused.value.reason) == (400, Reason.BAD_CHUNK)
    signed = b"4000;chunk-signature=0123456789abcdef\r\n" + b"x" * 0x4000 + b"\r\n"
    reader = ChunkedReader()
    for _ in range(6000):
        reader.read(signed, 0, len(signed), [])


@given(chunks=st.lists(st.binary(min_size=1, max_size=150), max_size=5), cuts=st.lists(st.integers(0, 800), max_size=8))
def test_what_passes_whole_is_what_would_be_read(chunks: list[bytes], cuts: list[int]) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    asked, never = ChunkedReader(), ChunkedReader()
    for piece in cut(data, cuts):
        buffer = bytearray(piece)
        out: list[bytes | memoryview] = []
        assert never.read(buffer, 0, len(buffer), out) == len(buffer)
        if asked.passes(buffer, len(buffer)):
            assert b"".join(out) == piece
            assert not never.done
        else:
            again: list[bytes | memoryview] = []
            asked.read(buffer, 0, len(buffer), again)
            assert b"".join(again) == b"".join(out)
    assert asked.done == never.done


def test_only_at_the_beginning_of_a_chunk_does_one_pass() -> None:
    event = b"5\r\ndata\n\r\n"
    assert ChunkedReader().passes(event, len(event))
    assert not ChunkedReader(framed=False).passes(event, len(event))
    assert not ChunkedReader(max_body_bytes=100).passes(event, len(event))
    for at in range(1, len(event)):
        reader = ChunkedReader()
        reader.read(event, 0, at, [])
        assert not reader.passes(event, len(event))
        reader.read(event, at, len(event), [])
        assert reader.passes(event, len(event))
    refused = ChunkedReader()
    with pytest.raises(MessageRefused):
        refused.read(b"x", 0, 1, [])
    assert not refused.passes(event, len(event))


@pytest.mark.parametrize("count", [*range(1, 30), *range(255, 270), *range(4095, 4110)])
def test_what_looks_like_one_chunk_is_one(count: int) -> None:
    """No other size line than the one that fits, and nothing but CRLF after the data."""
    for size in range(max(0, count - 12), count):
        for line in (b"%x\r\n" % size, b"0%x\r\n" % size, b"%X\r\n" % size, b"\r\n", b"%x\n\n" % size):
            for end in (b"\r\n", b"\n\n", b"\r\r", b""):
                data = (line + b"x" * (count - len(line) - len(end)) + end)[:count]
                reader = ChunkedReader()
                if not reader.passes(data, len(data)):
                    continue
                assert (size, end) == (len(data) - len(line) - 2, b"\r\n")
                assert int(line, 16) == size


def test_without_frames_only_the_data_goes_on() -> None:
    data = b"3;a\r\nabc\r\n" + b"1\r\nd\r\n" * 5 + b"0\r\nX-Keep: 1\r\n\r\n"
    for step in (1, 4, 1000):
        reader = ChunkedReader(frozenset({b"x-keep"}), framed=False)
        assert read(reader, [data[at : at + step] for at in range(0, len(data), step)]) == (b"abcddddd", b"")


_CHUNKS = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=40),
        st.sampled_from(["%x", "%X", "0%x", "%016x"]),
        st.sampled_from([b"", b";a", b";a=b", b';a="\\"\xe9;"', b"; a = b "]),
    ),
    max_size=6,
)
_TRAILERS = st.lists(st.sampled_from([b"X-Keep: 1", b"X-Drop: 2", b"x-keep:\t3 ", b"Host: evil"]), max_size=3)
_CUTS = st.lists(st.integers(0, 10_000), max_size=8)


def encoded(chunks: list[tuple[bytes, str, bytes]], trailers: list[bytes]) -> bytes:
    body = b"".join(b"%b%b\r\n%b\r\n" % ((fmt % len(data)).encode(), ext, data) for data, fmt, ext in chunks)
    return body + b"0\r\n" + b"".join(line + b"\r\n" for line in trailers) + b"\r\n"


@given(chunks=_CHUNKS, trailers=_TRAILERS, cuts=_CUTS)
def test_any_pieces_of_a_valid_body_give_the_same_bytes(
    chunks: list[tuple[bytes, str, bytes]], trailers: list[bytes], cuts: list[int]
) -> None:
    data = encoded(chunks, trailers)
    listed = frozenset({b"x-keep"})
    whole, rest = read(ChunkedReader(listed), [data + b"NEXT"])
    assert rest == b"NEXT"
    assert read(ChunkedReader(listed), cut(data + b"NEXT", cuts)) == (whole, b"NEXT")
    assert decoded(whole) == (b"".join(chunk[0] for chunk in chunks), b"")
    assert b"evil" not in whole.partition(b"0\r\n")[2] or any(b"evil" in chunk[0] for chunk in chunks)


@given(data=st.binary(max_size=60), cuts=_CUTS)
def test_any_bytes_are_refused_ormean_the_same_to_h11(data: bytes, cuts: list[int]) -> None:
    mean_the_same(data, cuts)


@given(chunks=_CHUNKS, trailers=_TRAILERS, at=st.integers(0, 10_000), byte=st.integers(0, 255), cuts=_CUTS)
def test_a_changed_byte_is_refused_or_means_the_same_to_h11(
    chunks: list[tuple[bytes, str, bytes]], trailers: list[bytes], at: int, byte: int, cuts: list[int]
) -> None:
    data = bytearray(encoded(chunks, trailers))
    data[at % len(data)] = byte
    mean_the_same(bytes(data), cuts)


def test_work_grows_with_the_bytes_and_not_with_the_pieces_before_them() -> None:
    """Eight times the chunks may take thirty-two times as long: far from the sixty-four of a quadratic way."""
    order = random.Random(7)

    def seconds(data: bytes) -> float:
        reader = ChunkedReader(frozenset({b"x"}))
        position = 0
        begun = time.thread_time()
        while position < len(data):
            end = min(len(data), position + order.randint(1, 3))
            position = reader.read(data, position, end, [])
        assert reader.done
        return time.thread_time() - begun

    small, large = (b"1;ab\r\nx\r\n" * count + b"0\r\nx: y\r\n\r\n" for count in (400, 3_200))
    assert seconds(large) < 32 * min(seconds(small) for _ in range(3))
