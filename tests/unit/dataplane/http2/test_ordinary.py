"""Runs of DATA frames that are taken together (:mod:`tlsidecar.dataplane.http2.ordinary`): where they end."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.frames import HEAD_BYTES, MAX_FRAME_BYTES
from tlsidecar.dataplane.http2.ordinary import _COLUMNS_PAY, _alike, _run_of_data

MUCH = 1 << 30


def data(size: int, stream: int = 1) -> bytes:
    return frames.data(stream, b"x" * size, end_stream=False)


def run(first: int, rest: bytes, room: int = MUCH) -> tuple[int, int]:
    """How many bytes and frames of ``rest`` are taken with the frame of ``first`` bytes before it."""
    begun = data(first)
    end, count = _run_of_data(begun + rest, 0, len(begun), len(begun) + len(rest), room)
    return end - len(begun), count


FIVE = data(5)
ENDS = [
    pytest.param(b"", 0, id="nothing"),
    pytest.param(FIVE, 1, id="one"),
    pytest.param(FIVE * 40, 40, id="many of one length"),
    pytest.param(FIVE + data(6) + data(1) * 20, 22, id="of several lengths"),
    pytest.param(FIVE * 2 + FIVE[:-1], 2, id="one that is not whole"),
    pytest.param(FIVE * 2 + FIVE[:HEAD_BYTES], 2, id="a head alone"),
    pytest.param(FIVE * 2 + FIVE[:4], 2, id="a part of a head"),
    pytest.param(FIVE * 2 + data(5, stream=3), 2, id="of another stream"),
    pytest.param(FIVE * 2 + frames.data(1, b"12345", end_stream=True), 2, id="the last one"),
    pytest.param(FIVE * 2 + data(0) + FIVE, 2, id="an empty one"),
    pytest.param(FIVE * 2 + frames.frame(0, 8, 1, b"\2ab\0\0"), 2, id="a padded one"),
    pytest.param(FIVE * 2 + frames.frame(1, 4, 1, b"block"), 2, id="another kind"),
    pytest.param(FIVE * 2 + frames.frame(0, 0, 1, b"x" * (MAX_FRAME_BYTES + 1)), 2, id="one over the limit"),
]


@pytest.mark.parametrize(("rest", "count"), ENDS)
def test_a_run_ends_before_what_is_not_like_it(rest: bytes, count: int) -> None:
    for first in (5, 6):
        taken, found = run(first, rest)
        assert found == count
        sizes = [0, *accumulate(_sizes(rest))]
        assert taken == sizes[count]


def _sizes(said: bytes) -> list[int]:
    found = []
    at = 0
    while at + HEAD_BYTES <= len(said):
        found.append(HEAD_BYTES + int.from_bytes(said[at : at + 3], "big"))
        at += found[-1]
    return found


@pytest.mark.parametrize(("room", "count"), [(0, 0), (4, 0), (5, 1), (9, 1), (10, 2), (99, 19), (100, 20), (1000, 30)])
@pytest.mark.parametrize("first", [5, 6])
def test_a_run_ends_where_the_window_does(first: int, room: int, count: int) -> None:
    assert run(first, FIVE * 30, room) == (count * len(FIVE), count)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1, 1, 1, 3])), max_size=40), st.integers(0, 60))
def test_a_run_is_what_counting_one_by_one_finds(sizes: list[tuple[int, int]], room: int) -> None:
    count = left = 0
    for size, stream in sizes:
        if stream != 1 or not size or left + size > room:
            break
        left += size
        count += 1
    rest = b"".join(data(size, stream) for size, stream in sizes)
    assert run(2, rest, room) == (left + count * HEAD_BYTES, count)


@pytest.mark.parametrize("many", [1, 2, _COLUMNS_PAY - 1, _COLUMNS_PAY, 3 * _COLUMNS_PAY])
@pytest.mark.parametrize("column", range(HEAD_BYTES))
def test_frames_are_alike_up_to_the_first_head_that_differs(many: int, column: int) -> None:
    """Compared one by one or column by column, which is the same."""
    said = bytearray(FIVE * (many + 1))
    assert _alike(said, 0, len(FIVE), many) == many
    assert _alike(said, 0, len(FIVE), many - 1) == many - 1
    differs = many // 2 + 1
    said[differs * len(FIVE) + column] ^= 1
    assert _alike(bytes(said), 0, len(FIVE), many) == differs - 1
    said[differs * len(FIVE) + column] ^= 1
    said[len(FIVE) + HEAD_BYTES + 1] ^= 1  # what they carry need not be
    assert _alike(bytes(said), 0, len(FIVE), many) == many
