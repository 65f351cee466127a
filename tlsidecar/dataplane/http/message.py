"""A request as every version of HTTP has it: what is asked for, of whom, and what is known of it besides.

How its head was written, how its body is framed and what its connection is to do afterwards are the business of the
version (:mod:`tlsidecar.dataplane.http1.request_head`), whose own class adds to this one.
"""

from __future__ import annotations

from collections.abc import Sequence

from tlsidecar.outcomes import Trace

Fields = list[tuple[bytes, bytes]]


class Request:
    """One request whose head was judged.

    ``target`` is in origin-form (or ``*``). ``kept`` has the client's own identity and trace fields that the listener's
    mode keeps, by lowercase name. ``request_id`` is the client's until ours is given, or empty; ``trace`` is our span,
    where tracing is on. ``destination`` is a WebDAV ``Destination`` that route rules are to judge, or ``None``; it is
    not among the other fields. ``dropped_headers`` counts those that do not go on for an underscore in their names.
    """

    __slots__ = ("destination", "dropped_headers", "host", "kept", "method", "request_id", "target", "trace")

    def __init__(self, method: bytes, target: bytes, host: bytes) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.kept: Sequence[tuple[bytes, bytes]] = ()
        self.request_id = b""
        self.trace: Trace | None = None
        self.destination: bytes | None = None
        self.dropped_headers = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method!r} {self.target[:80]!r}>"
