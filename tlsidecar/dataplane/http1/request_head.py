"""The door: judges request heads (RFC 9112) and says what they ask for. It refuses; it never repairs.

A head is judged in one of two ways that agree wherever both speak (a property test holds them to it):

- *fast*: one anchored pattern for the whole head and one that finds the fields that mean something. It only ever
  accepts, and only what an ordinary client sends. Lines that come again are looked up (:mod:`.repeats`).
- *precise*: :class:`RequestReader`, line by line, resumable; for everything else, and for every refusal.

A fast head is relayed by copying its bytes, without the lines in ``cuts``; a precise one from its ``fields``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeAlias

from tlsidecar.dataplane.http import grammar, names
from tlsidecar.dataplane.http.grammar import fold
from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http.rules import RequestRules
from tlsidecar.dataplane.http1.head_reader import Buffer, HeadReader
from tlsidecar.dataplane.http1.repeats import Repeats
from tlsidecar.outcomes import Reason

FAST_METHODS = rb"(GET|POST|HEAD|PUT|DELETE|PATCH|OPTIONS)"
# Services may do anything on TRACE but echo it, and what we add must not be echoed (nginx, too, answers 405).
REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})


_Refusal: TypeAlias = "Callable[[Reason, str], MessageRefused]"


class Framing(IntEnum):
    """How a message's end is found."""

    NONE = 0  # there is no body
    LENGTH = 1  # Content-Length
    CHUNKED = 2
    CLOSE = 3  # responses only: until the connection ends


_NO_BODY = Framing.NONE


class RequestHead(Request):
    """One accepted request head. Offsets count from the start of the buffer it was read from.

    ``fields`` is ``None`` for a fast head; else it has what goes on: neither fields for this hop nor any that the
    listener removes.
    """

    __slots__ = (
        "binds_connection",
        "cuts",
        "end",
        "expects_continue",
        "fields",
        "framing",
        "keep_alive",
        "length",
        "minor",
        "start",
        "target_rewritten",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, host: bytes, start: int, end: int) -> None:
        # All of it here: one call more for each request would be measurable.
        self.method = method
        self.target = target
        self.host = host
        self.start = start
        self.end = end
        self.minor = 1
        self.framing = _NO_BODY
        self.length = 0
        self.keep_alive = True
        self.expects_continue = False
        self.upgrade = b""
        self.cuts: Sequence[tuple[int, int]] = ()
        self.fields: list[tuple[bytes, bytes]] | None = None
        self.kept = ()
        self.request_id = b""
        self.target_rewritten = False
        self.binds_connection = False  # it authenticates its client for the whole connection (NTLM, Negotiate)
        self.destination = None
        self.dropped_headers = 0
        self.trace = None

    def __repr__(self) -> str:
        kind = "fast" if self.fields is None else "precise"
        return f"<RequestHead {kind} {self.method!r} {self.target[:80]!r} {self.framing.name} {self.length}>"

    @property
    def has_body(self) -> bool:
        return self.length > 0 or self.framing is Framing.CHUNKED

    @property
    def is_plain(self) -> bool:
        """Whether the plain lane can take it: it stays HTTP."""
        return not self.upgrade


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


class RequestReader(HeadReader):
    """The precise half of the scanner: one request head, possibly in pieces."""

    def __init__(self, rules: RequestRules) -> None:
        limits = rules.limits
        # The first line's own bound is that of its target (414), with room for the method and the version.
        start_line_bytes = limits.max_target_bytes + grammar.MAX_METHOD_BYTES + len(b"  HTTP/1.1")
        super().__init__(limits.max_header_bytes, limits.max_header_fields, limits.max_line_bytes, start_line_bytes)
        self._rules = rules
        self._method = b""
        self._target = b""
        self._minor = 1

    @property
    def seen(self) -> tuple[bytes, bytes]:
        """The method and the target, as far as they were read."""
        return self._method, self._target

    def check_start(self, buffer: Buffer, start: int, end: int) -> None:
        match = grammar.METHOD_START.match(buffer, start, end)
        if match is None:
            raise self.refusal(Reason.BAD_REQUEST_LINE, "the method is not one word in uppercase")
        if match.end() == match.end(1):
            return  # no space yet
        self._method = match.group(1)
        if self._method in REFUSED_METHODS:
            raise MessageRefused(405, Reason.METHOD_REFUSED)
        if self._method == b"PRI":
            raise MessageRefused(505, Reason.BAD_VERSION, "the HTTP/2 preface")

    def start_line(self, line: bytes) -> None:
        parts = line.split(b" ")
        if len(parts) == 2 and not grammar.VERSION.fullmatch(parts[1]):
            raise MessageRefused(505, Reason.BAD_VERSION, "HTTP/0.9, a request line without version")
        if len(parts) != 3:
            raise self.refusal(Reason.BAD_REQUEST_LINE, "the request line is not three words")
        _, target, version = parts
        if len(target) > self._rules.limits.max_target_bytes:
            raise self.too_long(start_line=True, line=True)
        if version not in (b"HTTP/1.1", b"HTTP/1.0"):
            if grammar.VERSION.fullmatch(version):
                raise MessageRefused(505, Reason.BAD_VERSION)
            raise self.refusal(Reason.BAD_REQUEST_LINE, "the request line does not end in a version")
        self._minor = version[-1] - 0x30
        self._target = target
        if target == b"*":
            if self._method != b"OPTIONS":
                raise self.refusal(Reason.BAD_TARGET, "an asterisk with a method other than OPTIONS")
        elif target[:1] == b"/":
            if not grammar.ORIGIN_FORM.fullmatch(target):
                raise self.refusal(Reason.BAD_TARGET, "a fragment, or a byte that is not ASCII, in the target")
        elif not grammar.ABSOLUTE_FORM.fullmatch(target):
            raise self.refusal(Reason.BAD_TARGET, "the target is neither a path nor an http URL")

    def takes_all(self, fields: Sequence[tuple[bytes, bytes]]) -> bool:
        return self._rules.underscores != "refuse" or not any(b"_" in name for name, _ in fields)

    def split_field(self, line: bytes) -> tuple[bytes, bytes]:
        name, value = super().split_field(line)
        if b"_" in name and self._rules.underscores == "refuse":
            raise self.refusal(Reason.UNDERSCORE_HEADER, f"field {len(self.fields) + 1}")
        return name, value

    def refusal(self, reason: Reason, detail: str) -> MessageRefused:
        return MessageRefused(400, reason, detail)

    def too_long(self, *, start_line: bool, line: bool) -> MessageRefused:
        if start_line:
            return MessageRefused(414, Reason.TARGET_TOO_LONG)
        return MessageRefused(431, Reason.HEAD_TOO_LARGE, "one line" if line else "")

    def head(self, start: int, end: int) -> RequestHead:
        """What the whole head says. Raises :class:`MessageRefused` where its fields do not go together."""
        sorter = _FieldSorter(self._rules, self.refusal)
        for name, value in self.fields:
            sorter.take(name, value)
        return sorter.head(RequestHead(self._method, self._target, b"", start, end), self._minor)


class _FieldSorter:
    """Sorts the fields of one head: what they say to us, what goes on, what ends here."""

    def __init__(self, rules: RequestRules, refusal: _Refusal) -> None:
        self._rules = rules
        self._refusal = refusal
        self._hosts: list[bytes] = []
        self._lengths: list[bytes] = []
        self._codings: list[bytes] = []
        self._options: list[bytes] = []
        self._upgrades: list[bytes] = []
        self._expectations: list[bytes] = []
        self._kept: list[tuple[bytes, bytes]] = []
        self._fields: list[tuple[bytes, bytes]] = []
        self._binds_connection = False
        self._destinations: list[bytes] = []
        self._dropped = 0
        self._seen = {
            b"host": self._hosts,
            b"content-length": self._lengths,
            b"transfer-encoding": self._codings,
            b"connection": self._options,
            b"upgrade": self._upgrades,
            b"expect": self._expectations,
        }

    def take(self, name: bytes, value: bytes) -> None:
        rules = self._rules
        if b"_" in name and rules.underscores == "drop":
            self._dropped += 1
            return
        lowered = name.lower()
        folded = fold(name)
        values = self._seen.get(folded)
        if values is not None:
            if lowered != folded:
                # Gateways in the manner of CGI would read it as the field that it is not.
                raise self._refusal(Reason.BAD_HEADER, "a look-alike of a framing field")
            values.append(value)
            if folded in names.FRAMING and folded != b"transfer-encoding":
                self._fields.append((name, value))
        elif folded in names.REQUEST_HOP_BY_HOP:
            pass
        elif lowered in rules.kept:
            self._kept.append((lowered, value))
        elif lowered == names.DESTINATION and rules.judges_destination:
            self._destinations.append(value)
        elif folded not in rules.removed and (value or lowered != names.REQUEST_ID):
            self._fields.append((name, value))
            if lowered == b"authorization" and grammar.CONNECTION_SCHEME.match(value):
                self._binds_connection = True

    def head(self, head: RequestHead, minor: int) -> RequestHead:
        head.minor = minor
        head.binds_connection = self._binds_connection
        head.fields = self._fields
        head.kept = self._kept
        head.dropped_headers = self._dropped
        self._judge_framing(head)
        self._judge_host(head)
        self._judge_connection(head)
        self._judge_expectation(head)
        for name, value in head.fields:
            if name.lower() == names.REQUEST_ID:
                head.request_id = value
                break
        return head

    def _judge_framing(self, head: RequestHead) -> None:
        if self._codings and self._lengths:
            raise self._refusal(Reason.AMBIGUOUS_FRAMING, "")
        if self._codings:
            self._judge_codings(head.minor)
            head.framing = Framing.CHUNKED
        elif self._lengths:
            length = grammar.content_length(self._lengths[0])
            if len(self._lengths) > 1:
                raise self._refusal(Reason.BAD_CONTENT_LENGTH, "two lines")
            if length is None:
                raise self._refusal(Reason.BAD_CONTENT_LENGTH, "not a plain decimal number below 2^63")
            head.framing = Framing.LENGTH
            head.length = length

    def _judge_codings(self, minor: int) -> None:
        if minor == 0:
            raise self._refusal(Reason.BAD_TRANSFER_ENCODING, "with HTTP/1.0")
        value = b",".join(self._codings).lower()  # RFC 9110 section 5.3: lines of a list are one list
        if value == b"chunked":
            return
        codings = [element.strip(b" \t") for element in value.split(b",")]
        if not all(grammar.TOKEN.fullmatch(coding) for coding in codings) or b"chunked" in codings[:-1]:
            raise self._refusal(Reason.BAD_TRANSFER_ENCODING, "not one chunked")
        raise MessageRefused(501, Reason.UNKNOWN_TRANSFER_CODING)

    def _judge_host(self, head: RequestHead) -> None:
        if not self._hosts and head.minor == 0 and self._rules.host_without:
            self._hosts.append(self._rules.host_without)
            self._fields.append((b"Host", self._rules.host_without))
        if len(self._hosts) != 1:
            raise self._refusal(Reason.BAD_HOST, "two" if self._hosts else "missing")
        host = head.host = self._hosts[0]
        if not grammar.HOST.fullmatch(host):
            raise self._refusal(Reason.BAD_HOST, "not a name or address with an optional port")
        if head.target[:1] in (b"/", b"*"):
            return
        absolute = grammar.ABSOLUTE_FORM.fullmatch(head.target)
        assert absolute is not None
        authority, rest = absolute.group(2, 3)
        tls = bool(absolute[1])
        if grammar.without_default_port(authority, tls=tls) != grammar.without_default_port(host, tls=tls):
            raise self._refusal(Reason.BAD_HOST, "the target's authority is not Host")
        if rest is None:
            head.target = b"*" if head.method == b"OPTIONS" else b"/"
        else:
            head.target = b"/" + rest if rest[:1] == b"?" else rest

    def _judge_connection(self, head: RequestHead) -> None:
        options = grammar.tokens(b",".join(self._options))
        if options is None:
            raise self._refusal(Reason.BAD_HEADER, "Connection is not a list of tokens")
        head.keep_alive = head.minor == 1 and b"close" not in options
        named = {fold(option) for option in options}
        if not named.isdisjoint(names.FRAMING):
            raise self._refusal(Reason.BAD_HEADER, "Connection names a framing field")
        named -= {b"close", b"keep-alive"}
        if self._destinations and names.DESTINATION not in named:
            if len(self._destinations) > 1:
                raise self._refusal(Reason.BAD_HEADER, "two Destinations")
            head.destination = self._destinations[0]
        if named:
            head.fields = [(name, value) for name, value in self._fields if fold(name) not in named]
            head.kept = [(name, value) for name, value in self._kept if name not in named]
        if b"upgrade" in options and self._upgrades:
            self._judge_upgrade(head)

    def _judge_upgrade(self, head: RequestHead) -> None:
        """What is not on the listener's list is not refused but ignored, as RFC 9110 section 7.8 lets a server do. The
        others go on as the client wrote them."""
        if head.minor == 0:
            return
        offered = [protocol.strip(b" \t") for protocol in b",".join(self._upgrades).split(b",")]
        head.upgrade = b", ".join(protocol for protocol in offered if protocol.lower() in self._rules.upgrades)

    def _judge_expectation(self, head: RequestHead) -> None:
        if not self._expectations:
            return
        if len(self._expectations) > 1 or self._expectations[0].lower() != b"100-continue":
            raise MessageRefused(417, Reason.EXPECTATION_FAILED)
        # RFC 9110 section 10.1.1: an HTTP/1.0 client's expectation is ignored.
        head.expects_continue = head.minor == 1
