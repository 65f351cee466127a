"""The trace context that a request gets: the client's honoured where it can be read, else one of our own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.dataplane.http.identity_headers import ClientIdentity, RequestIds
from tlsidecar.dataplane.http.rules import RequestRules
from tlsidecar.dataplane.http.tracing import TraceStarter, traced_headers
from tlsidecar.dataplane.http1 import forward
from tlsidecar.dataplane.http1.request_head import RequestHead
from tlsidecar.dataplane.http1.request_scanner import RequestScanner
from tlsidecar.settings import ClientCertificateHeader, Http, Limits

TRACE, PARENT = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
SENT = re.compile(rb"(?im)^(trace[a-z]+): (.*)\r$")


class Bits:
    """Numbers in order, as the random bits."""

    def __init__(self) -> None:
        self._last = 0

    def __call__(self, bits: int) -> int:
        self._last += 1
        return self._last


def through(*lines: bytes, ratio: float = 1.0, http: Http | None = None) -> tuple[RequestHead, dict[bytes, bytes]]:
    """The head as it was judged, and the trace context that goes on."""
    rules = RequestRules.of("web", Limits(), http or Http(), authenticated=True, routed=False, traced=True)
    data = b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", *lines, b"", b""])
    head = RequestScanner(rules).scan(data, 0, len(data))
    assert head is not None
    headers = traced_headers(TraceStarter(ratio, Bits(), terminate=True))
    ours = headers(ClientIdentity(), ClientCertificateHeader.SANITIZE, RequestIds(bytes(8)), terminate=True)
    sent = SENT.findall(forward.request_bytes(head, data, ours))
    assert len(dict(sent)) == len(sent), "said twice"
    return head, dict(sent)


def test_a_trace_begins() -> None:
    head, sent = through(b"Accept: */*")
    assert head.trace is not None
    assert head.fields is None, "an ordinary head stays one"
    assert (head.trace.parent_id, head.trace.sampled, head.trace.kind) == ("", True, "server")
    assert sent == {b"traceparent": f"00-{head.trace.trace_id}-{head.trace.span_id}-01".encode()}


@pytest.mark.parametrize("name", [b"traceparent", b"Traceparent", b"TRACEPARENT"])
@pytest.mark.parametrize(
    ("flags", "sampled"), [(b"01", True), (b"00", False), (b"02", False), (b"03", True), (b"ff", True)]
)
def test_a_trace_is_joined(name: bytes, flags: bytes, sampled: bool) -> None:
    head, sent = through(b"%b: 00-%b-%b-%b" % (name, TRACE, PARENT, flags), b"TraceState: a=1,b=2", ratio=0.0)
    assert head.trace is not None
    assert (head.trace.trace_id, head.trace.parent_id) == (TRACE.decode(), PARENT.decode())
    assert head.trace.sampled is sampled
    assert head.trace.span_id != head.trace.parent_id
    assert sent[b"traceparent"] == b"00-%b-%b-0%d" % (TRACE, head.trace.span_id.encode(), sampled)
    assert sent[b"tracestate"] == b"a=1,b=2"


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    head, _ = through(b"traceparent: 01-%b-%b-01-what-comes-then" % (TRACE, PARENT))
    assert head.trace is not None
    assert head.trace.trace_id == TRACE.decode()


@pytest.mark.parametrize(
    "lines",
    [
        [b"traceparent: 00-%b-%b-01-more" % (TRACE, PARENT)],
        [b"traceparent: ff-%b-%b-01" % (TRACE, PARENT)],
        [b"traceparent: 00-%b-%b-01" % (b"0" * 32, PARENT)],
        [b"traceparent: 00-%b-%b-01" % (TRACE, b"0" * 16)],
        [b"traceparent: 00-%b-%b-01" % (TRACE.upper(), PARENT)],
        [b"traceparent: 00-%b-%b-1" % (TRACE, PARENT)],
        [b"traceparent: 00-%b-%b" % (TRACE, PARENT)],
        [b"traceparent:"],
        [b"traceparent: 00-%b-%b-01" % (TRACE, PARENT)] * 2,
    ],
)
def test_what_cannot_be_read_begins_anew_without_its_state(lines: list[bytes]) -> None:
    head, sent = through(*lines, b"tracestate: a=1")
    assert head.trace is not None
    assert head.trace.trace_id != TRACE.decode()
    assert head.trace.parent_id == ""
    assert set(sent) == {b"traceparent"}


def test_an_edge_may_begin_every_trace() -> None:
    http = Http(remove_headers=("traceparent", "tracestate"))
    head, sent = through(b"traceparent: 00-%b-%b-01" % (TRACE, PARENT), b"tracestate: a=1", http=http)
    assert head.trace is not None
    assert head.trace.trace_id != TRACE.decode()
    assert set(sent) == {b"traceparent"}


def test_a_share_is_sampled() -> None:
    assert through(ratio=0.0)[1][b"traceparent"].endswith(b"-00")
    assert through(ratio=1.0)[1][b"traceparent"].endswith(b"-01")


@given(st.from_regex(rb"[!-~]{0,80}", fullmatch=True))
def test_whatever_is_said_what_goes_on_is_well_formed(value: bytes) -> None:
    _, sent = through(b"traceparent: " + value)
    assert re.fullmatch(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]", sent[b"traceparent"])
