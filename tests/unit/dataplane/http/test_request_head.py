# ruff: noqa: E501 - one row of a table is one line, however long
"""The door: every row of the specification's table, whole and byte by byte."""

from __future__ import annotations

import inspect
import re
import time

import pytest
from unit.dataplane.http.conversation import identity_headers, listener

from tlsidecar.dataplane.http import forward, head_reader, request_head
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http.request_head import Framing, RequestHead, RequestScanner
from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Http, Limits

SCANNER = HttpRules.of(listener()).requests


def get(*lines: bytes, target: bytes = b"/", host: bytes = b"Host: a.example\r\n") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


REFUSED: list[tuple[str, bytes, int, Reason]] = [
    # Framing.
    ("length then coding", get(b"Content-Length: 3", b"Transfer-Encoding: chunked"), 400, Reason.AMBIGUOUS_FRAMING),
    ("coding then length", get(b"transfer-encoding: chunked", b"content-length: 3"), 400, Reason.AMBIGUOUS_FRAMING),
    ("both in odd case", get(b"CONTENT-LENGTH: 3", b"tRANSFER-eNCODING: chunked"), 400, Reason.AMBIGUOUS_FRAMING),
    ("coding unknown and length", get(b"Transfer-Encoding: x", b"Content-Length: 3"), 400, Reason.AMBIGUOUS_FRAMING),
    ("coding with 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400, Reason.BAD_TRANSFER_ENCODING),
    ("chunked twice in a list", get(b"Transfer-Encoding: chunked, chunked"), 400, Reason.BAD_TRANSFER_ENCODING),
    ("two coding lines", get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400, Reason.BAD_TRANSFER_ENCODING),
    ("two different coding lines", get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"), 400, Reason.BAD_TRANSFER_ENCODING),
    ("chunked not last", get(b"Transfer-Encoding: chunked, identity"), 400, Reason.BAD_TRANSFER_ENCODING),
    ("quoted coding", get(b'Transfer-Encoding: "chunked"'), 400, Reason.BAD_TRANSFER_ENCODING),
    ("coding parameter", get(b"Transfer-Encoding: chunked;q=1"), 400, Reason.BAD_TRANSFER_ENCODING),
    ("empty coding", get(b"Transfer-Encoding: "), 400, Reason.BAD_TRANSFER_ENCODING),
    ("trailing comma", get(b"Transfer-Encoding: chunked,"), 400, Reason.BAD_TRANSFER_ENCODING),
    ("coding with a vertical tab", get(b"Transfer-Encoding: \x0bchunked"), 400, Reason.BAD_HEADER),
    ("space before the coding's colon", get(b"Transfer-Encoding : chunked"), 400, Reason.BAD_HEADER),
    ("unknown coding", get(b"Transfer-Encoding: xchunked"), 501, Reason.UNKNOWN_TRANSFER_CODING),
    ("gzip", get(b"Transfer-Encoding: gzip"), 501, Reason.UNKNOWN_TRANSFER_CODING),
    ("gzip, chunked", get(b"Transfer-Encoding: gzip, chunked"), 501, Reason.UNKNOWN_TRANSFER_CODING),
    ("identity", get(b"Transfer-Encoding: identity"), 501, Reason.UNKNOWN_TRANSFER_CODING),
    ("coding look-alike with a dot", get(b"Transfer.Encoding: chunked"), 400, Reason.BAD_HEADER),
    ("two lengths", get(b"Content-Length: 3", b"Content-Length: 4"), 400, Reason.BAD_CONTENT_LENGTH),
    ("two equal lengths", get(b"Content-Length: 3", b"Content-Length: 3"), 400, Reason.BAD_CONTENT_LENGTH),
    ("list of lengths", get(b"Content-Length: 3, 3"), 400, Reason.BAD_CONTENT_LENGTH),
    ("plus sign", get(b"Content-Length: +3"), 400, Reason.BAD_CONTENT_LENGTH),
    ("minus sign", get(b"Content-Length: -3"), 400, Reason.BAD_CONTENT_LENGTH),
    ("leading zero", get(b"Content-Length: 03"), 400, Reason.BAD_CONTENT_LENGTH),
    ("two zeros", get(b"Content-Length: 00"), 400, Reason.BAD_CONTENT_LENGTH),
    ("hexadecimal", get(b"Content-Length: 0x3"), 400, Reason.BAD_CONTENT_LENGTH),
    ("digit separator", get(b"Content-Length: 1_0"), 400, Reason.BAD_CONTENT_LENGTH),
    ("inner space", get(b"Content-Length: 1 0"), 400, Reason.BAD_CONTENT_LENGTH),
    ("empty length", get(b"Content-Length:"), 400, Reason.BAD_CONTENT_LENGTH),
    ("not ASCII digits", get("Content-Length: ٣".encode()), 400, Reason.BAD_CONTENT_LENGTH),
    ("2^63", get(b"Content-Length: 9223372036854775808"), 400, Reason.BAD_CONTENT_LENGTH),
    ("far over 2^63", get(b"Content-Length: 1" + b"0" * 400), 400, Reason.BAD_CONTENT_LENGTH),
    ("length look-alike", get(b"Content.Length: 3"), 400, Reason.BAD_HEADER),
    # Lines.
    ("bare LF ends a field", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, Reason.BARE_LINE_FEED),
    ("bare LF ends the head", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, Reason.BARE_LINE_FEED),
    ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, Reason.BARE_LINE_FEED),
    ("bare CR in a value", get(b"X: a\rb"), 400, Reason.BARE_LINE_FEED),
    ("CR CR LF", get(b"X: a\r"), 400, Reason.BARE_LINE_FEED),
    ("NUL in a value", get(b"X: a\0b"), 400, Reason.BAD_HEADER),
    ("NUL in a name", get(b"X\0: b"), 400, Reason.BAD_HEADER),
    ("control byte 01", get(b"X: \x01"), 400, Reason.BAD_HEADER),
    ("control byte 1F", get(b"X: \x1f"), 400, Reason.BAD_HEADER),
    ("DEL", get(b"X: \x7f"), 400, Reason.BAD_HEADER),
    ("folded with a space", get(b"X: a", b" b"), 400, Reason.OBSOLETE_FOLD),
    ("folded with a tab", get(b"X: a", b"\tb"), 400, Reason.OBSOLETE_FOLD),
    ("folded first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, Reason.OBSOLETE_FOLD),
    ("space before the colon", get(b"X : a"), 400, Reason.BAD_HEADER),
    ("tab before the colon", get(b"X\t: a"), 400, Reason.BAD_HEADER),
    ("empty name", get(b": a"), 400, Reason.BAD_HEADER),
    ("no colon", get(b"X"), 400, Reason.BAD_HEADER),
    ("space in a name", get(b"X Y: a"), 400, Reason.BAD_HEADER),
    ("non-ASCII in a name", get(b"X\xe9: a"), 400, Reason.BAD_HEADER),
    ("parenthesis in a name", get(b"X(: a"), 400, Reason.BAD_HEADER),
    ("underscore in a name", get(b"X_Y: a"), 400, Reason.UNDERSCORE_HEADER),
    # The request line.
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, Reason.BAD_VERSION),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, Reason.BAD_VERSION),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, Reason.BAD_VERSION),
    ("HTTP/3", b"GET / HTTP/3\r\nHost: a\r\n\r\n", 505, Reason.BAD_VERSION),
    ("HTTP/0.9", b"GET /\r\n", 505, Reason.BAD_VERSION),
    ("HTTP/01.1", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", 505, Reason.BAD_VERSION),
    ("lowercase version", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("other protocol", b"GET / RTSP/1.0\r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("tab for space", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("trailing space", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("empty line before it", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("lowercase method", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("long method", b"G" * 33 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400, Reason.BAD_REQUEST_LINE),
    ("TLS on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01", 400, Reason.BAD_REQUEST_LINE),
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, Reason.METHOD_REFUSED),
    ("TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, Reason.METHOD_REFUSED),
    # The target.
    ("other authority", get(target=b"http://b.example/"), 400, Reason.BAD_HOST),
    ("authority with user", get(target=b"http://u@a.example/"), 400, Reason.BAD_HOST),
    ("authority with port", get(target=b"http://a.example:80/"), 400, Reason.BAD_HOST),
    ("other scheme", get(target=b"ftp://a.example/"), 400, Reason.BAD_TARGET),
    ("asterisk with GET", get(target=b"*"), 400, Reason.BAD_TARGET),
    ("no slash", get(target=b"a"), 400, Reason.BAD_TARGET),
    ("authority-form", get(target=b"a.example:80"), 400, Reason.BAD_TARGET),
    ("fragment", get(target=b"/a#b"), 400, Reason.BAD_TARGET),
    ("fragment in absolute-form", get(target=b"http://a.example/#b"), 400, Reason.BAD_TARGET),
    ("control byte in the target", get(target=b"/\x01"), 400, Reason.BAD_REQUEST_LINE),
    ("NUL in the target", get(target=b"/\0"), 400, Reason.BAD_REQUEST_LINE),
    ("non-ASCII in the target", get(target=b"/\xe9"), 400, Reason.BAD_TARGET),
    # Host.
    ("no Host", get(host=b""), 400, Reason.BAD_HOST),
    ("no Host with 1.0", b"GET / HTTP/1.0\r\n\r\n", 400, Reason.BAD_HOST),
    ("two Hosts", get(b"Host: a.example"), 400, Reason.BAD_HOST),
    ("two Hosts in odd case", get(b"hOST: b"), 400, Reason.BAD_HOST),
    ("empty Host", get(host=b"Host:\r\n"), 400, Reason.BAD_HOST),
    ("Host with a space", get(host=b"Host: a b\r\n"), 400, Reason.BAD_HOST),
    ("Host with @", get(host=b"Host: u@a\r\n"), 400, Reason.BAD_HOST),
    ("Host with a slash", get(host=b"Host: a/b\r\n"), 400, Reason.BAD_HOST),
    ("Host with a comma", get(host=b"Host: a,b\r\n"), 400, Reason.BAD_HOST),
    ("Host not ASCII", get(host=b"Host: \xe9\r\n"), 400, Reason.BAD_HOST),
    ("Host with a huge port", get(host=b"Host: a:123456\r\n"), 400, Reason.BAD_HOST),
    ("Host too long", get(host=b"Host: " + b"a" * 300 + b"\r\n"), 400, Reason.BAD_HOST),
    # Connection, Upgrade, Expect.
    ("Connection names Host", get(b"Connection: close, host"), 400, Reason.BAD_HEADER),
    ("Connection names the length", get(b"Content-Length: 3", b"Connection: Content-Length"), 400, Reason.BAD_HEADER),
    ("Connection names the coding", get(b"Connection: transfer-encoding"), 400, Reason.BAD_HEADER),
    ("Connection names a look-alike", get(b"Connection: content_length"), 400, Reason.BAD_HEADER),
    ("Connection is no list", get(b"Connection: a b"), 400, Reason.BAD_HEADER),
    ("websocket with a body", get(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 1"), 400, Reason.BAD_UPGRADE),
    ("websocket with chunks", get(b"Connection: upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"), 400, Reason.BAD_UPGRADE),
    ("websocket with POST", get(b"Connection: upgrade", b"Upgrade: websocket").replace(b"GET", b"POST"), 400, Reason.BAD_UPGRADE),
    ("websocket with 1.0", get(b"Connection: upgrade", b"Upgrade: websocket").replace(b"1.1", b"1.0"), 400, Reason.BAD_UPGRADE),
    ("other expectation", get(b"Expect: 200-ok"), 417, Reason.EXPECTATION_FAILED),
    ("two expectations", get(b"Expect: 100-continue", b"Expect: 100-continue"), 417, Reason.EXPECTATION_FAILED),
    ("expectation with parameter", get(b"Expect: 100-continue;x"), 417, Reason.EXPECTATION_FAILED),
    # Limits.
    ("101 fields", get(*[b"X: y"] * 100), 431, Reason.HEAD_TOO_LARGE),
    ("over 32 KiB", get(*[b"X: " + b"y" * 8000] * 5), 431, Reason.HEAD_TOO_LARGE),
    ("a line over 8 KiB", get(b"X: " + b"y" * 8190), 431, Reason.HEAD_TOO_LARGE),
    ("a target over 8 KiB", get(target=b"/" + b"a" * 8192), 414, Reason.TARGET_TOO_LONG),
    ("an endless target", b"GET /" + b"a" * 40_000, 414, Reason.TARGET_TOO_LONG),
    ("an endless line", b"GET / HTTP/1.1\r\nX: " + b"a" * 9_000, 431, Reason.HEAD_TOO_LARGE),
]  # fmt: skip


def verdict(scanner: RequestScanner, data: bytes, step: int) -> tuple[int, Reason] | RequestHead | None:
    """What becomes of ``data`` that arrives in pieces of ``step`` bytes."""
    reader = scanner.reader()
    try:
        for end in range(step, len(data) + step, step):
            if step >= len(data):
                return scanner.scan(data, 0, len(data))
            head_end = reader.read(data, 0, min(end, len(data)))
            if head_end is not None:
                return scanner.fast(data, 0, head_end) or reader.head(0, head_end)
    except MessageRefused as refused:
        return refused.status, refused.reason
    return None


@pytest.mark.parametrize("step", [1_000_000, 1, 7], ids=["whole", "by byte", "by seven"])
@pytest.mark.parametrize(("data", "status", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_it_is_refused(data: bytes, status: int, reason: Reason, step: int) -> None:
    assert verdict(SCANNER, data, step) == (status, reason)


@pytest.mark.parametrize(("data", "status", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_whole_or_byte_by_byte_it_is_refused_at_the_same_byte(data: bytes, status: int, reason: Reason) -> None:
    reader = SCANNER.reader()
    found = None
    for certain in range(1, len(data) + 1):
        try:
            if reader.read(data, 0, certain) is not None:
                reader.head(0, certain)
        except MessageRefused as refused:
            found = (refused.status, refused.reason)
            break
    assert found == (status, reason)
    assert verdict(SCANNER, data[:certain], 1_000_000) == (status, reason)
    assert verdict(SCANNER, data[: certain - 1], 1_000_000) is None, "it was certain earlier"


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"PRI ", 505),
        (b"CONNECT ", 405),
        (b"TRACE ", 405),
        (b"\x16", 400),
        (b"GET / HTTP/1.1\r\nX\0", 400),
        (b"g", 400),
    ],
)
def test_the_first_bytes_suffice(start: bytes, status: int) -> None:
    with pytest.raises(MessageRefused) as refused:
        SCANNER.scan(start, 0, len(start))
    assert refused.value.status == status


@pytest.mark.parametrize(
    "start",
    [b"G", b"GET", b"GET ", b"GET /", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r"],
)  # fmt: skip
def test_the_start_of_a_valid_head_waits(start: bytes) -> None:
    assert SCANNER.scan(start, 0, len(start)) is None


def accepted(data: bytes, scanner: RequestScanner = SCANNER) -> RequestHead:
    head = scanner.scan(data, 0, len(data))
    assert head is not None
    assert head.end == len(data)
    return head


def test_an_ordinary_head_says_what_it_asks_for() -> None:
    head = accepted(get(b"User-Agent: x", b"Accept: */*", target=b"/a?b=c"))
    assert (head.method, head.target, head.host) == (b"GET", b"/a?b=c", b"a.example")
    assert (head.framing, head.length, head.keep_alive, head.is_plain) == (Framing.NONE, 0, True, True)
    assert head.fields is None, "it took the precise way"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"Content-Length: 0"], (Framing.LENGTH, 0)),
        ([b"Content-Length: 12"], (Framing.LENGTH, 12)),
        ([b"content-length:12"], (Framing.LENGTH, 12)),
        ([b"Content-Length: \t 12 \t"], (Framing.LENGTH, 12)),
        ([b"Content-Length: 9223372036854775807"], (Framing.LENGTH, 2**63 - 1)),
        ([b"Transfer-Encoding: chunked"], (Framing.CHUNKED, 0)),
        ([b"transfer-encoding:\tChunked"], (Framing.CHUNKED, 0)),
    ],
)
def test_framing(lines: list[bytes], expected: tuple[Framing, int]) -> None:
    head = accepted(get(*lines))
    assert (head.framing, head.length) == expected


@pytest.mark.parametrize(
    ("target", "method", "expected"),
    [
        (b"http://a.example/x?y", b"GET", b"/x?y"),
        (b"HTTPS://A.EXAMPLE/x", b"GET", b"/x"),
        (b"http://a.example", b"GET", b"/"),
        (b"http://a.example?x", b"GET", b"/?x"),
        (b"http://a.example", b"OPTIONS", b"*"),
        (b"*", b"OPTIONS", b"*"),
        (b"/a:b@c!$&'()*+,;=%20", b"GET", b"/a:b@c!$&'()*+,;=%20"),
    ],
)
def test_targets_become_origin_form(target: bytes, method: bytes, expected: bytes) -> None:
    assert accepted(get(target=target).replace(b"GET", method, 1)).target == expected


@pytest.mark.parametrize("host", [b"a", b"a.b_c-d~", b"A:1", b"127.0.0.1:65535", b"[::1]", b"[::1]:8443", b"a."])
def test_hosts(host: bytes) -> None:
    assert accepted(get(host=b"Host: " + host + b"\r\n")).host == host
    assert accepted(get(b"Host: " + host, host=b"")).host == host
    assert accepted(get(b"X: y", b"hOsT:" + host, host=b"")).host == host


@pytest.mark.parametrize(
    ("lines", "keeps"),
    [
        ([], True),
        ([b"Connection: keep-alive"], True),
        ([b"Connection: Keep-Alive"], True),
        ([b"Connection: close"], False),
        ([b"connection:CLOSE"], False),
        ([b"Connection: keep-alive, close"], False),
        ([b"Connection: keep-alive", b"Connection: close"], False),
        ([b"Connection: foo,, bar,"], True),
    ],
)
def test_keeping_the_connection(lines: list[bytes], keeps: bool) -> None:
    assert accepted(get(*lines)).keep_alive is keeps
    assert accepted(get(*lines).replace(b"HTTP/1.1", b"HTTP/1.0")).keep_alive is False


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        ([b"Connection: Upgrade", b"Upgrade: websocket"], b"websocket"),
        ([b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Content-Length: 0"], b"websocket"),
        ([b"Upgrade: websocket"], b""),
        ([b"Connection: upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAM"], b""),
        ([b"Connection: upgrade", b"Upgrade: h2c, websocket"], b""),
        ([b"Connection: upgrade", b"Upgrade: TLS/1.0"], b""),
        ([b"Connection: upgrade"], b""),
    ],
)
def test_upgrades(lines: list[bytes], upgrade: bytes) -> None:
    head = accepted(get(*lines))
    assert head.upgrade == upgrade
    assert head.fields is not None
    names = {name.lower() for name, _ in head.fields}
    assert names.isdisjoint({b"upgrade", b"connection", b"http2-settings"})


def test_an_upgrade_off_the_list_is_ignored() -> None:
    scanner = HttpRules.of(listener(http=Http(upgrades=()))).requests
    assert accepted(get(b"Connection: upgrade", b"Upgrade: websocket"), scanner).upgrade == b""


def test_an_expectation_is_kept_only_of_http_1_1() -> None:
    assert accepted(get(b"Expect: 100-Continue")).expects_continue
    assert not accepted(get(b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")).expects_continue


@pytest.mark.parametrize("policy", ["drop", "allow"])
def test_underscores_when_they_are_not_refused(policy: str) -> None:
    scanner = HttpRules.of(listener(http=Http(underscores=policy))).requests
    head = accepted(get(b"X_Y: a", b"x_forwarded_client_cert: spoof", b"X_Real-IP: spoof"), scanner)
    assert head.fields is not None
    assert ((b"X_Y", b"a") in head.fields) is (policy == "allow")
    assert not any(value == b"spoof" for _, value in head.fields)


@pytest.mark.parametrize("policy", ["drop", "allow"])
@pytest.mark.parametrize("name", [b"Content.Length", b"transfer!encoding", b"HOST"])
def test_framing_is_spelled_in_one_way(name: bytes, policy: str) -> None:
    scanner = HttpRules.of(listener(http=Http(underscores=policy))).requests
    assert verdict(scanner, get(name + b": 3"), 1_000) in [(400, Reason.BAD_HEADER), (400, Reason.BAD_HOST)]


@pytest.mark.parametrize("name", [b"Content_Length", b"transfer_encoding"])
def test_an_allowed_underscore_does_not_allow_a_look_alike_of_framing(name: bytes) -> None:
    scanner = HttpRules.of(listener(http=Http(underscores="allow"))).requests
    assert verdict(scanner, get(name + b": 3"), 1_000) == (400, Reason.BAD_HEADER)


def test_limits_hold_to_the_byte() -> None:
    limits = Limits(max_header_bytes=200, max_header_fields=3, max_line_bytes=60)
    scanner = HttpRules.of(listener(limits=limits)).requests
    accepted(get(b"X: " + b"y" * 57), scanner)
    assert verdict(scanner, get(b"X: " + b"y" * 58), 1_000) == (431, Reason.HEAD_TOO_LARGE)
    accepted(get(b"X: y", b"X: y"), scanner)
    assert verdict(scanner, get(b"X: y", b"X: y", b"X: y"), 1_000) == (431, Reason.HEAD_TOO_LARGE)
    accepted(get(target=b"/" + b"a" * 59), scanner)
    assert verdict(scanner, get(target=b"/" + b"a" * 60), 1_000) == (414, Reason.TARGET_TOO_LONG)
    bare = len(get(b"A: ", b"B: ", target=b"/"))
    exact = get(b"A: " + b"y" * 57, b"B: " + b"y" * 57, target=b"/" + b"a" * (200 - bare - 114))
    assert len(exact) == 200
    accepted(exact, scanner)
    assert verdict(scanner, exact.replace(b"GET /", b"GET /a"), 1_000) == (431, Reason.HEAD_TOO_LARGE)


def test_offsets_count_from_the_start_of_the_buffer() -> None:
    first, second = get(b"Content-Length: 3") + b"abc", get(b"X-Request-Id: 7", b"Connection: close")
    buffer = bytearray(first + second + b"rest")
    head = SCANNER.scan(buffer, len(first), len(buffer))
    assert head is not None
    assert (head.start, head.end) == (len(first), len(first + second))
    assert head.request_id == b"7"
    assert not head.keep_alive


def test_every_reason_to_refuse_a_head_is_in_the_table() -> None:
    sources = [inspect.getsource(module) for module in (request_head, head_reader)]
    used = {Reason[name] for name in re.findall(r"Reason\.([A-Z_]+)", "".join(sources))}
    assert used == {row[3] for row in REFUSED}


@pytest.mark.parametrize("name", ["X-Request-Id", "x-request*", "X_Request_ID"])
def test_a_request_id_that_is_to_be_removed_is_removed_either_way(name: str) -> None:
    scanner = HttpRules.of(listener(http=Http(remove_headers=(name,)))).requests
    for data in (get(b"X-Request-Id: 7"), get(b"X-Request-Id: 7", b"Connection: foo")):
        head = accepted(data, scanner)
        assert head.request_id == b""
        kept = forward.request_bytes(head, data, identity_headers(HttpRules.of(listener())))
        assert kept.lower().count(b"x-request-id:") == 1
        assert b": 7\r\n" not in kept


@pytest.mark.parametrize(
    "unit",
    [
        b" ",
        b"\t",
        b":",
        b"a",
        b"a:",
        b"\r",
        b"\r\n",
        b"\n",
        b"a: b\r\n",
        b"a:\t \t",
        b"/",
        b"%",
        b"\xff",
        b"Host: a\r\n",
        b"Connection: a,\r\n",
        b"Connection:,",
        b"te: \t",
        b"x-forwarded-client-cert",
    ],
)
@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET ",
        b"GET /",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection:",
    ],
)
def test_judging_takes_linear_time(start: bytes, unit: bytes) -> None:
    """Eight times the input may take thirty-two times as long: far from the sixty-four of a quadratic way."""
    limits = Limits(max_header_bytes=1 << 22, max_line_bytes=1 << 22, max_header_fields=1 << 20)
    scanner = HttpRules.of(listener(limits=limits)).requests
    small, large = (start + unit * (size // len(unit)) + b"\r\n\r\n" for size in (1 << 13, 1 << 16))

    def seconds(data: bytes) -> float:
        best = float("inf")
        for _ in range(3):
            begun = time.thread_time()
            verdict(scanner, data, len(data))
            best = min(best, time.thread_time() - begun)
        return best

    assert seconds(large) < max(32 * seconds(small), 0.05)
