"""Puts together the heads that go on: to the upstream, and back to the client.

A fast head is copied, without its cut lines; a precise one is written anew from its fields. A head gets the same name
and value pairs either way, but the spelling within a line is kept only by copying.
"""

from __future__ import annotations

from collections.abc import Iterable

from tlsidecar.dataplane.http.identity_headers import IdentityHeaders
from tlsidecar.dataplane.http.message import Fields
from tlsidecar.dataplane.http1.head_reader import Buffer, uncut
from tlsidecar.dataplane.http1.request_head import Framing, RequestHead
from tlsidecar.dataplane.http1.response_head import ResponseHead

_CLOSE_LINE = b"Connection: close\r\n"
_CHUNKED_LINE = b"Transfer-Encoding: chunked\r\n"


def request_bytes(
    head: RequestHead, buffer: Buffer, identity: IdentityHeaders, host_rewrite: bytes = b"", *, last: bool = False
) -> bytes:
    """The head for the upstream. ``buffer`` is where ``head`` was read from; ``host_rewrite`` replaces its Host;
    ``last`` says to the upstream that its connection ends with this exchange.

    Raises :class:`~tlsidecar.dataplane.http.refusal.MessageRefused` (a kept identity field is malformed).
    """
    if head.fields is not None or host_rewrite or head.target_rewritten:
        return _written(head, request_fields(head, buffer, identity, host_rewrite, last=last))
    suffix = identity.suffix(head)
    if last:
        suffix = _CLOSE_LINE + suffix
    if head.copied:
        return head.copied + suffix
    if not head.cuts:
        return b"".join((buffer[head.start : head.end - 2], suffix))
    parts = uncut(buffer, head.start, head.end - 2, head.cuts)
    parts.append(suffix)
    return b"".join(parts)


def request_fields(
    head: RequestHead, buffer: Buffer, identity: IdentityHeaders, host_rewrite: bytes = b"", *, last: bool = False
) -> Fields:
    """The fields of the head for the upstream, in order: of a precise head, or of a fast one that is written anew."""
    fields = list(head.fields) if head.fields is not None else _fields_of(buffer, head)
    if host_rewrite:
        fields = [(name, host_rewrite if name.lower() == b"host" else value) for name, value in fields]
    if head.framing is Framing.CHUNKED:
        fields.append((b"Transfer-Encoding", b"chunked"))
    if head.destination is not None:
        fields.append((b"Destination", head.destination))
    if head.expects_continue:
        fields.append((b"Expect", b"100-continue"))
    if head.upgrade:
        fields.append((b"Connection", b"Upgrade"))
        fields.append((b"Upgrade", head.upgrade))
    elif last:
        fields.append((b"Connection", b"close"))
    return fields + identity.fields(head)


def response_bytes(head: ResponseHead, buffer: Buffer, *, close: bool) -> bytes | memoryview:
    """The head for the client; ``close`` says that its connection ends with this response.

    A view on ``buffer`` where nothing had to change.
    """
    if head.fields is not None:
        fields = response_fields(head, close=close)
        return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.phrase, _lines(fields))
    cuts = sorted(head.cuts + head.keep_alive_cuts) if close else head.cuts
    becomes_chunked = head.goes_in_chunks and head.framing is Framing.CLOSE
    if not cuts and not close and not becomes_chunked:
        return memoryview(buffer)[head.start : head.end]
    parts = uncut(buffer, head.start, head.end - 2, cuts)
    if becomes_chunked:
        parts.append(_CHUNKED_LINE)
    parts.append(_CLOSE_LINE + b"\r\n" if close else b"\r\n")
    return b"".join(parts)


def response_fields(head: ResponseHead, *, close: bool) -> Fields:
    """The fields of a precise head for the client."""
    assert head.fields is not None
    fields = list(head.fields)
    if head.goes_in_chunks:
        fields.append((b"Transfer-Encoding", b"chunked"))
    if head.status == 101:
        fields += [(b"Connection", b"Upgrade"), (b"Upgrade", head.upgrade)]
    elif close:
        fields.append((b"Connection", b"close"))
    return fields


def _written(head: RequestHead, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (head.method, head.target, _lines(fields))


def _lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def _fields_of(buffer: Buffer, head: RequestHead) -> Fields:
    """A fast head's fields that are not cut. Its lines are known to be well-formed."""
    text = b"".join(uncut(buffer, head.start, head.end - 2, head.cuts))
    fields = []
    for line in text.split(b"\r\n")[1:-1]:
        name, _, value = line.partition(b":")
        if name.lower() != b"transfer-encoding":
            fields.append((name, value.strip(b" \t")))
    return fields
