"""Requests whose header block was judged before: the same block is not judged again while it means the same.

A block without secrets is its own key. Of one with credentials nothing is kept that could tell them: the key is a
keyed digest, and what goes on is put together from the block at hand, with each secret string copied as the client
encoded it, or taken from the decoder's table, which has it for as long as the client wants (RFC 7541 section 7.1). Such
a block is prepared when it comes the second time: many have something in them that never comes again.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, TypeAlias

from tlsidecar.dataplane.http2.heads import RequestHead
from tlsidecar.dataplane.http2.hpack import Decoder, is_never_indexed, literal, values_in

BLOCKS_REMEMBERED: Final = 8  # of either kind

_KEY: Final = secrets.token_bytes(16)

# What goes on as it is, where in the block the value of a field is, or the index of the table's entry.
Piece: TypeAlias = "bytes | slice | int"


class KnownRequest:
    """What a block meant before: the block that goes on is ``before``, the path, :meth:`rest` and, where the client has
    not given one, a request id."""

    __slots__ = ("_after", "_pieces", "before", "host", "is_grpc", "length", "method", "path", "request_id", "target")

    def __init__(
        self, head: RequestHead, target: bytes, request_id: bytes, after: bytes, pieces: Sequence[Piece] = ()
    ) -> None:
        """``target`` is the client's, ``request_id`` the client's or empty; all that follows the path is ``after``, or
        ``pieces``."""
        self.method = head.method
        self.target = target
        self.host = head.host
        self.before = head.before
        self.path = head.path
        self.length = head.length
        self.is_grpc = head.is_grpc
        self.request_id = request_id
        self._after = after
        self._pieces = pieces

    def __repr__(self) -> str:
        return f"<KnownRequest {self.method!r} {self.target[:80]!r}>"

    def rest(self, block: bytes, decoder: Decoder) -> bytes:
        """What follows the path, for the ``block`` that this was found by."""
        if not self._pieces:
            return self._after
        return b"".join(
            [
                block[piece]
                if isinstance(piece, slice)
                else literal(*decoder.entry(piece), secret=True)
                if isinstance(piece, int)
                else piece
                for piece in self._pieces
            ]
        )


class KnownRequests:
    """Of one connection. They hold while the decoder's table is that of ``version``."""

    __slots__ = ("_plain", "_sealed", "version")

    def __init__(self) -> None:
        self.version = 0
        self._plain: dict[bytes, KnownRequest] = {}
        self._sealed: dict[bytes, KnownRequest | None] = {}  # None: it came once

    def __repr__(self) -> str:
        return f"<KnownRequests {len(self._plain)} and {len(self._sealed)} with credentials>"

    def find(self, block: bytes) -> KnownRequest | None:
        known = self._plain.get(block)
        if known is None and self._sealed:
            known = self._sealed.get(_digest(block))
        return known

    def clear(self) -> None:
        self._plain.clear()
        self._sealed.clear()

    def remember(
        self, block: bytes, version: int, head: RequestHead, *, target: bytes, request_id: bytes, ours: bytes
    ) -> None:
        """``target`` and ``request_id`` are the client's; ``ours`` is what we state, up to a request id of ours."""
        if self.version != version:
            self.clear()
            self.version = version
        if not head.has_secret:
            if len(self._plain) >= BLOCKS_REMEMBERED:
                self._plain.clear()
            self._plain[block] = KnownRequest(head, target, request_id, b"".join(head.parts) + ours)
            return
        key = _digest(block)
        if key not in self._sealed:
            if len(self._sealed) >= BLOCKS_REMEMBERED:
                self._sealed.clear()
            self._sealed[key] = None
            return
        pieces = _pieces(block, head)
        if pieces is not None:
            self._sealed[key] = KnownRequest(head, target, request_id, b"", (*pieces, ours))


def _digest(block: bytes) -> bytes:
    return blake2b(block, digest_size=16, key=_KEY).digest()


def _pieces(block: bytes, head: RequestHead) -> list[Piece] | None:
    """The parts of ``head`` without its secrets; None where one is among what is kept of every request."""
    if head.hides:
        return None
    values = values_in(block)
    pieces: list[Piece] = []
    plain = b""
    for part, value in zip(head.parts, values[len(values) - len(head.parts) :], strict=True):
        if not is_never_indexed(part):
            plain += part
            continue
        if isinstance(value, slice):
            ours = values_in(part)[0]
            assert isinstance(ours, slice)
            plain += part[: ours.start]  # its name
        pieces += [plain, value]
        plain = b""
    return [*pieces, plain]
