"""What a request head says (RFC 9112), however it was read: see :mod:`.request_scanner`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from tlsidecar.dataplane.http.message import Request


class Framing(IntEnum):
    """How a message's end is found."""

    NONE = 0  # there is no body
    LENGTH = 1  # Content-Length
    CHUNKED = 2
    CLOSE = 3  # responses only: until the connection ends


_NO_BODY = Framing.NONE
_new = object.__new__


class RequestHead(Request):
    """One accepted request head. Offsets count from the start of the buffer it was read from.

    ``fields`` is ``None`` for a fast head; else it has what goes on: neither fields for this hop nor any that the
    listener removes. ``copied`` is what goes on of a fast head, up to its empty line, where that is known without
    looking at its buffer; else empty. Several requests may share a head that has it (:meth:`request`).
    """

    __slots__ = (
        "binds_connection",
        "copied",
        "cuts",
        "end",
        "expects_continue",
        "fields",
        "framing",
        "keep_alive",
        "length",
        "minor",
        "start",
        "target_rewritten",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, host: bytes, start: int, end: int) -> None:
        # All of it here: one call more for each request would be measurable.
        self.method = method
        self.target = target
        self.host = host
        self.start = start
        self.end = end
        self.minor = 1
        self.framing = _NO_BODY
        self.length = 0
        self.keep_alive = True
        self.expects_continue = False
        self.upgrade = b""
        self.copied = b""
        self.cuts: Sequence[tuple[int, int]] = ()
        self.fields: list[tuple[bytes, bytes]] | None = None
        self.kept = ()
        self.request_id = b""
        self.target_rewritten = False
        self.binds_connection = False  # it authenticates its client for the whole connection (NTLM, Negotiate)
        self.destination = None
        self.dropped_headers = 0
        self.trace = None

    def __repr__(self) -> str:
        kind = "fast" if self.fields is None else "precise"
        return f"<RequestHead {kind} {self.method!r} {self.target[:80]!r} {self.framing.name} {self.length}>"

    def copy(self) -> RequestHead:
        """Another of a fast head, to become a request of its own."""
        # Not by its class, whose call costs as much as all of these.
        head = _new(RequestHead)
        head.method = self.method
        head.target = self.target
        head.host = self.host
        head.start = self.start
        head.end = self.end
        head.minor = self.minor
        head.framing = self.framing
        head.length = self.length
        head.keep_alive = self.keep_alive
        head.expects_continue = self.expects_continue
        head.upgrade = self.upgrade
        head.copied = self.copied
        head.cuts = self.cuts
        head.fields = self.fields
        head.kept = self.kept
        head.request_id = self.request_id
        head.target_rewritten = self.target_rewritten
        head.binds_connection = self.binds_connection
        head.destination = self.destination
        head.dropped_headers = self.dropped_headers
        head.trace = self.trace
        return head

    def request(self) -> Request:
        """What is asked for, without what is said of its head, as a request of its own."""
        request = _new(Request)
        request.method = self.method
        request.target = self.target
        request.host = self.host
        request.kept = self.kept
        request.request_id = self.request_id
        request.trace = self.trace
        request.destination = self.destination
        request.dropped_headers = self.dropped_headers
        return request

    @property
    def has_body(self) -> bool:
        return self.length > 0 or self.framing is Framing.CHUNKED

    @property
    def is_plain(self) -> bool:
        """Whether the plain lane can take it: it stays HTTP."""
        return not self.upgrade
