"""Trace context (W3C Trace Context, level 1) of the requests that pass: honoured, or begun, and passed on.

Where tracing is off none of this is used, and ``traceparent`` goes on as any other field. Where it is on each request
gets a span of ours: the client's span is its parent, and it is the parent that the upstream is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tlsidecar.dataplane.http import names
from tlsidecar.dataplane.http.identity_headers import IdentityHeaders
from tlsidecar.dataplane.http.message import Fields, Request
from tlsidecar.outcomes import Trace

GetRandomBits = Callable[[int], int]

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01


class TraceStarter:
    """Gives requests their spans; ``ratio`` of the traces that begin here are sampled, and of those that come all that
    the client says are."""

    def __init__(self, ratio: float, random_bits: GetRandomBits, *, terminate: bool) -> None:
        self._below = int(ratio * (1 << 64))
        self._random_bits = random_bits
        self._kind = "server" if terminate else "client"

    def begin(self, request: Request) -> Trace:
        """The span of this request."""
        parents = [value for name, value in request.kept if name == names.TRACEPARENT]
        parent = _TRACEPARENT.fullmatch(parents[0]) if len(parents) == 1 else None
        if parent is not None:
            version, trace_id, parent_id, flags, more = parent.groups()
            is_known = version != b"ff" and not (version == b"00" and more)
            if is_known and trace_id.strip(b"0") and parent_id.strip(b"0"):
                sampled = bool(int(flags, 16) & _SAMPLED)
                return Trace(trace_id.decode(), self._new_id(64), parent_id.decode(), sampled, self._kind)
        sampled = self._random_bits(64) < self._below
        return Trace(self._new_id(128), self._new_id(64), "", sampled, self._kind)

    def _new_id(self, bits: int) -> str:
        return f"{self._random_bits(bits) or 1:0{bits // 4}x}"


def traced_headers(starter: TraceStarter) -> type[IdentityHeaders]:
    """What a listener's connections take instead of :class:`IdentityHeaders`."""
    return type("TracedHeaders", (_TracedHeaders,), {"starter": starter})


class _TracedHeaders(IdentityHeaders):
    """:class:`IdentityHeaders` with the trace context of our own span."""

    is_traced = True
    starter: TraceStarter

    def begin_trace(self, request: Request) -> None:
        if request.trace is None:
            request.trace = self.starter.begin(request)

    def suffix(self, request: Request) -> bytes:
        self.begin_trace(request)
        return b"%b: %b\r\n%b" % (*_traceparent(request), super().suffix(request))

    def fields(self, request: Request) -> Fields:
        self.begin_trace(request)
        assert request.trace is not None
        # The vendors' own state goes with its trace, and not with another.
        state = [field for field in request.kept if field[0] == names.TRACESTATE] if request.trace.parent_id else []
        request.kept = [field for field in request.kept if field[0] not in names.TRACE_CONTEXT]
        return [*super().fields(request), _traceparent(request), *state]


def _traceparent(request: Request) -> tuple[bytes, bytes]:
    trace = request.trace
    assert trace is not None
    value = f"00-{trace.trace_id}-{trace.span_id}-{'01' if trace.sampled else '00'}"
    return names.TRACEPARENT, value.encode("ascii")
