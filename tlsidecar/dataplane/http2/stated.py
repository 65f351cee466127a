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

    __slots__ = ("_block", "_heads", "_host", "_identity")

    def __init__(self, heads: Heads, identity: IdentityHeaders) -> None:
        self._heads = heads
        self._identity = identity
        self._host: bytes | None = None
        self._block = b""

    def block(self, head: RequestHead) -> bytes:
        """Our fields for ``head``, which gets its request id. Raises MessageRefused when what is kept is malformed."""
        identity = self._identity
        if head.kept or identity.is_traced:
            return self._heads.encode(identity.fields(head))
        if head.host != self._host:
            self._host = head.host
            self._block = self._heads.encode(identity.stated(head.host))
        if head.request_id:
            return self._block
        request_id = head.request_id = identity.next_request_id()
        return b"%b%b%b" % (self._block, _REQUEST_ID_START, request_id)
