"""Reads a head line by line, as if byte by byte: the same verdict for the same bytes, however they arrived.

This is the half of the scanner that is precise rather than fast. It is used for heads that come in pieces and for
those the fast patterns did not match, and it says why a head is refused. Each byte is looked at a bounded number of
times, so a peer that sends one byte at a time pays more than we do.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from tlsidecar.dataplane.http.grammar import BAD_BYTE, TCHAR, TOKEN, VALUE_BYTES
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.outcomes import Reason

Buffer = bytes | bytearray


_EACH_FIELD = re.compile(rb"([^:\r\n]++):([^\r]*+)\r\n").findall


@cache
def _fields_pattern(max_fields: int) -> Callable[[Buffer, int, int], re.Match[bytes] | None]:
    """Up to so many fields and the empty line after them. Possessive: what does not match costs no more."""
    field = rb"[" + TCHAR + rb"]++:[" + VALUE_BYTES + rb"]*+\r\n"
    return re.compile(rb"(?:" + field + rb"){0,%d}+\r\n" % max_fields).match


class HeadReader(ABC):
    """One head, possibly in pieces. Call :meth:`read` with all of it that is there; it goes on where it was."""

    def __init__(self, max_head_bytes: int, max_fields: int, max_line_bytes: int, max_start_line_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._max_fields = max_fields
        self._max_line_bytes = max_line_bytes
        self._max_start_line_bytes = max_start_line_bytes
        self._line_at = 0  # where the first unfinished line starts, counted from the head's first byte
        self._seen = 0  # how far that line was looked at
        self._started = False
        self.fields: list[tuple[bytes, bytes]] = []

    def read(self, buffer: Buffer, start: int, end: int) -> int | None:
        """Where the head that starts at ``start`` ends, or ``None`` while it is incomplete.

        Raises :class:`MessageRefused` as soon as no continuation could make the head acceptable.
        """
        head_stop = start + self._max_head_bytes
        while True:
            line_start = start + self._line_at
            line_limit = self._max_line_bytes if self._started else self._max_start_line_bytes
            line_stop = min(line_start + line_limit + 2, head_stop)
            stop = min(end, line_stop)
            if not self._started and stop > line_start:
                self.check_start(buffer, line_start, stop)
            newline = buffer.find(b"\n", start + self._seen, stop)
            upto = stop if newline < 0 else newline + 1
            # One byte back: a CR may have been the last byte looked at.
            bad = BAD_BYTE.search(buffer, max(line_start, start + self._seen - 1), upto)
            if bad is not None:
                self._refuse_bad_byte(bad.group())
            if newline < 0:
                if stop == line_stop:
                    raise self.too_long(start_line=not self._started, line=line_stop < head_stop)
                self._seen = stop - start
                return None
            line = bytes(memoryview(buffer)[line_start : newline - 1])
            self._line_at = self._seen = newline + 1 - start
            if not self._started:
                self._started = True
                self.start_line(line)
                # Mostly all of it is there, and well-formed: then one look is enough.
                head_end = self._all_fields(buffer, newline + 1, min(end, head_stop))
                if head_end:
                    return head_end
            elif line:
                self._field(line)
            else:
                return newline + 1

    @abstractmethod
    def check_start(self, buffer: Buffer, start: int, end: int) -> None:
        """Judge what is there of the first line; raises :class:`MessageRefused`."""

    @abstractmethod
    def start_line(self, line: bytes) -> None:
        """Judge the first line, without its CRLF; raises :class:`MessageRefused`."""

    @abstractmethod
    def refusal(self, reason: Reason, detail: str) -> MessageRefused:
        """A malformed head of this kind."""

    @abstractmethod
    def too_long(self, *, start_line: bool, line: bool) -> MessageRefused:
        """A head over its limits: its first line, another line, or the whole."""

    def _all_fields(self, buffer: Buffer, start: int, end: int) -> int:
        """Where the head ends, if all its fields are there and nothing is wrong with any; else 0, and nothing has
        happened. A line by itself is then within its limit because all of them are."""
        match = _fields_pattern(self._max_fields)(buffer, start, end)
        if match is None or match.end() - start > self._max_line_bytes:
            return 0
        fields = _EACH_FIELD(buffer, start, match.end())
        if not self.takes_all(fields):
            return 0
        self.fields = [(name, value.strip(b" \t")) for name, value in fields]
        return match.end()

    def takes_all(self, fields: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether none of these has to be refused for its name."""
        return True

    def _field(self, line: bytes) -> None:
        if len(self.fields) == self._max_fields:
            raise self.too_long(start_line=False, line=False)
        self.fields.append(self.split_field(line))

    def split_field(self, line: bytes) -> tuple[bytes, bytes]:
        """Name and value of one field line; the value without the white space around it."""
        if line[0] in b" \t":
            raise self.refusal(Reason.OBSOLETE_FOLD, f"line {len(self.fields) + 2} starts with white space")
        name, colon, value = line.partition(b":")
        number = len(self.fields) + 1
        if not colon:
            raise self.refusal(Reason.BAD_HEADER, f"field {number} has no colon")
        if not name:
            raise self.refusal(Reason.BAD_HEADER, f"field {number} has an empty name")
        if name[-1] in b" \t":
            raise self.refusal(Reason.BAD_HEADER, f"field {number} has white space before its colon")
        if not TOKEN.fullmatch(name):
            raise self.refusal(Reason.BAD_HEADER, f"the name of field {number} is not a token")
        return name, value.strip(b" \t")

    def _refuse_bad_byte(self, found: bytes) -> None:
        if found[:1] in (b"\r", b"\n"):
            detail = "a CR without LF" if found[:1] == b"\r" else "a LF without CR"
            raise self.refusal(Reason.BARE_LINE_FEED, detail)
        if not self._started:
            raise self.refusal(Reason.BAD_REQUEST_LINE, f"a control byte (0x{found[0]:02x}) in the first line")
        raise self.refusal(Reason.BAD_HEADER, f"a control byte (0x{found[0]:02x}) in field {len(self.fields) + 1}")


def uncut(buffer: Buffer, start: int, end: int, cuts: Iterable[tuple[int, int]]) -> list[Buffer]:
    """What ``buffer[start:end]`` has beside these parts of it."""
    parts = []
    for cut_start, cut_end in cuts:
        if cut_start > start:
            parts.append(buffer[start:cut_start])
        start = cut_end
    if end > start:
        parts.append(buffer[start:end])
    return parts
