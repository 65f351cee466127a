"""Judges the heads of responses by the same grammar as those of requests; what does not pass becomes a 502."""

from __future__ import annotations

import re
from typing import TypeAlias

from tlsidecar.dataplane.http import grammar, names
from tlsidecar.dataplane.http.refusal import MessageRefused, bad_response
from tlsidecar.dataplane.http1.chunked import is_whole_in_chunks
from tlsidecar.dataplane.http1.head_reader import Buffer, HeadReader
from tlsidecar.dataplane.http1.repeats import Repeats
from tlsidecar.dataplane.http1.request_head import Framing
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits

_INITIALS = b"CcKkPpTtUu"  # of the special fields

_Fields: TypeAlias = "list[tuple[bytes, bytes]]"

BODILESS_STATUSES = frozenset({204, 304})
_NOT_ORDINARY = (0, 0)
# See :mod:`.states`.
_LENGTH = Framing.LENGTH
_CHUNKED = Framing.CHUNKED
_CLOSE = Framing.CLOSE


class ResponseHead:
    """One accepted response head. Offsets count from the start of the buffer it was read from.

    ``keep_alive`` is the upstream's word on its connection. ``fields`` is ``None`` for a fast head, which goes on
    without the lines in ``cuts``; the lines in ``keep_alive_cuts`` say ``Connection: keep-alive`` and may stay where
    that is what we would say to the client, too. ``body_may_follow``: there is no body, and whether the upstream knows
    that is not certain.
    """

    __slots__ = (
        "body_may_follow",
        "cuts",
        "end",
        "fields",
        "framing",
        "goes_in_chunks",
        "keep_alive",
        "keep_alive_cuts",
        "length",
        "minor",
        "phrase",
        "start",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, start: int, end: int) -> None:
        self.status = status
        self.start = start
        self.end = end
        self.minor = 1
        self.body_may_follow = False
        self.phrase = b""
        self.framing = _CLOSE
        self.goes_in_chunks = False
        self.length = 0
        self.keep_alive = True
        self.upgrade = b""
        self.cuts: list[tuple[int, int]] = []
        self.keep_alive_cuts: list[tuple[int, int]] = []
        self.fields: list[tuple[bytes, bytes]] | None = None

    def __repr__(self) -> str:
        kind = "fast" if self.fields is None else "precise"
        return f"<ResponseHead {kind} {self.status} {self.framing.name} {self.length}>"


class ResponseScanner:
    """Judges response heads; holds no state of any connection."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._fast_bytes = min(limits.max_header_bytes, limits.max_line_bytes)
        # Possessive: nothing that was taken is given back, so that what does not match costs no more than what does.
        phrase = rb"[" + grammar.VALUE_BYTES + rb"]*+\r\n"
        line = rb"[" + grammar.TCHAR + rb"]++:[" + grammar.VALUE_BYTES + rb"]*+\r\n"
        lines = rb"(?:" + line + rb"){0,%d}+" % limits.max_header_fields
        self._head = re.compile(rb"HTTP/1\.1 ([2-9][0-9][0-9]) " + phrase + lines + rb"\r\n").match
        special = names.any_case([b"content-length", b"transfer-encoding", *names.RESPONSE_HOP_BY_HOP])
        self._search = re.compile(rb"\n(" + special + rb"):([^\r]*)").search
        # The fields of the ordinary response in the spellings of nginx, Go, Node and Python; the last group is any
        # other special field.
        length = rb"[Cc]ontent-[Ll]ength: (0|[1-9][0-9]{0,17})\r"
        keep_alive = rb"([Cc]onnection: keep-alive\r)"
        chunked = rb"([Tt]ransfer-[Ee]ncoding: chunked\r)"
        ordinary = (
            rb"\n(?=[" + _INITIALS + rb"])(?:" + b"|".join((length, keep_alive, chunked, b"(" + special + b":)")) + b")"
        )
        self._ordinary = re.compile(ordinary).findall
        self._repeats: Repeats[tuple[int, int]] = Repeats()

    def scan(self, buffer: Buffer, start: int, end: int, method: bytes) -> ResponseHead | None:
        """The head that starts at ``start``, the answer to ``method``, or ``None`` while not all of it is there.

        Raises :class:`MessageRefused`.
        """
        head = self.fast(buffer, start, end, method)
        if head is not None:
            return head
        reader = self.reader(method)
        head_end = reader.read(buffer, start, end)
        return None if head_end is None else reader.head(start, head_end)

    def reader(self, method: bytes) -> ResponseReader:
        """A precise reader for one head."""
        return ResponseReader(self._limits, method)

    def whole(self, buffer: Buffer, end: int) -> int:
        """The status, if ``buffer[:end]`` is exactly one ordinary response to anything but HEAD, else 0.

        Ordinary: it says where it ends, and there is nothing to take away or add before it goes to a client that stays.
        """
        repeats = self._repeats
        last = repeats.last
        if last is not None and buffer.startswith(last, 0, end):
            repeats.hits += 1
            stop = len(last)
            meaning = repeats.last_meaning
            assert meaning is not None
        else:
            stop = buffer.find(b"\r\n\r\n", 0, end) + 4
            if stop < 4 or stop > self._fast_bytes:
                return 0
            meaning = self._meaning(buffer, stop)
        status, length = meaning
        ends = stop + length == end if length >= 0 else is_whole_in_chunks(buffer, stop, end)
        return status if ends else 0

    def _meaning(self, buffer: Buffer, end: int) -> tuple[int, int]:
        """Of the head that is ``buffer[:end]``, see :meth:`_judge`: looked up, or judged."""
        repeats = self._repeats
        if not repeats.is_open:
            repeats.rest()
            return self._judge(buffer, end)
        lines = bytes(buffer[:end])
        meaning = repeats.known.get(lines)
        if meaning is not None:
            repeats.hits += 1
            repeats.last = lines
            repeats.last_meaning = meaning
            return meaning
        meaning = self._judge(buffer, end)
        repeats.missed(lines, meaning)
        return meaning

    def _judge(self, buffer: Buffer, end: int) -> tuple[int, int]:
        """The status and the length of the body of an ordinary response whose head is ``buffer[:end]``: a length below
        0 for chunks; a status of 0 where it is not ordinary."""
        match = self._head(buffer, 0, end)
        if match is None or match.end() != end:
            return _NOT_ORDINARY
        length = framed = b""
        for digits, _keep_alive, chunked, other in self._ordinary(buffer, match.end(1), end):
            if other or (digits and length) or (chunked and framed):
                return _NOT_ORDINARY
            length = length or digits
            framed = framed or chunked
        status = int(match[1])
        if status in BODILESS_STATUSES or bool(length) == bool(framed):
            return _NOT_ORDINARY
        return status, int(length) if length else -1

    def fast(self, buffer: Buffer, start: int, end: int, method: bytes) -> ResponseHead | None:
        """The head, if it is whole and ordinary; ``None`` says nothing."""
        if method == b"HEAD":
            return None
        match = self._head(buffer, start, end)
        if match is None:
            return None
        stop = match.end()
        if stop - start > self._fast_bytes:
            return None
        head = ResponseHead(int(match[1]), start, stop)
        found = self._search(buffer, match.end(1), stop)
        while found is not None:
            name = found[1].lower()
            value = found[2].strip(b" \t")
            line = (found.start() + 1, found.end() + 2)
            if name == b"content-length":
                length = grammar.content_length(value)
                if length is None or head.framing is not _CLOSE:
                    return None
                head.framing = _LENGTH
                head.length = length
            elif name == b"transfer-encoding":
                if head.framing is not _CLOSE or found[2] != b" chunked":
                    return None
                head.framing = _CHUNKED
            elif name == b"connection":
                option = value.lower()
                if option == b"keep-alive":
                    head.keep_alive_cuts.append(line)
                elif option == b"close":
                    head.keep_alive = False
                    head.cuts.append(line)
                else:
                    return None
            else:
                head.cuts.append(line)
            found = self._search(buffer, found.end() + 1, stop)
        return None if head.status in BODILESS_STATUSES else head


class ResponseReader(HeadReader):
    """The precise half: one response head, possibly in pieces."""

    def __init__(self, limits: Limits, method: bytes) -> None:
        super().__init__(
            limits.max_header_bytes, limits.max_header_fields, limits.max_line_bytes, limits.max_line_bytes
        )
        self._method = method
        self._status = 0
        self._minor = 1
        self._phrase = b""

    def check_start(self, buffer: Buffer, start: int, end: int) -> None:
        there = bytes(buffer[start : min(end, start + len(grammar.STATUS_LINE_START))])
        if not grammar.STATUS_LINE_START.startswith(there):
            raise self.refusal(Reason.UPSTREAM_BAD_RESPONSE, "not HTTP/1")

    def start_line(self, line: bytes) -> None:
        match = grammar.STATUS_LINE.fullmatch(line)
        if match is None:
            raise self.refusal(Reason.UPSTREAM_BAD_RESPONSE, "the status line is malformed")
        minor, status, phrase = match.groups()
        self._minor = int(minor)
        self._status = int(status)
        self._phrase = phrase or b""

    def refusal(self, reason: Reason, detail: str) -> MessageRefused:
        if reason is Reason.UPSTREAM_BAD_RESPONSE:
            return bad_response(detail)
        return bad_response(f"{reason.sentence}: {detail}" if detail else reason.sentence)

    def too_long(self, *, start_line: bool, line: bool) -> MessageRefused:
        return bad_response("its head is over the limit" + (", one line" if line else ""))

    def head(self, start: int, end: int) -> ResponseHead:
        """What the whole head says. Raises :class:`MessageRefused` where its fields do not go together."""
        head = ResponseHead(self._status, start, end)
        head.minor = self._minor
        head.phrase = self._phrase
        lengths: list[bytes] = []
        codings: list[bytes] = []
        options: list[bytes] = []
        upgrades: list[bytes] = []
        others: _Fields = []
        seen = {
            b"content-length": lengths,
            b"transfer-encoding": codings,
            b"connection": options,
            b"upgrade": upgrades,
        }
        for name, value in self.fields:
            lowered = name.lower()
            values = seen.get(lowered)
            if values is not None:
                values.append(value)
                if lowered == b"content-length":
                    others.append((name, value))
            elif lowered not in names.RESPONSE_HOP_BY_HOP:
                others.append((name, value))
        self._judge_framing(head, lengths, codings, others)
        self._judge_connection(head, options, upgrades, others)
        return head

    def _judge_framing(self, head: ResponseHead, lengths: list[bytes], codings: list[bytes], others: _Fields) -> None:
        if lengths and codings:
            raise self.refusal(Reason.AMBIGUOUS_FRAMING, "")
        if codings:
            if head.minor == 0:
                raise self.refusal(Reason.BAD_TRANSFER_ENCODING, "with HTTP/1.0")
            if len(codings) > 1 or codings[0].lower() != b"chunked":
                raise self.refusal(Reason.BAD_TRANSFER_ENCODING, "not one chunked")
            head.framing = _CHUNKED
        elif lengths:
            length = grammar.content_length(lengths[0])
            if length is None or len(lengths) > 1:
                raise self.refusal(Reason.BAD_CONTENT_LENGTH, "two lines, or not a plain decimal number below 2^63")
            head.framing = _LENGTH
            head.length = length
        self._judge_bodiless(head, others)

    def _judge_bodiless(self, head: ResponseHead, others: _Fields) -> None:
        """RFC 9112 section 6.3: what ends with its head whatever the fields say. ``length`` stays as it was stated."""
        mentions_body = head.framing is _CHUNKED or head.length > 0
        if head.status < 200 or head.status == 204:
            # These may not even mention a body; an empty one that is mentioned does no harm.
            if head.status < 200 and mentions_body:
                raise bad_response(f"a body with {head.status}")
            head.framing = Framing.NONE
            head.body_may_follow = mentions_body
            others[:] = [(name, value) for name, value in others if name.lower() != b"content-length"]
        elif head.status == 304:
            head.framing = Framing.NONE
            head.body_may_follow = mentions_body
        elif self._method == b"HEAD":
            # Services answer HEAD by what serves GET, now and then with the body, too.
            head.body_may_follow = mentions_body or head.framing is _CLOSE
            head.framing = Framing.NONE

    def _judge_connection(
        self,
        head: ResponseHead,
        options: list[bytes],
        upgrades: list[bytes],
        others: _Fields,
    ) -> None:
        listed = grammar.tokens(b",".join(options))
        if listed is None:
            raise self.refusal(Reason.BAD_HEADER, "Connection is not a list of tokens")
        if not names.FRAMING.isdisjoint(listed):
            raise self.refusal(Reason.BAD_HEADER, "Connection names a framing field")
        head.keep_alive = head.minor == 1 and b"close" not in listed
        head.fields = [(name, value) for name, value in others if name.lower() not in listed]
        if b"upgrade" in listed:
            head.upgrade = b",".join(upgrades).lower()
