"""Finds where a body ends, and which of its bytes go on.

A reader is given bytes where they lie, says how many of them are the message's, and appends what goes on to ``out``:
views on the buffer, as they are the message's own bytes. Chunks keep their boundaries, whatever pieces they arrive in;
chunk extensions and unlisted trailers do not go on.
"""

from __future__ import annotations

import re
from typing import Protocol

from tlsidecar.dataplane.http import grammar
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.dataplane.http1.request_head import Framing
from tlsidecar.outcomes import Reason

MAX_CHUNK_EXTENSION_BYTES = 1024
MAX_CHUNK_SIZE_DIGITS = 16
MAX_TRAILER_BYTES = 8192
MAX_TRAILER_FIELDS = 32

Piece = bytes | memoryview


class BodyReader(Protocol):
    """Reads one body. ``received`` counts its bytes without chunk framing; ``done`` once the last one was read."""

    done: bool
    received: int

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        """Take what belongs to the body from ``buffer[start:end]``; returns where that ends.

        Raises :class:`MessageRefused`; ``out`` then has nothing that may go on.
        """
        ...


class NoBody:
    """The message ended with its head."""

    done = True
    received = 0

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        return start


class LengthReader:
    """A body of a known length in bytes."""

    def __init__(self, length: int) -> None:
        self._remaining = length
        self.received = 0
        self.done = length == 0

    def __repr__(self) -> str:
        return f"<LengthReader received={self.received} remaining={self._remaining}>"

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        count = min(end - start, self._remaining)
        if count:
            out.append(memoryview(buffer)[start : start + count])
            self.received += count
            self._remaining -= count
            self.done = self._remaining == 0
        return start + count


class CloseReader:
    """A body that ends when the connection does; :meth:`finish` says that it did, cleanly."""

    def __init__(self) -> None:
        self.received = 0
        self.done = False

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        if end > start:
            out.append(memoryview(buffer)[start:end])
            self.received += end - start
        return end

    def finish(self) -> None:
        self.done = True


# The size line of a chunk: bytes that are not so are refused one state earlier than any parser could disagree.
_SIZE_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,%d})(;[%b]{0,%d})?\r\n"
    % (MAX_CHUNK_SIZE_DIGITS, grammar.VALUE_BYTES, MAX_CHUNK_EXTENSION_BYTES - 1)
)
# The start of one, while its end is missing.
_SIZE_LINE_START = re.compile(
    rb"[0-9A-Fa-f]{1,%d}(?:\r?\Z|;[%b]{0,%d}\r?\Z)"
    % (MAX_CHUNK_SIZE_DIGITS, grammar.VALUE_BYTES, MAX_CHUNK_EXTENSION_BYTES - 1)
)
_MAX_SIZE_LINE_BYTES = MAX_CHUNK_SIZE_DIGITS + MAX_CHUNK_EXTENSION_BYTES + 2

_SIZE, _DATA, _DATA_END, _TRAILER, _DONE = range(5)


class ChunkedReader:
    """A chunked body (RFC 9112 section 7.1), strictly.

    ``trailers`` are the names, lowercase, of the trailer fields that go on; the caller sees to it that no framing or
    identity field is among them. ``max_body_bytes`` bounds the data: a chunk that says it will exceed it is refused
    with 413 before its first byte.
    """

    def __init__(self, trailers: frozenset[bytes] = frozenset(), max_body_bytes: int | None = None) -> None:
        self._trailers = trailers
        self._max_body_bytes = max_body_bytes
        self._state = _SIZE
        self._remaining = 0
        self._line = bytearray()  # a size or trailer line whose end is missing, already judged as far as it goes
        self._trailer_bytes = 0
        self._trailer_fields = 0
        self.kept_trailers: list[tuple[bytes, bytes]] = []
        self.received = 0
        self.done = False

    def __repr__(self) -> str:
        state = ("size", "data", "data end", "trailer", "done")[self._state]
        return f"<ChunkedReader {state} received={self.received} remaining={self._remaining}>"

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        view = memoryview(buffer)
        position = raw_from = start  # what lies between the two goes on as it is
        while position < end:
            if self._state == _DATA:
                count = min(end - position, self._remaining)
                position += count
                self.received += count
                self._remaining -= count
                if not self._remaining:
                    self._state = _DATA_END
                    self._remaining = 2
            elif self._state == _DATA_END:
                if buffer[position] != b"\r\n"[2 - self._remaining]:
                    raise _bad_chunk("the data is not followed by CRLF")
                position += 1
                self._remaining -= 1
                if not self._remaining:
                    self._state = _SIZE
            elif self._state == _SIZE:
                line_from = position
                size_line, position = self._size_line(buffer, position, end)
                if size_line is None:
                    if line_from > raw_from:
                        out.append(view[raw_from:line_from])
                    return position
                size, as_it_is = size_line
                self._begin_chunk(size)
                if as_it_is and self._state == _DATA:
                    continue
                if as_it_is and size == b"0" and buffer[position : position + 2] == b"\r\n" and position + 2 <= end:
                    position += 2
                    self._state = _DONE
                    self.done = True
                    break
                if line_from > raw_from:
                    out.append(view[raw_from:line_from])
                raw_from = position
                self._line.clear()
                if self._state == _DATA:
                    out.append(size + b"\r\n")
            elif self._state == _TRAILER:
                position = self._trailer(buffer, position, end, out)
                raw_from = position
            else:
                break
        if position > raw_from:
            out.append(view[raw_from:position])
        return position

    def _size_line(self, buffer: Buffer, start: int, end: int) -> tuple[tuple[bytes, bool] | None, int]:
        """The digits, whether the line can go on as it lies there, and where it ends; no digits while it does not."""
        if not self._line:
            match = _SIZE_LINE.match(buffer, start, end)
            if match is not None:
                return (match[1], match[2] is None), match.end()
        # In pieces, or wrong. A line that is not wrong is bounded, and so is what is looked at again.
        fresh = bytes(memoryview(buffer)[start : min(end, start + _MAX_SIZE_LINE_BYTES - len(self._line))])
        line = bytes(self._line) + fresh
        match = _SIZE_LINE.match(line)
        if match is not None:
            return (match[1], False), start + match.end() - len(self._line)
        if _SIZE_LINE_START.match(line) is None:
            raise _bad_chunk("the size is not plain hexadecimal of at most 16 digits, or its line is malformed")
        self._line += fresh
        return None, start + len(fresh)

    def _begin_chunk(self, digits: bytes) -> None:
        size = int(digits, 16)
        if size > grammar.MAX_CONTENT_LENGTH:
            raise _bad_chunk("its size is over 2^63-1")
        if self._max_body_bytes is not None and self.received + size > self._max_body_bytes:
            raise MessageRefused(413, Reason.BODY_TOO_LARGE)
        self._remaining = size
        self._state = _DATA if size else _TRAILER

    def _trailer(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        """Read on in the trailer section, as if byte by byte."""
        stop = min(end, start + MAX_TRAILER_BYTES - self._trailer_bytes)
        newline = buffer.find(b"\n", start, stop)
        upto = stop if newline < 0 else newline + 1
        before = len(self._line)
        self._line += memoryview(buffer)[start:upto]
        self._trailer_bytes += upto - start
        bad = grammar.BAD_BYTE.search(self._line, max(0, before - 1))
        if bad is not None:
            raise MessageRefused(400, Reason.BAD_TRAILER, "a control byte, or a CR or LF alone")
        if newline < 0:
            if self._trailer_bytes >= MAX_TRAILER_BYTES:
                raise MessageRefused(431, Reason.BAD_TRAILER, "over 8 KiB")
            return upto
        line = bytes(self._line[:-2])
        self._line.clear()
        if line:
            self._judge_trailer(line)
            return upto
        self._state = _DONE
        self.done = True
        out.append(b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in self.kept_trailers]))
        return upto

    def _judge_trailer(self, line: bytes) -> None:
        self._trailer_fields += 1
        if self._trailer_fields > MAX_TRAILER_FIELDS:
            raise MessageRefused(431, Reason.BAD_TRAILER, f"over {MAX_TRAILER_FIELDS} fields")
        name, colon, value = line.partition(b":")
        if not colon or not grammar.TOKEN.fullmatch(name):
            raise MessageRefused(400, Reason.BAD_TRAILER, "not a name, a colon and a value")
        if name.lower() in self._trailers:
            self.kept_trailers.append((name, value.strip(b" \t")))


def body_reader(
    framing: Framing, length: int, trailers: frozenset[bytes] = frozenset(), max_body_bytes: int | None = None
) -> BodyReader:
    """The reader for a body that is framed so."""
    if framing is Framing.LENGTH:
        return LengthReader(length)
    if framing is Framing.CHUNKED:
        return ChunkedReader(trailers, max_body_bytes)
    return CloseReader() if framing is Framing.CLOSE else NoBody()


def _bad_chunk(detail: str) -> MessageRefused:
    return MessageRefused(400, Reason.BAD_CHUNK, detail)
