"""The sidecar's own answers: fixed, short, and without a byte of what they answer."""

from __future__ import annotations

from http import HTTPStatus


def reply(status: int, *, close: bool, with_body: bool = True, retry_after_s: int | None = None) -> bytes:
    """A whole response. ``with_body`` is false for an answer to HEAD; its Content-Length stays what GET's would be."""
    status_line, body = _STATUSES[status]
    retry = b"Retry-After: %d\r\n" % retry_after_s if retry_after_s is not None else b""
    allow = (
        b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n" if status == HTTPStatus.METHOD_NOT_ALLOWED else b""
    )
    return b"%b%b%b%b\r\n%b" % (status_line, retry, allow, _CLOSE if close else b"", body if with_body else b"")


def _prepare(status: int) -> tuple[bytes, bytes]:
    phrase = HTTPStatus(status).phrase.encode("ascii")
    body = b"%d %b\n" % (status, phrase)
    lines = b"HTTP/1.1 %d %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % (status, phrase, len(body))
    return lines, body


_CLOSE = b"Connection: close\r\n"
_STATUSES = {
    status: _prepare(status)
    for status in (400, 403, 405, 408, 413, 414, 417, 421, 429, 431, 500, 501, 502, 503, 504, 505)
}
