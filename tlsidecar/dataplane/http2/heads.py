"""Header blocks judged: what a request or response says to us, and the bytes that go on (RFC 9113 section 8).

The grammar is HTTP/1's (:mod:`..http.grammar`), so that what passes here means the same to every service. A field that
means nothing to us is judged once and its bytes remembered; the names that do mean something are looked at each time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from tlsidecar.dataplane.http import grammar, names
from tlsidecar.dataplane.http.grammar import fold
from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.dataplane.http2.errors import ErrorCode, StreamFault
from tlsidecar.dataplane.http2.hpack import SECRET_NAMES, Encoder, Field, literal
from tlsidecar.outcomes import Reason

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# No white space at either end (RFC 9113 section 8.2.1), no control anywhere.
_VALUE: Final = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_METHOD: Final = re.compile(rb"[A-Z][A-Z-]{0,31}")
_STATUS: Final = re.compile(rb"[1-5][0-9][0-9]")
_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path"})

# RFC 9113 section 8.2.2: a message that has one is malformed.
_CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
# HTTP/1 knows these between two hops only; "te" and "expect" are the two that HTTP/2 keeps.
_REQUEST_DROPPED: Final = names.REQUEST_HOP_BY_HOP - _CONNECTION_SPECIFIC - {b"te", b"expect"}
_RESPONSE_DROPPED: Final = names.RESPONSE_HOP_BY_HOP - _CONNECTION_SPECIFIC

# RFC 9110 section 6.5.1: who asks, and how and for what, is said before the content or not at all.
_NOT_IN_TRAILERS: Final = SECRET_NAMES | {
    names.DESTINATION,
    names.REQUEST_ID,
    b"te",
    b"expect",
    b"content-type",
    b"content-encoding",
    b"content-range",
    b"range",
    b"max-forwards",
    b"cache-control",
}

# A KnownRequest has these of every request; where one is never to be indexed, none is made.
_KEPT_OF_EACH: Final = _PSEUDO | {b"host", names.REQUEST_ID}

_NO_LENGTH: Final = -1
_GRPC: Final = b"application/grpc"


class RequestHead(Request):
    """One request whose block is being judged. The block that goes on is ``before``, the path, ``parts``, one for each
    of the other fields, and what we state; ``length`` is -1 where none is stated. ``hides`` is whether the client wants
    what we write anew (its path, its authority, an address that ours is added to) not to be indexed."""

    __slots__ = ("before", "has_secret", "hides", "is_grpc", "length", "parts", "path")

    def __init__(self, method: bytes, target: bytes, host: bytes) -> None:
        super().__init__(method, target, host)
        self.before = b""
        self.path = b""  # the target, encoded
        self.parts: Sequence[bytes] = ()
        self.length = _NO_LENGTH
        self.is_grpc = False
        self.has_secret = False
        self.hides = False

    def written(self, path: bytes, ours: bytes) -> bytes:
        """The block that goes on. What is encoded, credentials among it, is not kept any longer."""
        block = b"%b%b%b%b" % (self.before, path, b"".join(self.parts), ours)
        self.before = self.path = b""
        self.parts = ()
        return block


class ResponseHead:
    """One accepted response head, or trailers (whose status is 0). ``grpc_status`` is what was said of it, or empty."""

    __slots__ = ("block", "grpc_status", "has_secret", "length", "status")

    def __init__(self) -> None:
        self.status = 0
        self.length = _NO_LENGTH
        self.block = b""
        self.grpc_status = b""
        self.has_secret = False

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.grpc_status!r}>"


class Heads:
    """Judges the heads of one listener; what it remembers is bounded, and of no connection."""

    def __init__(self, rules: HttpRules, *, terminates: bool) -> None:
        self.rules = rules
        self._encoder = Encoder()
        self._request_fields: dict[Field, bytes] = {}
        self._response_fields: dict[Field, bytes] = {}
        # What the next hop really is: some services refuse a request whose scheme is not its transport's.
        self._scheme = literal(b":scheme", b"http" if terminates else b"https")
        self._takes_request_ids = names.REQUEST_ID not in rules.heads.removed

    def __repr__(self) -> str:
        return f"<Heads {len(self._request_fields)} and {len(self._response_fields)} fields known>"

    def encode(self, fields: Sequence[Field], *, is_secret: bool = False) -> bytes:
        """Fields of our own, whose names may be in any case."""
        encode = _encode_secret if is_secret else self._encoder.encode
        return b"".join([encode((name.lower(), value)) for name, value in fields])

    # Requests.

    def request(self, fields: list[Field], never_indexed: Collection[int] = ()) -> RequestHead:
        """Raises :class:`StreamFault` where it is malformed, :class:`MessageRefused` where it is not to be had.

        Of all that is decoded, fields by their places that are ``never_indexed`` are written so again, and remembered
        nowhere (RFC 7541 section 6.2.3).
        """
        said: dict[bytes, bytes] = {}
        at = 0
        for name, value in fields:
            if name[:1] != b":":
                break
            at += 1
            if name not in _PSEUDO:
                raise _malformed("a pseudo-header that is not one of a request")
            if name in said:
                raise _malformed("a pseudo-header twice")
            said[name] = value
        head = RequestHead(said.get(b":method", b""), said.get(b":path", b""), said.get(b":authority", b""))
        known = self._request_fields.get
        parts: list[bytes] = []
        for place, field in enumerate(fields[at:] if at else fields, at):
            is_secret = place in never_indexed
            coded = None if is_secret else known(field)
            if coded is None:
                coded = self._request_field(field, head, is_secret=is_secret)
            parts.append(coded)
        self._judge_request(head, said)
        head.parts = parts
        host = self.rules.host_rewrite or head.host
        head.hides = head.hides or any(fields[place][0] in _KEPT_OF_EACH for place in never_indexed)
        if head.hides:
            head.has_secret = True
            hidden = [literal(*field, secret=True) for field in ((b":method", head.method), (b":authority", host))]
            head.before = self._scheme.join(hidden)
        else:
            encode = self._encoder.encode
            head.before = encode((b":method", head.method)) + self._scheme + encode((b":authority", host))
        head.path = self.path(head)
        return head

    def path(self, head: RequestHead) -> bytes:
        """The target as it is now, encoded."""
        if head.hides:
            return literal(b":path", head.target, secret=True)
        return self._encoder.encode((b":path", head.target))

    def _judge_request(self, head: RequestHead, said: dict[bytes, bytes]) -> None:
        method, target = head.method, head.target
        if not _METHOD.fullmatch(method):
            raise _malformed("the method is not one word in uppercase, or missing", Reason.BAD_REQUEST_LINE)
        if method in grammar.REFUSED_METHODS:
            raise MessageRefused(405, Reason.METHOD_REFUSED)
        if said.get(b":scheme") not in (b"http", b"https"):
            raise _malformed("the scheme is neither http nor https", Reason.BAD_TARGET)
        if not grammar.ORIGIN_FORM.fullmatch(target) and (target != b"*" or method != b"OPTIONS"):
            raise _malformed("the path is missing or malformed", Reason.BAD_TARGET)
        if len(target) > self.rules.limits.max_target_bytes:
            raise MessageRefused(414, Reason.TARGET_TOO_LONG)
        if not grammar.HOST.fullmatch(head.host):
            raise _malformed("no authority, or one that is malformed", Reason.BAD_HOST)
        limit = self.rules.limits.max_body_bytes
        if limit is not None and head.length > limit:
            raise MessageRefused(413, Reason.BODY_TOO_LARGE)

    def _request_field(self, field: Field, head: RequestHead, *, is_secret: bool) -> bytes:
        name, value = field
        _judge_field(name, value)
        rules = self.rules.heads
        encode = self._encoder.encode
        if is_secret or name in SECRET_NAMES:
            is_secret = head.has_secret = True
            encode = _encode_secret
        if name == b"host":
            if head.host and head.host.lower() != value.lower():
                raise _malformed("Host is not the authority", Reason.BAD_HOST)
            head.host = head.host or value
            return b""
        if name == b"content-length":
            length = grammar.content_length(value)
            if length is None or head.length != _NO_LENGTH:
                raise _malformed("content-length is malformed or doubled", Reason.BAD_CONTENT_LENGTH)
            head.length = length
            return encode(field)
        if name == b"te":
            if value != b"trailers":
                raise _malformed("te is not trailers")
            return encode(field)
        if name == b"expect":
            if value.lower() != b"100-continue":
                raise MessageRefused(417, Reason.EXPECTATION_FAILED)
            return encode(field)
        folded = fold(name)
        if folded != name:
            if folded in names.FRAMING:
                # Gateways in the manner of CGI would read it as the field that it is not.
                raise MessageRefused(400, Reason.BAD_HEADER, "a look-alike of a framing field")
            if b"_" in name and rules.underscores != "allow" and folded not in rules.removed:
                if rules.underscores == "refuse":
                    raise MessageRefused(400, Reason.UNDERSCORE_HEADER)
                head.dropped_headers += 1
                return b""
        if name == names.DESTINATION and rules.judges_destination:
            if head.destination is not None:
                raise MessageRefused(400, Reason.BAD_PATH, "two destinations")
            head.destination = value
            head.hides = head.hides or is_secret
            return b""
        if name in rules.kept:
            head.hides = head.hides or is_secret
            head.kept = [*head.kept, field]
            return b""
        if name == names.REQUEST_ID and self._takes_request_ids and value:
            head.request_id = head.request_id or value
            return encode(field)
        if name == b"content-type":
            head.is_grpc = head.is_grpc or value.startswith(_GRPC)
            return encode(field)
        dropped = folded in rules.removed or folded in _REQUEST_DROPPED
        coded = b"" if dropped else encode(field)
        return coded if is_secret else _remember(self._request_fields, field, coded)

    def request_trailers(self, fields: list[Field], never_indexed: Collection[int] = ()) -> bytes:
        """The block that goes on, without what a trailer must not say. Raises :class:`StreamFault`."""
        rules = self.rules.heads
        kept = []
        for place, field in enumerate(fields):
            name, value = field
            _judge_field(name, value)
            folded = fold(name)
            if not (
                folded in names.FRAMING
                or folded in names.REQUEST_HOP_BY_HOP
                or folded in rules.removed
                or folded in rules.kept
                or folded in _NOT_IN_TRAILERS
                or (b"_" in name and rules.underscores != "allow")
            ):
                kept.append(_encode_secret(field) if place in never_indexed else self._encoder.encode(field))
        return b"".join(kept)

    # Responses.

    def response(self, fields: list[Field], method: bytes, never_indexed: Collection[int] = ()) -> ResponseHead:
        """Raises :class:`StreamFault`."""
        if not fields or fields[0][0] != b":status" or not _STATUS.fullmatch(fields[0][1]):
            raise _malformed("no status, or one that is malformed")
        head = ResponseHead()
        head.status = int(fields[0][1])
        if head.status == 101:
            raise _malformed("101, which HTTP/2 does not have")
        known = self._response_fields.get
        parts = [self._encoder.encode(fields[0])]
        for place, field in enumerate(fields[1:], 1):
            is_secret = place in never_indexed
            coded = None if is_secret else known(field)
            parts.append(coded if coded is not None else self._response_field(field, head, is_secret=is_secret))
        if method == b"HEAD" or head.status in (204, 304):
            head.length = 0  # whatever is stated, there is no body
        head.block = b"".join(parts)
        return head

    def _response_field(self, field: Field, head: ResponseHead, *, is_secret: bool) -> bytes:
        name, value = field
        _judge_field(name, value)
        encode = self._encoder.encode
        if is_secret or name in SECRET_NAMES:
            is_secret = head.has_secret = True
            encode = _encode_secret
        if name == b"content-length":
            length = grammar.content_length(value)
            if length is None or head.length != _NO_LENGTH:
                raise _malformed("content-length is malformed or doubled")
            head.length = length
            return encode(field)
        if name == b"grpc-status":
            head.grpc_status = value
            return encode(field)
        coded = b"" if name in _RESPONSE_DROPPED else encode(field)
        return coded if is_secret else _remember(self._response_fields, field, coded)

    def response_trailers(self, fields: list[Field], never_indexed: Collection[int] = ()) -> ResponseHead:
        """Raises :class:`StreamFault`."""
        head = ResponseHead()
        parts = []
        for place, field in enumerate(fields):
            coded = self._response_field(field, head, is_secret=place in never_indexed)
            if field[0] not in names.FRAMING:
                parts.append(coded)
        head.block = b"".join(parts)
        return head


def _encode_secret(field: Field) -> bytes:
    return literal(*field, secret=True)


def _judge_field(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise _malformed("a name that is empty, in upper case, a late pseudo-header or not a token")
    if not _VALUE.fullmatch(value):
        raise _malformed("a value with a control, or white space around it")
    if name in _CONNECTION_SPECIFIC:
        raise _malformed("a field for the connection, which HTTP/2 does not have")


_REMEMBERED: Final = 2048
_REMEMBERED_BYTES: Final = 256


def _remember(known: dict[Field, bytes], field: Field, coded: bytes) -> bytes:
    if len(field[0]) + len(field[1]) <= _REMEMBERED_BYTES:
        if len(known) >= _REMEMBERED:
            known.clear()
        known[field] = coded
    return coded


class Malformed(StreamFault):
    """A message that is no message (RFC 9113 section 8.1.1); ``reason`` is what HTTP/1 would call it."""

    def __init__(self, detail: str, reason: Reason) -> None:
        super().__init__(ErrorCode.PROTOCOL_ERROR, detail)
        self.reason = reason


def _malformed(detail: str, reason: Reason = Reason.BAD_HEADER) -> Malformed:
    return Malformed(detail, reason)
