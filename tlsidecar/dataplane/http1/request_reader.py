"""The precise way to read a request head: line by line, in pieces where it comes in pieces, with a reason for each
refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from tlsidecar.dataplane.http import grammar, names
from tlsidecar.dataplane.http.grammar import fold
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http.rules import RequestRules
from tlsidecar.dataplane.http1.head_reader import Buffer, HeadReader
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.outcomes import Reason

_Refusal: TypeAlias = "Callable[[Reason, str], MessageRefused]"


class RequestReader(HeadReader):
    """Reads one head."""

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
        if self._method in grammar.REFUSED_METHODS:
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
