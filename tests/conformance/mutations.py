# ruff: noqa: E501 - one row of a table is one line, however long
"""Requests as a hostile client might write them: good ones, changed in the places where parsers are known to differ.

The same seed gives the same messages on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

_TARGETS = [
    b"/",
    b"/a/b?c=d",
    b"/%20",
    b"//x/../y",
    b"http://a.example/q?r",
    b"*",
    b"/a:b@c;d=e,f!$&'()+*",
    b'/"<>^`{|}',
    b"/%zz",
]
_METHODS = [b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"PROPFIND", b"M-SEARCH"]
_FIELDS = [
    b"Accept: */*", b"Cookie: a=b; c=d", b"X-Empty:", b"X-Space: \t a b \t", b"X-High: \xe9\xff\x80", b"X-Tab: a\tb",
    b"X-Quote: \"a\\\"b\"", b"X.Dot!#$%&'*+-^`|~: odd", b"content-type: text/plain", b"X-Colon: a:b::c", b"Range: bytes=0-",
    b"Connection: keep-alive", b"Connection: x-space, close", b"Keep-Alive: timeout=5", b"TE: trailers", b"Trailer: X-T",
    b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk", b"Expect: 100-continue",
    b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-Client-Cert: By=evil", b"Forwarded: for=evil", b"X-Request-Id: abc",
    b"Content-Encoding: gzip", b"Accept-Encoding: chunked", b"X-Host: b", b"Proxy-Connection: keep-alive",
]  # fmt: skip
_HOSTILE_LINES = [
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 05", b"Content-Length: +5", b"Content-Length: 5, 5",
    b"content-length:5", b"Content-Length : 5", b"Content_Length: 5", b" Content-Length: 5", b"Content-Length:\x0b5",
    b"Content-Length: 5\t", b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"transfer-encoding:chunked",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding : chunked", b"Transfer_Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked", b"X: y\r\n Transfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked", b"Host: b.example", b"Host : b", b"host:a.example", b"Connection: content-length",
    b"Connection: host", b"Connection: transfer-encoding", b"Connection: x-request-id", b"Expect: 200-ok", b"X\0: y",
    b": empty", b"no colon", b"\xff: y", b"X: \x7f", b"X: \0", b"Upgrade: websocket",
]  # fmt: skip
_BYTES = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"1",
    b"_",
    b"-",
    b"\x0b",
    b"\x7f",
    b"\x85",
    b"\xa0",
    b"\xff",
    b"a",
    b"A",
]
_SIZES = [
    b"%x",
    b"%X",
    b"0%x",
    b"%015x",
    b"0x%x",
    b"+%x",
    b" %x",
    b"%x ",
    b"%x;a=b",
    b'%x;a="b;c"',
    b"%x;",
    b"%x\t",
    b"%x_",
]


def messages(seed: int, count: int) -> Iterator[bytes]:
    """``count`` mutated messages; each alone on a connection, though it may hold more than one request."""
    order = random.Random(seed)
    for _ in range(count):
        message = _good(order)
        # One in eight goes as it is.
        for _ in range(order.choice([0, 1, 1, 1, 1, 2, 2, 3])):
            message = order.choice(_CHANGES)(order, message)
        yield message


def _good(order: random.Random) -> bytes:
    lines = [order.choice(_FIELDS) for _ in range(order.randrange(5))]
    body = b""
    framing = order.randrange(3)
    if framing == 1:
        body = order.randbytes(order.choice([0, 1, 5, 40]))
        lines.insert(order.randrange(len(lines) + 1), b"Content-Length: %d" % len(body))
    elif framing == 2:
        lines.insert(order.randrange(len(lines) + 1), b"Transfer-Encoding: chunked")
        for _ in range(order.randrange(4)):
            data = order.choice([b"a", b"hello", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", order.randbytes(20)])
            size = order.choice(_SIZES[:4]) if order.random() < 0.9 else order.choice(_SIZES)
            body += size % len(data) + b"\r\n" + data + b"\r\n"
        body += (
            b"0\r\n" + order.choice([b"", b"", b"X-T: v\r\n", b"Content-Length: 5\r\n", b"Host: evil\r\n"]) + b"\r\n"
        )
    lines.insert(order.randrange(len(lines) + 1), b"Host: a.example")
    target = order.choice(_TARGETS) if order.random() < 0.5 else b"/"
    version = b"HTTP/1.0" if order.random() < 0.05 else b"HTTP/1.1"
    first = b" ".join((order.choice(_METHODS), target, version))
    return b"\r\n".join((first, *lines, b"", body))


def _flip(order: random.Random, message: bytes) -> bytes:
    at = order.randrange(len(message))
    return message[:at] + bytes([order.randrange(256)]) + message[at + 1 :]


def _replace(order: random.Random, message: bytes) -> bytes:
    at = order.randrange(len(message))
    return message[:at] + order.choice(_BYTES) + message[at + 1 :]


def _insert(order: random.Random, message: bytes) -> bytes:
    at = order.randrange(len(message) + 1)
    return message[:at] + order.choice(_BYTES) + message[at:]


def _cut_out(order: random.Random, message: bytes) -> bytes:
    at = order.randrange(len(message))
    return message[:at] + message[at + order.choice([1, 1, 2, 5]) :] or b"G"


def _add_line(order: random.Random, message: bytes) -> bytes:
    first, separator, rest = message.partition(b"\r\n")
    return first + separator + order.choice(_HOSTILE_LINES) + b"\r\n" + rest


def _swap_lines(order: random.Random, message: bytes) -> bytes:
    head, separator, body = message.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    order.shuffle(lines)
    return b"\r\n".join((first, *lines)) + separator + body


def _double_line(order: random.Random, message: bytes) -> bytes:
    head, separator, body = message.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    if lines:
        lines.insert(order.randrange(len(lines) + 1), order.choice(lines))
    return b"\r\n".join((first, *lines)) + separator + body


def _change_case(order: random.Random, message: bytes) -> bytes:
    head, separator, body = message.partition(b"\r\n\r\n")
    first, newline, lines = head.partition(b"\r\n")
    return first + newline + order.choice([lines.lower(), lines.upper(), lines.swapcase()]) + separator + body


def _change_line_end(order: random.Random, message: bytes) -> bytes:
    ends = [at for at in range(len(message)) if message.startswith(b"\r\n", at)]
    if not ends:
        return message
    at = order.choice(ends)
    return (
        message[:at]
        + order.choice([b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\t\r\n", b"\r\n "])
        + message[at + 2 :]
    )


def _another_behind(order: random.Random, message: bytes) -> bytes:
    return message + b"GET /behind HTTP/1.1\r\nHost: b.example\r\n\r\n"


def _change_digit(order: random.Random, message: bytes) -> bytes:
    digits = [at for at, byte in enumerate(message) if byte in b"0123456789"]
    if not digits:
        return message
    at = order.choice(digits)
    return message[:at] + order.choice([b"%d" % order.randrange(10), b"", b"00"]) + message[at + 1 :]


_CHANGES = [
    _flip, _replace, _insert, _cut_out, _add_line, _add_line, _swap_lines, _double_line, _change_case, _change_line_end,
    _another_behind, _change_digit,
]  # fmt: skip
