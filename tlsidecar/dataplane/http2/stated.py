"""What we state of a client in its requests' header blocks: encoded once where it is the same each time."""

from __future__ import annotations

from tlsidecar.dataplane.http import names
from tlsidecar.dataplane.http.identity_headers import IdentityHeaders
from tlsidecar.dataplane.http2.heads import Heads, RequestHead
from tlsidecar.dataplane.http2.hpack import literal

# What comes before the 32 digits of a request id, which are new each time.
_REQUEST_ID_START = literal(names.REQUEST_ID, b"0" * 32)[:-32]


class Stated:
    """Of one connection."""

    __slots__ = ("_block", "_heads", "_host", "_identity", "next_request_id")

    def __init__(self, heads: Heads, identity: IdentityHeaders) -> None:
        self._heads = heads
        self._identity = identity
        self._host: bytes | None = None
        self._block = b""
        self.next_request_id = identity.next_request_id

    def block(self, head: RequestHead) -> bytes:
        """Our fields for ``head``, which gets its request id. Raises MessageRefused when what is kept is malformed."""
        if not self.repeats(head):
            return self._heads.encode(self._identity.fields(head), is_secret=head.hides)
        if head.request_id:
            return self.before_request_id(head)
        before = self.before_request_id(head)
        request_id = head.request_id = self.next_request_id()
        return before + request_id

    def repeats(self, head: RequestHead) -> bool:
        """Whether the same request will be told the same of its client again, but for its request id."""
        return not (head.kept or self._identity.is_traced)

    def before_request_id(self, head: RequestHead) -> bytes:
        """What stands before the request id of a request that :meth:`repeats`; or all, where the client gave one."""
        if head.host != self._host:
            self._host = head.host
            self._block = self._heads.encode(self._identity.stated(head.host))
        return self._block if head.request_id else self._block + _REQUEST_ID_START
