"""The door: every row of the specification's table, whole and byte by byte."""

from __future__ import annotations

import inspect
import re
import time

import pytest
from unit.dataplane.http1.conversation import identity_headers, listener, rules_of
from unit.dataplane.http1.refused_heads import REFUSED, get

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1 import forward, head_reader, request_reader, request_scanner
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.dataplane.http1.request_scanner import RequestScanner
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Http, Limits

SCANNER = rules_of(listener()).requests


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
    [b"G", b"GET", b"GET ", b"GET /", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\n\r"],
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
        ([b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Content-Length: 0"], b"WebSocket"),
        ([b"Upgrade: websocket"], b""),
        ([b"Connection: upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAM"], b""),
        ([b"Connection: upgrade", b"Upgrade: h2c, websocket"], b"websocket"),
        ([b"Connection: upgrade", b"Upgrade: h2c", b"Upgrade: SPDY/3.1, websocket"], b"SPDY/3.1, websocket"),
        ([b"Connection: upgrade", b"Upgrade: SPDY/3"], b""),
        ([b"Connection: upgrade", b"Upgrade: tcp", b"Content-Length: 3"], b"tcp"),
        ([b"Connection: upgrade", b"Upgrade: tcp", b"Transfer-Encoding: chunked"], b"tcp"),
        ([b"Connection: upgrade", b"Upgrade: TLS/1.0"], b""),
        ([b"Connection: upgrade"], b""),
    ],
)
def test_upgrades(lines: list[bytes], upgrade: bytes) -> None:
    scanner = rules_of(listener(http=Http(upgrades=("websocket", "SPDY/3.1", "tcp")))).requests
    for method in (b"GET", b"POST", b"PROPFIND"):
        assert accepted(get(*lines).replace(b"GET", method, 1), scanner).upgrade == upgrade
    head = accepted(get(*lines), scanner)
    if b"Transfer-Encoding: chunked" not in lines:
        assert accepted(get(*lines).replace(b"HTTP/1.1", b"HTTP/1.0"), scanner).upgrade == b""
    assert head.fields is not None
    names = {name.lower() for name, _ in head.fields}
    assert names.isdisjoint({b"upgrade", b"connection", b"http2-settings"})


def test_an_upgrade_off_the_list_is_ignored() -> None:
    scanner = rules_of(listener(http=Http(upgrades=()))).requests
    assert accepted(get(b"Connection: upgrade", b"Upgrade: websocket"), scanner).upgrade == b""


def test_an_expectation_is_kept_only_of_http_1_1() -> None:
    assert accepted(get(b"Expect: 100-Continue")).expects_continue
    assert not accepted(get(b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")).expects_continue


def test_underscores_can_be_refused_and_are_counted_where_they_are_dropped() -> None:
    strict = rules_of(listener(http=Http(underscores="refuse"))).requests
    assert verdict(strict, get(b"X_Y: a"), 1_000) == (400, Reason.UNDERSCORE_HEADER)
    head = accepted(get(b"client_id: a", b"X_Y: a", b"X-Z: a"))
    assert head.dropped_headers == 2
    assert [name for name, _ in head.fields or ()] == [b"Host", b"X-Z"]


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"http://a.example/", b"a.example"),
        (b"http://a.example:80/", b"a.example"),
        (b"http://A.example:/", b"a.example:80"),
        (b"HTTPS://a.example:443/", b"a.example:"),
        (b"https://a.example:8443/", b"a.example:8443"),
        (b"http://[::1]:80/", b"[::1]"),
        (b"/", b"a.example:"),
        (b"/", b"[::1]:"),
    ],
)
def test_a_port_that_says_nothing_makes_no_difference(target: bytes, host: bytes) -> None:
    head = accepted(get(target=target, host=b"Host: " + host + b"\r\n"))
    assert (head.target, head.host) == (b"/", host)


def test_http_1_0_without_host_gets_the_listeners_name_or_is_refused() -> None:
    data = b"GET / HTTP/1.0\r\n\r\n"
    head = accepted(data)
    assert (head.host, head.fields) == (b"web", [(b"Host", b"web")])
    strict = rules_of(listener(http=Http(http10_without_host="refuse"))).requests
    assert verdict(strict, data, 1_000) == (400, Reason.BAD_HOST)
    assert verdict(SCANNER, data.replace(b"1.0", b"1.1"), 1_000) == (400, Reason.BAD_HOST)


def test_a_line_may_be_as_long_as_a_head() -> None:
    head = accepted(get(b"Authorization: Bearer " + b"y" * 30_000))
    assert head.fields is None, "the fast way takes it"


@pytest.mark.parametrize("policy", ["drop", "allow"])
def test_underscores_when_they_are_not_refused(policy: str) -> None:
    scanner = rules_of(listener(http=Http(underscores=policy))).requests
    head = accepted(get(b"X_Y: a", b"x_forwarded_client_cert: spoof", b"X_Real-IP: spoof"), scanner)
    assert head.fields is not None
    assert ((b"X_Y", b"a") in head.fields) is (policy == "allow")
    assert not any(value == b"spoof" for _, value in head.fields)


@pytest.mark.parametrize("policy", ["drop", "allow"])
@pytest.mark.parametrize("name", [b"Content.Length", b"transfer!encoding", b"HOST"])
def test_framing_is_spelled_in_one_way(name: bytes, policy: str) -> None:
    scanner = rules_of(listener(http=Http(underscores=policy))).requests
    assert verdict(scanner, get(name + b": 3"), 1_000) in [(400, Reason.BAD_HEADER), (400, Reason.BAD_HOST)]


@pytest.mark.parametrize("name", [b"Content_Length", b"transfer_encoding"])
def test_an_allowed_underscore_does_not_allow_a_look_alike_of_framing(name: bytes) -> None:
    scanner = rules_of(listener(http=Http(underscores="allow"))).requests
    assert verdict(scanner, get(name + b": 3"), 1_000) == (400, Reason.BAD_HEADER)


def test_limits_hold_to_the_byte() -> None:
    limits = Limits(max_header_bytes=200, max_header_fields=3, max_line_bytes=60, max_target_bytes=60)
    scanner = rules_of(listener(limits=limits)).requests
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
    sources = [inspect.getsource(module) for module in (request_reader, request_scanner, head_reader)]
    used = {Reason[name] for name in re.findall(r"Reason\.([A-Z_]+)", "".join(sources))}
    assert used - {Reason.UNDERSCORE_HEADER} == {row[3] for row in REFUSED}


@pytest.mark.parametrize("name", ["X-Request-Id", "x-request*", "X_Request_ID"])
def test_a_request_id_that_is_to_be_removed_is_removed_either_way(name: str) -> None:
    scanner = rules_of(listener(http=Http(remove_headers=(name,)))).requests
    for data in (get(b"X-Request-Id: 7"), get(b"X-Request-Id: 7", b"Connection: foo")):
        head = accepted(data, scanner)
        assert head.request_id == b""
        kept = forward.request_bytes(head, data, identity_headers(listener()))
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
    scanner = rules_of(listener(limits=limits)).requests
    small, large = (start + unit * (size // len(unit)) + b"\r\n\r\n" for size in (1 << 13, 1 << 16))

    def seconds(data: bytes) -> float:
        best = float("inf")
        for _ in range(3):
            begun = time.thread_time()
            verdict(scanner, data, len(data))
            best = min(best, time.thread_time() - begun)
        return best

    assert seconds(large) < max(32 * seconds(small), 0.05)


@pytest.mark.parametrize("line", [b"Content-Length: 3\t", b"Content-Length:\t3", b"Host:\ta.example\t"])
def test_a_tab_round_what_frames_or_routes_does_not_go_on(line: bytes) -> None:
    data = get(line, host=b"" if line.startswith(b"Host") else b"Host: a.example\r\n")
    sent = forward.request_bytes(accepted(data), data, identity_headers(listener()))
    assert b"\t" not in sent
