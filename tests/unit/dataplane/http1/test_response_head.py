"""The upstream's heads are judged by the same grammar; what does not pass becomes a 502."""

from __future__ import annotations

import pytest
from unit.dataplane.http1.conversation import listener, rules_of

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1.request_head import Framing
from tlsidecar.dataplane.http1.response_head import ResponseHead, ResponseScanner
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import Limits

SCANNER = rules_of(listener()).responses


def ok(*lines: bytes, status: bytes = b"200 OK", version: bytes = b"HTTP/1.1") -> bytes:
    return version + b" " + status + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


REFUSED: list[tuple[str, bytes, str]] = [
    ("not HTTP", b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP/1"),
    ("HTTP/2", b"HTTP/2 200 OK\r\n\r\n", "not HTTP/1"),
    ("HTTP/1.2", ok(version=b"HTTP/1.2"), "status line"),
    ("ICY", b"ICY 200 OK\r\n\r\n", "not HTTP/1"),
    ("leading empty line", b"\r\n" + ok(b"Content-Length: 0"), "a CR without LF|not HTTP/1"),
    ("two digits", ok(status=b"20 OK"), "status line"),
    ("four digits", ok(status=b"2000 OK"), "status line"),
    ("099", ok(status=b"099 OK"), "status line"),
    ("099", ok(status=b"099 OK"), "status line"),
    ("two spaces", ok(status=b" 200 OK"), "status line"),
    ("tab", b"HTTP/1.1\t200 OK\r\n\r\n", "status line"),
    ("length and coding", ok(b"Content-Length: 3", b"Transfer-Encoding: chunked"), "in one message"),
    ("coding and length", ok(b"transfer-encoding: chunked", b"content-length: 3"), "in one message"),
    ("coding with 1.0", ok(b"Transfer-Encoding: chunked", version=b"HTTP/1.0"), "HTTP/1.0"),
    ("gzip", ok(b"Transfer-Encoding: gzip, chunked"), "not one chunked"),
    ("two codings", ok(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "not one chunked"),
    ("chunked twice", ok(b"Transfer-Encoding: chunked, chunked"), "not one chunked"),
    ("two lengths", ok(b"Content-Length: 3", b"Content-Length: 4"), "two lines"),
    ("two equal lengths", ok(b"Content-Length: 3", b"Content-Length: 3"), "two lines"),
    ("list of lengths", ok(b"Content-Length: 3, 3"), "plain decimal"),
    ("signed length", ok(b"Content-Length: +3"), "plain decimal"),
    ("leading zero", ok(b"Content-Length: 03"), "plain decimal"),
    ("2^63", ok(b"Content-Length: 9223372036854775808"), "plain decimal"),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "alone"),
    ("bare LF ends the head", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n", "alone"),
    ("bare CR", ok(b"X: a\rb"), "alone"),
    ("NUL", ok(b"X: a\0b"), "control byte"),
    ("NUL in the phrase", ok(status=b"200 O\0K"), "control byte"),
    ("fold", ok(b"X: a", b" b"), "folded"),
    ("space before the colon", ok(b"Content-Length : 3"), "white space before"),
    ("no colon", ok(b"nonsense"), "no colon"),
    ("empty name", ok(b": x"), "empty name"),
    ("Connection names the length", ok(b"Content-Length: 3", b"Connection: content-length"), "names a framing field"),
    ("Connection is no list", ok(b"Connection: a b"), "list of tokens"),
    ("body with 100", ok(b"Content-Length: 3", status=b"100 Continue"), "a body with 100"),
    ("body with 101", ok(b"Transfer-Encoding: chunked", status=b"101 Go"), "a body with 101"),
    ("a long line", ok(b"X: " + b"y" * 33000), "over the limit"),
    ("many fields", ok(*[b"X: y"] * 101), "over the limit"),
    ("a long head", ok(*[b"X: " + b"y" * 8000] * 5), "over the limit"),
    ("an endless phrase", b"HTTP/1.1 200 " + b"x" * 33000, "over the limit"),
]  # fmt: skip


@pytest.mark.parametrize("step", [1_000_000, 1, 7], ids=["whole", "by byte", "by seven"])
@pytest.mark.parametrize(("data", "detail"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_it_is_refused(data: bytes, detail: str, step: int) -> None:
    with pytest.raises(MessageRefused, match=detail) as refused:
        read(data, step=step)
    assert (refused.value.status, refused.value.reason) == (502, Reason.UPSTREAM_BAD_RESPONSE)
    assert refused.value.stage is Stage.UPSTREAM


def read(
    data: bytes, method: bytes = b"GET", *, step: int = 1_000_000, scanner: ResponseScanner = SCANNER
) -> ResponseHead:
    if step >= len(data):
        head = scanner.scan(data, 0, len(data), method)
        assert head is not None
        return head
    reader = scanner.reader(method)
    for end in range(step, len(data) + step, step):
        head_end = reader.read(data, 0, min(end, len(data)))
        if head_end is not None:
            return reader.head(0, head_end)
    raise AssertionError("it waits for more")


@pytest.mark.parametrize("step", [1_000_000, 3])
@pytest.mark.parametrize(
    ("data", "method", "framing", "length"),
    [
        (ok(b"Content-Length: 5"), b"GET", Framing.LENGTH, 5),
        (ok(b"Content-Length: 0"), b"GET", Framing.LENGTH, 0),
        (ok(b"Transfer-Encoding: chunked"), b"GET", Framing.CHUNKED, 0),
        (ok(b"transfer-encoding:Chunked"), b"GET", Framing.CHUNKED, 0),
        (ok(), b"GET", Framing.CLOSE, 0),
        (ok(b"Content-Length: 5", version=b"HTTP/1.0"), b"GET", Framing.LENGTH, 5),
        (ok(b"Content-Length: 5"), b"HEAD", Framing.NONE, 5),
        (ok(b"Transfer-Encoding: chunked"), b"HEAD", Framing.NONE, 0),
        (ok(), b"HEAD", Framing.NONE, 0),
        (ok(status=b"204 No Content"), b"GET", Framing.NONE, 0),
        (ok(b"Content-Length: 0", status=b"204 No Content"), b"GET", Framing.NONE, 0),
        (ok(b"Content-Length: 3", status=b"204 No Content"), b"GET", Framing.NONE, 3),
        (ok(b"Transfer-Encoding: chunked", status=b"204 No Content"), b"GET", Framing.NONE, 0),
        (ok(status=b"304 Not Modified"), b"GET", Framing.NONE, 0),
        (ok(b"Content-Length: 5", status=b"304 Not Modified"), b"GET", Framing.NONE, 5),
        (ok(status=b"200"), b"GET", Framing.CLOSE, 0),
        (ok(b"Server: \xe9", status=b"200 \xe9t\xe9"), b"GET", Framing.CLOSE, 0),
    ],
)
def test_where_the_body_ends(data: bytes, method: bytes, framing: Framing, length: int, step: int) -> None:
    head = read(data, method, step=step)
    assert (head.framing, head.length, head.end) == (framing, length, len(data))


@pytest.mark.parametrize(
    ("lines", "version", "keeps"),
    [
        ([], b"HTTP/1.1", True),
        ([b"Connection: keep-alive"], b"HTTP/1.1", True),
        ([b"Connection: close"], b"HTTP/1.1", False),
        ([b"Connection: x, Close"], b"HTTP/1.1", False),
        ([b"Connection: keep-alive"], b"HTTP/1.0", False),
    ],
)
def test_whether_the_upstream_keeps_its_connection(lines: list[bytes], version: bytes, keeps: bool) -> None:
    assert read(ok(*lines, version=version)).keep_alive is keeps


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"200 OK\r\nContent-Length: 3\r\n\r\nabc", 200),
        (b"404 Not Found\r\nServer: x\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc", 404),
        (b"200 OK\r\nContent-Length: 3\r\n\r\nab", 0),
        (b"200 OK\r\nContent-Length: 3\r\n\r\nabcd", 0),
        (b"200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 0),
        (b"200 OK\r\nContent-Length: 3\r\nContent-length:3\r\n\r\nabc", 0),
        (b"200 OK\r\nContent-Length: 03\r\n\r\nabc", 0),
        (b"200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 0),
        (b"200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", 0),
        (b"200 OK\r\nContent-Length: 3\r\nKeep-Alive: timeout=5\r\n\r\nabc", 0),
        (b"200 OK\r\nContent-Length: 0\r\nTrailer: x\r\n\r\n", 0),
        (b"200 OK\r\n\r\n", 0),
        (b"204 No\r\nContent-Length: 0\r\n\r\n", 0),
        (b"304 No\r\nContent-Length: 0\r\n\r\n", 0),
        (b"101 Go\r\nContent-Length: 0\r\n\r\n", 0),
        (b"200 OK\nContent-Length: 0\r\n\r\n", 0),
    ],
)
def test_the_ordinary_response_in_one(rest: bytes, status: int) -> None:
    data = b"HTTP/1.1 " + rest
    assert SCANNER.whole(data, len(data)) == status


def test_a_head_over_a_small_limit_is_not_ordinary() -> None:
    scanner = ResponseScanner(Limits(max_header_bytes=64, max_line_bytes=64))
    data = ok(b"Content-Length: 0", b"X: " + b"y" * 40)
    assert scanner.whole(data, len(data)) == 0
    with pytest.raises(MessageRefused, match="over the limit"):
        read(data, scanner=scanner)
