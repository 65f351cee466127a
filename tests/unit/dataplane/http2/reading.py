"""Frames as a test compares them: DATA put together again from its parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.frames import FrameReader

Seen = tuple[int, int, int, bytes]  # kind, flags, stream, payload (of DATA with its padding)


def pieces_of(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` cut at these offsets, each taken modulo its length."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


def read_all(pieces: Sequence[bytes]) -> tuple[list[Seen], str, bool]:
    """What is read of ``pieces``: the frames, the fault, and whether it ends in the middle of something."""
    reader = FrameReader()
    seen: list[Seen] = []
    for piece in pieces:
        begin, found = reader.read(bytearray(piece), len(piece))
        if begin:
            kind, flags, stream, payload = seen[-1]
            seen[-1] = (kind, flags, stream, payload + bytes(reader.data[:begin]))
        for kind, flags, stream, at, end, payload in found:
            if kind == frames.CONTINUATION:
                continue
            if kind in (frames.DATA, frames.UNKNOWN):
                payload = bytes(reader.data[at + frames.HEAD_BYTES : end])
            seen.append((kind, flags, stream, payload))
        if reader.fault is not None:
            return seen, str(reader.fault), False
    return seen, "", reader.in_a_block or reader.left > 0
