"""A body in chunks (RFC 9112 section 7.1): where it ends, and which of its bytes go on.

Chunks keep their boundaries, whatever pieces they arrive in; chunk extensions and unlisted trailers do not go on. Small
chunks are not looked at one by one but matched in one go, or a sender of one-byte chunks would keep us busy for two
orders of magnitude longer than itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from tlsidecar.dataplane.http import grammar
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1.body import Piece
from tlsidecar.dataplane.http1.head_reader import Buffer
from tlsidecar.outcomes import Reason

MAX_CHUNK_EXTENSION_BYTES = 1024
MAX_CHUNK_SIZE_DIGITS = 16
MAX_TRAILER_BYTES = 8192
MAX_TRAILER_FIELDS = 32

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

# Chunks up to this size are matched many at a time. Above it what is said about a chunk is little beside its data.
_SMALL_BYTES = 63
_AROUND_CHUNK_BYTES = 4  # the ends of its size line and of its data
_TWO_CHUNKS_BYTES = 2 * (_AROUND_CHUNK_BYTES + 2)

# Each extension is work, and they are of no use to anybody: about 4,000 short ones a body, more where data comes with
# them (Go's net/http has a bound of the same kind, after CVE-2023-39326).
MAX_EXCESS_BYTES = 64 * 1024
_EXTENSION_EXCESS_BYTES = 16
_DATA_BYTES_FOR_ONE_OF_EXCESS = 256


class _SmallChunks:
    """``run`` matches as many small chunks without extensions as there are; ``sizes`` are the digits of each."""

    def __init__(self) -> None:
        zeros = rb"0{0,%d}+" % (MAX_CHUNK_SIZE_DIGITS - 2)
        chunk = zeros + b"(?:" + b"|".join(_by_first_digit()) + b")"
        # Atomic within possessive: CPython before 3.11.5 goes on from where an attempt that failed had come to, where
        # what is repeated possessively can backtrack (gh-106052), and would take the half of a chunk for a whole one.
        self.run = re.compile(b"(?:(?>" + chunk + b"))*+").match
        self.sizes = re.compile(rb"(?=(" + zeros + rb"[1-9A-Fa-f][0-9A-Fa-f]?)\r)" + chunk).findall


def _by_first_digit() -> Iterator[bytes]:
    def digit(value: int) -> bytes:
        return b"[%x%X]" % (value, value) if value > 9 else b"%d" % value

    def rest(size: int) -> bytes:
        return rb"\r\n[\x00-\xff]{%d}\r\n" % size

    for high in range(1, 16):
        branches = [digit(low) + rest(high * 16 + low) for low in range(16) if high * 16 + low <= _SMALL_BYTES]
        yield digit(high) + b"(?:" + b"|".join([rest(high), *branches]) + b")"


@cache  # made when the first small chunk comes: most processes see none
def _small_chunks() -> _SmallChunks:
    return _SmallChunks()


_CHUNKS_IN_ONE = 16
_CR, _LF = _CRLF = b"\r\n"
_END_OF_ALL = b"\r\n0\r\n\r\n"  # of the last chunk's data, and the chunk that says that it was the last

_SIZE, _DATA, _DATA_END, _TRAILER, _DONE = range(5)


class ChunkedReader:
    """A chunked body (RFC 9112 section 7.1), strictly.

    ``trailers`` are the names, lowercase, of the trailer fields that go on; the caller sees to it that no framing or
    identity field is among them. ``max_body_bytes`` bounds the data: a chunk that says it will exceed it is refused
    with 413 before its first byte. Without ``framed`` only the data goes on.
    """

    def __init__(
        self, trailers: frozenset[bytes] = frozenset(), max_body_bytes: int | None = None, *, framed: bool = True
    ) -> None:
        self._framed = framed
        self._may_pass = framed and max_body_bytes is None
        self._trailers = trailers
        self._max_body_bytes = max_body_bytes
        self._state = _SIZE
        self._may_pass_next = self._may_pass  # what comes next is the beginning of a chunk
        self._remaining = 0
        self._line = bytearray()  # a size or trailer line whose end is missing, already judged as far as it goes
        self._trailer_bytes = 0
        self._trailer_fields = 0
        self.kept_trailers: list[tuple[bytes, bytes]] = []
        self._data_bytes = 0  # so far as it has a bound
        self._excess_bytes = 0  # of extensions
        self.done = False

    def __repr__(self) -> str:
        state = ("size", "data", "data end", "trailer", "done")[self._state]
        return f"<ChunkedReader {state} remaining={self._remaining}>"

    def passes(self, buffer: Buffer, end: int) -> bool:
        """Within one chunk, or whole chunks that are not small."""
        if self._may_pass_next:
            # As _is_one_chunk has it, without the call: so is each event of a stream.
            line = _size_lines.get(end)
            if line is not None and buffer.startswith(_CRLF, end - 2) and buffer.startswith(line):
                return True
        elif self._state == _DATA:
            if end >= self._remaining:
                return False
            self._remaining -= end
            return True
        else:
            return False
        if _is_one_chunk(buffer, 0, end):
            return True
        position = 0
        while position < end:
            match = _SIZE_LINE.match(buffer, position, end)
            if match is None or match[2] is not None:
                return False
            size = int(match[1], 16)
            after = match.end() + size + 2
            if (
                after > end
                or buffer[after - 2 : after] != b"\r\n"
                or not (size > _SMALL_BYTES or (size and not position))
            ):
                return False
            position = after
        return True

    def read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        self._may_pass_next = False  # for good, if it is refused
        position = self._read(buffer, start, end, out)
        self._may_pass_next = self._may_pass and self._state == _SIZE and not self._line
        return position

    def _read(self, buffer: Buffer, start: int, end: int, out: list[Piece]) -> int:
        view = memoryview(buffer)
        data_out = None
        if not self._framed:
            data_out, out = out, []
        position = raw_from = start  # what lies between the two goes on as it is
        while position < end:
            if self._state == _DATA:
                count = min(end - position, self._remaining)
                if data_out is not None:
                    data_out.append(view[position : position + count])
                position += count
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
                size, as_it_is, extension_bytes = size_line
                if as_it_is and (len(size) < 3 or size[:1] == b"0") and data_out is None:
                    small_end = self._small_chunks(buffer, line_from, end)
                    if small_end > line_from:
                        position = small_end
                        continue
                if extension_bytes:
                    self._count_extension(extension_bytes, int(size, 16))
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

    def _size_line(self, buffer: Buffer, start: int, end: int) -> tuple[tuple[bytes, bool, int] | None, int]:
        """The digits, whether the line can go on as it lies there, how long its extension is, and where it ends; no
        digits while it does not."""
        if not self._line:
            match = _SIZE_LINE.match(buffer, start, end)
            if match is not None:
                return (match[1], match[2] is None, len(match[2] or b"")), match.end()
        # In pieces, or wrong. A line that is not wrong is bounded, and so is what is looked at again.
        fresh = bytes(memoryview(buffer)[start : min(end, start + _MAX_SIZE_LINE_BYTES - len(self._line))])
        line = bytes(self._line) + fresh
        match = _SIZE_LINE.match(line)
        if match is not None:
            return (match[1], False, len(match[2] or b"")), start + match.end() - len(self._line)
        if _SIZE_LINE_START.match(line) is None:
            raise _bad_chunk("the size is not plain hexadecimal of at most 16 digits, or its line is malformed")
        self._line += fresh
        return None, start + len(fresh)

    def _small_chunks(self, buffer: Buffer, start: int, end: int) -> int:
        """Where the small chunks end that lie whole at ``start``; ``start`` where there are fewer than two."""
        patterns = _small_chunks()
        run = patterns.run(buffer, start, end)
        assert run is not None  # of no chunk at all
        stop = run.end()
        if stop - start < _TWO_CHUNKS_BYTES:
            return start
        if self._max_body_bytes is not None:
            sizes = patterns.sizes(buffer, start, stop)
            self._count(stop - start - len(b"".join(sizes)) - _AROUND_CHUNK_BYTES * len(sizes))
        return stop

    def _count(self, size: int) -> None:
        """So much more data is to come, or there."""
        self._data_bytes += size
        if self._max_body_bytes is not None and self._data_bytes > self._max_body_bytes:
            raise MessageRefused(413, Reason.BODY_TOO_LARGE)

    def _count_extension(self, length: int, size: int) -> None:
        earned = size // _DATA_BYTES_FOR_ONE_OF_EXCESS
        self._excess_bytes = max(0, self._excess_bytes + length + _EXTENSION_EXCESS_BYTES - earned)
        if self._excess_bytes > MAX_EXCESS_BYTES:
            raise _bad_chunk("too many extensions")

    def _begin_chunk(self, digits: bytes) -> None:
        size = int(digits, 16)
        if size > grammar.MAX_CONTENT_LENGTH:
            raise _bad_chunk("its size is over 2^63-1")
        self._count(size)
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


def is_whole_in_chunks(buffer: Buffer, start: int, end: int) -> bool:
    """Whether ``buffer[start:end]`` is exactly one chunked body that goes on as it is, in not too many chunks."""
    if buffer.startswith(_END_OF_ALL, end - 7) and _is_one_chunk(buffer, start, end - 5):
        return True
    for _ in range(_CHUNKS_IN_ONE):
        match = _SIZE_LINE.match(buffer, start, end)
        if match is None or match[2] is not None:
            return False
        size = int(match[1], 16)
        start = match.end() + size + 2
        if start > end or buffer[start - 2 : start] != b"\r\n":
            return False
        if not size:
            return start == end and match[1] == b"0"
    return False


def _is_one_chunk(buffer: Buffer, start: int, end: int) -> bool:
    """Whether ``buffer[start:end]`` is exactly one chunk as nearly everybody writes it; ``False`` says nothing.

    How many bytes there are tells what the size line must be, and to compare it costs a third of reading one.
    """
    count = end - start
    line = _size_lines.get(count) or _size_line_of(count)
    return bool(line) and buffer[end - 1] == _LF and buffer[end - 2] == _CR and buffer.startswith(line, start)


_size_lines: dict[int, bytes] = {}  # those met so far, by what a chunk has in all
_MOST_SIZE_LINES = 1024


def _size_line_of(count: int) -> bytes:
    """The size line of a chunk that has ``count`` bytes in all; empty where there can be none."""
    digits = 1
    while count - digits - _AROUND_CHUNK_BYTES >= 16**digits:
        digits += 1
    size = count - digits - _AROUND_CHUNK_BYTES
    line = b"%x\r\n" % size if size > 0 and len(b"%x" % size) == digits else b""
    if line:
        if len(_size_lines) >= _MOST_SIZE_LINES:
            _size_lines.clear()
        _size_lines[count] = line
    return line


def _bad_chunk(detail: str) -> MessageRefused:
    return MessageRefused(400, Reason.BAD_CHUNK, detail)
