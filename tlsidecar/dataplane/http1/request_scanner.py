"""Judges request heads (RFC 9112) and says what they ask for. It refuses; it never repairs.

A head is judged in one of two ways that agree wherever both speak (a property test holds them to it):

- *fast*: one anchored pattern for the whole head and one that finds the fields that mean something. It only ever
  accepts, and only what an ordinary client sends. What comes again is looked up (:mod:`.repeats`): a whole head, or all
  of it but its first line.
- *precise*: :class:`~.request_reader.RequestReader`, line by line, resumable; for everything else, and for every
  refusal.

A fast head is relayed by copying its bytes, without the lines in ``cuts``; a precise one from its ``fields``.
"""

from __future__ import annotations

import re

from tlsidecar.dataplane.http import grammar, names
from tlsidecar.dataplane.http.rules import RequestRules
from tlsidecar.dataplane.http1.head_reader import Buffer, uncut
from tlsidecar.dataplane.http1.repeats import MOST_BYTES, Repeats
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.dataplane.http1.request_reader import RequestReader

FAST_METHODS = rb"(GET|POST|HEAD|PUT|DELETE|PATCH|OPTIONS)"


class _Lines:
    """What the lines of an ordinary head say, all of them but the first; ``cuts`` count from their start."""

    __slots__ = ("_cuts", "_framing", "_host", "_keep_alive", "_length", "_request_id")

    def __init__(self, head: RequestHead, at: int) -> None:
        self._host = head.host
        self._framing = head.framing
        self._length = head.length
        self._keep_alive = head.keep_alive
        self._request_id = head.request_id
        self._cuts = tuple((start - at, end - at) for start, end in head.cuts)

    def head(self, method: bytes, target: bytes, start: int, at: int, end: int) -> RequestHead:
        """The head that has them at ``at``."""
        head = RequestHead(method, target, self._host, start, end)
        if self._framing:
            head.framing = self._framing
            head.length = self._length
        if self._cuts:
            head.cuts = [(at + first, at + last) for first, last in self._cuts]
        head.keep_alive = self._keep_alive
        head.request_id = self._request_id
        return head


class RequestScanner:
    """Judges one listener's request heads; holds no state of any connection."""

    def __init__(self, rules: RequestRules) -> None:
        self.rules = rules
        limits = rules.limits
        # Within these bounds no line can be over its own limit.
        self._fast_bytes = min(limits.max_header_bytes, limits.max_line_bytes)
        # Possessive: nothing that was taken is given back, so that what does not match costs no more than what does.
        line = rb"[A-Za-z0-9-]++:[" + grammar.VALUE_BYTES + rb"]*+\r\n"
        lines = rb"((?:" + line + rb"){0,%d}+)" % max(limits.max_header_fields - 1, 0)
        host = rb"(?:[Hh]ost: ?(" + grammar.HOST_PATTERN + rb")\r\n)?"
        target = rb" (/[\x21\x22\x24-\x7e]{0,%d}+)" % max(limits.max_target_bytes - 1, 0)
        request_line = FAST_METHODS + target + rb" HTTP/1\.1\r\n"
        self._request_line = re.compile(request_line).match
        self._head = re.compile(request_line + host + lines + rb"\r\n").match
        self._heads: Repeats[RequestHead] = Repeats()
        self._repeats: Repeats[_Lines] = Repeats()
        prefixes = [prefix + b"*" for prefix in rules.removed.prefixes]
        special = [
            b"host",
            b"content-length",
            b"transfer-encoding",
            *names.REQUEST_HOP_BY_HOP,
            *rules.removed.exact,
            *([names.DESTINATION] if rules.judges_destination else []),
            *prefixes,
            names.REQUEST_ID,
        ]
        # And credentials for the connection: what begins otherwise is passed by.
        special_names = names.any_case(special) + rb"|(?i:authorization)(?=:[ \t]*[Nn])"
        self._search = re.compile(rb"\n(" + special_names + rb"):([^\r]*)").search
        self._takes_request_ids = names.REQUEST_ID not in rules.removed

    def scan(self, buffer: Buffer, start: int, end: int) -> RequestHead | None:
        """The head that starts at ``start``, all of which is there, or ``None`` while it is not.

        Raises :class:`MessageRefused`. For heads in pieces keep a :meth:`reader` and the bytes together.
        """
        head = self.fast(buffer, start, end)
        if head is not None:
            return head
        reader = self.reader()
        head_end = reader.read(buffer, start, end)
        return None if head_end is None else reader.head(start, head_end)

    def reader(self) -> RequestReader:
        """A precise reader for one head."""
        return RequestReader(self.rules)

    def fast(self, buffer: Buffer, start: int, end: int) -> RequestHead | None:
        """The head, if it is whole and ordinary; ``None`` says nothing."""
        head = self.shared(buffer, end) if not start else self._of_lines(buffer, start, end)
        return head.copy() if head is not None and head.copied else head

    def shared(self, buffer: Buffer, end: int) -> RequestHead | None:
        """The same at the buffer's start. A head that came before, which has ``copied``, is everybody's, and is to be
        left as it is."""
        heads = self._heads
        if not heads.is_open:
            heads.rest()
            return self._of_lines(buffer, 0, end)
        last = heads.last
        if last is not None and buffer.startswith(last, 0, end):
            heads.hits += 1
            return heads.last_meaning
        stop = buffer.find(b"\r\n\r\n", 0, end) + 4
        if stop < 4:
            return None
        if stop > MOST_BYTES:
            return self._of_lines(buffer, 0, end)
        text = bytes(buffer[:stop])
        known = heads.known.get(text)
        if known is not None:
            heads.hits += 1
            heads.last = text
            heads.last_meaning = known
            return known
        head = self._of_lines(buffer, 0, end)
        model = None
        # Queries rarely come again, and may be anybody's secret.
        if head is not None and head.end == stop and b"?" not in head.target:
            model = head.copy()
            model.copied = b"".join(uncut(buffer, 0, stop - 2, head.cuts))
        heads.missed(text, model)
        return head

    def _of_lines(self, buffer: Buffer, start: int, end: int) -> RequestHead | None:
        """The same, with a look for the lines alone."""
        repeats = self._repeats
        if not repeats.is_open:
            repeats.rest()
            return self._judge(buffer, start, end)
        match = self._request_line(buffer, start, end)
        if match is None:
            return None
        at = match.end()
        stop = buffer.find(b"\r\n\r\n", at, end)
        if stop < 0 or stop + 4 - start > self._fast_bytes:
            return None
        lines = bytes(buffer[at:stop])
        known = repeats.known.get(lines)
        if known is None:
            head = self._judge(buffer, start, end)
            if head is not None and head.end == stop + 4:
                repeats.missed(lines, _Lines(head, at))
            return head
        repeats.hits += 1
        method, target = match.groups()
        return known.head(method, target, start, at, stop + 4)

    def _judge(self, buffer: Buffer, start: int, end: int) -> RequestHead | None:
        matches, search = self._head, self._search  # CPython calls a local faster than an attribute
        match = matches(buffer, start, end)
        if match is None:
            return None
        stop = match.end()
        if stop - start > self._fast_bytes:
            return None
        method, target, host = match.group(1, 2, 3)
        special = search(buffer, match.start(4) - 1, stop)
        if special is None:
            return RequestHead(method, target, host, start, stop) if host is not None else None
        head = RequestHead(method, target, host, start, stop)
        return head if self._specials(head, buffer, special) else None

    def _specials(self, head: RequestHead, buffer: Buffer, special: re.Match[bytes]) -> bool:
        """Read the fields that mean something; whether all of them are ordinary."""
        cuts: list[tuple[int, int]] = []
        head.cuts = cuts
        stop = head.end
        found: re.Match[bytes] | None = special
        while found is not None:
            name, value = found.group(1, 2)
            if b"\t" in value:
                return False  # nginx, for one, does not take a tab for white space: it is not to be copied
            name = name.lower()
            value = value.strip(b" ")
            if name == b"connection":
                option = value.lower()
                if option == b"close":
                    head.keep_alive = False
                elif option != b"keep-alive":
                    return False
                cuts.append((found.start() + 1, found.end() + 2))
            elif name == b"content-length":
                length = grammar.content_length(value)
                if length is None or head.framing:
                    return False
                head.framing = Framing.LENGTH
                head.length = length
            elif name == b"host":
                if head.host is not None or not grammar.HOST.fullmatch(value):
                    return False
                head.host = value
            elif name == b"transfer-encoding":
                if head.framing or found.group(2) != b" chunked":
                    return False
                head.framing = Framing.CHUNKED
            elif name == names.REQUEST_ID and self._takes_request_ids:
                if not value:
                    return False
                head.request_id = head.request_id or value
            elif name in (b"authorization", b"expect", b"upgrade", names.DESTINATION) or name in self.rules.kept:
                return False
            elif name not in self.rules.removed.kept:
                cuts.append((found.start() + 1, found.end() + 2))
            found = self._search(buffer, found.end() + 1, stop)
        return head.host is not None
