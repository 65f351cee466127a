"""What either side may try: who is told what, what goes on, and what is kept of it."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http2.talk import CALL, GET, OK, Field, Talk, coded, head, takes_what_goes_on, without

from tlsidecar.dataplane.http2 import frames, hpack
from tlsidecar.outcomes import Reason


def many(count: int, frame: bytes) -> bytes:
    return frame * count


def rapid_reset(count: int) -> bytes:
    return b"".join([head(2 * at + 1, end=False) + frames.rst_stream(2 * at + 1, 8) for at in range(count)])


def made_you_reset(count: int) -> bytes:
    """Streams that we end, for what is wrong with them."""
    return b"".join([head(2 * at + 1, [*GET, (b"connection", b"x")], end=False) for at in range(count)])


def crumbs(count: int) -> bytes:
    return head(1, [*GET, *[(b"cookie", b"c%d=1" % at) for at in range(count)]])


def bomb() -> bytes:
    large = b"\x40\x01a" + hpack.integer(4000, 0x7F) + b"x" * 4000
    return frames.headers(1, coded(GET) + large + b"\xbe" * 9, end_stream=True)


_OPEN = head(1, end=False)

FLOODS = [
    pytest.param(rapid_reset(240), id="rapid reset"),
    pytest.param(made_you_reset(240), id="resets that we are made to send"),
    pytest.param(frames.frame(1, 0, 1, coded(GET)) + many(9, frames.frame(9, 0, 1, b"")), id="CONTINUATIONs"),
    pytest.param(bomb(), id="HPACK bomb"),
    pytest.param(crumbs(97), id="cookie crumbs"),
    pytest.param(many(1200, frames.settings([])), id="SETTINGS"),
    pytest.param(frames.settings([(frames.INITIAL_WINDOW_SIZE, 1)] * 33), id="settings in one frame"),
    pytest.param(many(1200, frames.SETTINGS_ACK), id="SETTINGS that answer nothing"),
    pytest.param(many(1200, frames.frame(6, 0, 0, b"12345678")), id="PING"),
    pytest.param(many(1200, frames.frame(6, 1, 0, b"12345678")), id="PING that answers nothing"),
    pytest.param(many(1200, frames.frame(2, 0, 1, b"\0\0\0\3\1")), id="PRIORITY"),
    pytest.param(many(1200, frames.frame(0x42, 0, 0, b"")), id="unknown frames"),
    pytest.param(_OPEN + many(1200, frames.data(1, b"", end_stream=False)), id="empty DATA"),
    pytest.param(_OPEN + many(1200, frames.frame(0, 8, 1, b"\0")), id="DATA of padding"),
    pytest.param(_OPEN + many(1200, frames.window_update(0, 1)), id="WINDOW_UPDATE without need"),
    pytest.param(_OPEN + many(1200, frames.window_update(1, 1)), id="WINDOW_UPDATE of a stream without need"),
]


@pytest.mark.parametrize("said", FLOODS)
def test_a_flood_ends_the_connection_with_one_refusal(said: bytes) -> None:
    talk = Talk().client(said)
    assert talk.at_client.heard[-1][0] == "goaway"
    assert talk.at_client.heard[-1][2] == "ENHANCE_YOUR_CALM"
    assert [reason for reason, _ in talk.faults] == [Reason.H2_FLOOD]
    assert talk.end is Reason.H2_FLOOD
    assert not talk.session.streams


def test_what_is_under_the_budgets_is_no_flood() -> None:
    talk = Talk().client(_OPEN, many(990, frames.frame(6, 0, 0, b"12345678")))
    assert talk.end is None
    talk.clock.now += 10
    assert talk.client(many(990, frames.frame(6, 0, 0, b"12345678"))).end is None
    assert Talk().client(rapid_reset(199)).end is None


def test_updates_that_answer_data_are_free() -> None:
    talk = Talk().client(_OPEN).upstream(head(1, OK, end=False))
    for _ in range(3000):
        talk.upstream(frames.data(1, b"x", end_stream=False))
        talk.client(frames.window_update(0, 1), frames.window_update(1, 1))
    assert talk.end is None
    assert len(talk.at_upstream.of("window")) == 6000


MALFORMED: list[tuple[str, list[Field], Reason]] = [
    ("an upper-case name", [*GET, (b"X-A", b"1")], Reason.BAD_HEADER),
    ("an empty name", [*GET, (b"", b"1")], Reason.BAD_HEADER),
    ("a name with a space", [*GET, (b"a b", b"1")], Reason.BAD_HEADER),
    ("a name with a colon", [*GET, (b"a:b", b"1")], Reason.BAD_HEADER),
    ("a value with CRLF", [*GET, (b"a", b"b\r\nc: d")], Reason.BAD_HEADER),
    ("a value with NUL", [*GET, (b"a", b"b\0c")], Reason.BAD_HEADER),
    ("a value that begins with a space", [*GET, (b"a", b" b")], Reason.BAD_HEADER),
    ("a value that ends with a tab", [*GET, (b"a", b"b\t")], Reason.BAD_HEADER),
    ("connection", [*GET, (b"connection", b"close")], Reason.BAD_HEADER),
    ("keep-alive", [*GET, (b"keep-alive", b"1")], Reason.BAD_HEADER),
    ("proxy-connection", [*GET, (b"proxy-connection", b"1")], Reason.BAD_HEADER),
    ("transfer-encoding", [*GET, (b"transfer-encoding", b"chunked")], Reason.BAD_HEADER),
    ("upgrade", [*GET, (b"upgrade", b"h2c")], Reason.BAD_HEADER),
    ("te", [*GET, (b"te", b"gzip")], Reason.BAD_HEADER),
    ("two authorities", [*GET, (b":authority", b"b.test")], Reason.BAD_HEADER),
    ("two paths", [*GET, (b":path", b"/y")], Reason.BAD_HEADER),
    ("an unknown pseudo-header", [*GET, (b":protocol", b"websocket")], Reason.BAD_HEADER),
    ("a response's pseudo-header", [*GET, (b":status", b"200")], Reason.BAD_HEADER),
    ("a late pseudo-header", [*GET[:3], (b"a", b"b"), GET[3]], Reason.BAD_HEADER),
    ("no method", without(GET, b":method"), Reason.BAD_REQUEST_LINE),
    ("no scheme", without(GET, b":scheme"), Reason.BAD_TARGET),
    ("no path", without(GET, b":path"), Reason.BAD_TARGET),
    ("an empty path", [*without(GET, b":path"), (b":path", b"")], Reason.BAD_TARGET),
    ("a path with a space", [*without(GET, b":path"), (b":path", b"/a b")], Reason.BAD_TARGET),
    ("a path with CRLF", [*without(GET, b":path"), (b":path", b"/a\r\nb: c")], Reason.BAD_TARGET),
    ("a path without a slash", [*without(GET, b":path"), (b":path", b"a")], Reason.BAD_TARGET),
    ("a path with a fragment", [*without(GET, b":path"), (b":path", b"/a#b")], Reason.BAD_TARGET),
    ("an asterisk", [*without(GET, b":path"), (b":path", b"*")], Reason.BAD_TARGET),
    ("another scheme", [*without(GET, b":scheme"), (b":scheme", b"ftp")], Reason.BAD_TARGET),
    ("a method in lower case", [*without(GET, b":method"), (b":method", b"get")], Reason.BAD_REQUEST_LINE),
    ("no authority", without(GET, b":authority"), Reason.BAD_HOST),
    ("an authority with user", [*without(GET, b":authority"), (b":authority", b"u@a.test")], Reason.BAD_HOST),
    ("a host that differs", [*GET, (b"host", b"b.test")], Reason.BAD_HOST),
    ("content-length twice", [*GET, (b"content-length", b"1"), (b"content-length", b"1")], Reason.BAD_CONTENT_LENGTH),
    ("content-length with a sign", [*GET, (b"content-length", b"+1")], Reason.BAD_CONTENT_LENGTH),
]


@pytest.mark.parametrize(("fields", "reason"), [pytest.param(*row[1:], id=row[0]) for row in MALFORMED])
@pytest.mark.parametrize("ends", [False, True])
def test_a_malformed_request_ends_its_stream_alone(fields: list[Field], reason: Reason, ends: bool) -> None:
    talk = Talk().client(head(1), head(3, fields, end=ends), head(5))
    assert talk.at_client.heard == [("reset", 3, "PROTOCOL_ERROR")]
    assert [each[1] for each in talk.at_upstream.heard] == [1, 5]
    assert talk.statuses == [400]
    assert [refusal.reason for refusal in talk.ledger.refusals] == [reason]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([*without(GET, b":method"), (b":method", b"CONNECT")], b"405"),
        ([*without(GET, b":method"), (b":method", b"TRACE")], b"405"),
        ([*without(GET, b":path"), (b":path", b"/" + b"a" * 9000)], b"414"),
        ([*GET, (b"expect", b"something")], b"417"),
        ([*GET, (b"content_length", b"5")], b"400"),
    ],
)
def test_a_request_that_is_not_served(fields: list[Field], status: bytes) -> None:
    talk = Talk().client(head(1, fields))
    assert [each[b":status"] for each in talk.at_client.heads(1)] == [status]
    assert talk.at_upstream.heard == []


CONNECTION_ERRORS = [
    pytest.param([frames.data(1, b"x", end_stream=True)], "PROTOCOL_ERROR", id="DATA on an idle stream"),
    pytest.param([frames.rst_stream(1, 8)], "PROTOCOL_ERROR", id="RST_STREAM of an idle stream"),
    pytest.param([frames.window_update(1, 8)], "PROTOCOL_ERROR", id="WINDOW_UPDATE of an idle stream"),
    pytest.param([frames.frame(9, 4, 1, b"")], "PROTOCOL_ERROR", id="CONTINUATION of nothing"),
    pytest.param([head(2)], "PROTOCOL_ERROR", id="an even stream"),
    pytest.param([head(5), head(3)], "PROTOCOL_ERROR", id="a stream that was passed over"),
    pytest.param([head(1), frames.data(1, b"x", end_stream=True)], "STREAM_CLOSED", id="DATA after END_STREAM"),
    pytest.param([head(1), head(1)], "STREAM_CLOSED", id="HEADERS after END_STREAM"),
    pytest.param([head(1), frames.frame(9, 4, 1, b"")], "PROTOCOL_ERROR", id="CONTINUATION after END_STREAM"),
    pytest.param(
        [_OPEN, frames.rst_stream(1, 8), frames.data(1, b"x", end_stream=True)],
        "STREAM_CLOSED",
        id="DATA after RST_STREAM",
    ),
    pytest.param([_OPEN, frames.rst_stream(1, 8), head(1)], "STREAM_CLOSED", id="HEADERS after RST_STREAM"),
    pytest.param([frames.headers(1, b"\xbf", end_stream=True)], "COMPRESSION_ERROR", id="an index beyond the table"),
    pytest.param([frames.frame(5, 4, 1, b"\0\0\0\2")], "PROTOCOL_ERROR", id="PUSH_PROMISE"),
    pytest.param([frames.frame(0, 0, 0, b"x")], "PROTOCOL_ERROR", id="DATA on stream 0"),
    pytest.param([frames.window_update(0, 0)], "PROTOCOL_ERROR", id="a window that grows by nothing"),
    pytest.param(
        [frames.settings([(3, 9)])[:2] + b"\x09\4\0\0\0\0\0half"], "FRAME_SIZE_ERROR", id="SETTINGS of 9, cut"
    ),
    pytest.param([b"\0\0\1\4\1\0\0\0\0"], "FRAME_SIZE_ERROR", id="ACK of 1, cut"),
]


@pytest.mark.parametrize(("said", "code"), CONNECTION_ERRORS)
def test_what_breaks_the_protocol_ends_the_connection(said: list[bytes], code: str) -> None:
    talk = Talk().client(*said)
    assert talk.at_client.heard[-1][0] == "goaway"
    assert talk.at_client.heard[-1][2] == code
    assert [reason for reason, _ in talk.faults] == [Reason.H2_PROTOCOL_ERROR]
    assert talk.end is Reason.H2_PROTOCOL_ERROR


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/2\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        frames.PREFACE + frames.frame(6, 0, 0, b"12345678"),
        frames.PREFACE + frames.SETTINGS_ACK,
        frames.PREFACE + head(1),
    ],
)
@pytest.mark.parametrize("step", [1, 100])
def test_what_does_not_begin_as_it_has_to(said: bytes, step: int) -> None:
    talk = Talk(bare=True, step=step).client(said)
    assert [each[0] for each in talk.at_client.heard] == ["settings", "goaway"]
    assert talk.end is Reason.H2_PROTOCOL_ERROR


def test_who_speaks_http1_is_told_so_in_its_own_words() -> None:
    session = Talk(bare=True).session
    said = b"POST /a HTTP/1.1\r\nHost: a\r\n\r\n"
    session.receive_client(bytearray(said), len(said))
    assert b"".join(session.to_client).startswith(b"HTTP/1.1 505 ")
    assert session.end == session.fault == (Reason.H2_PROTOCOL_ERROR, "HTTP/1, where HTTP/2 alone is spoken")


def _a_clients_bytes() -> bytes:
    client = H2Connection(H2Configuration(header_encoding=None))
    client.initiate_connection()
    for number in (1, 3, 5):
        client.send_headers(number, [*CALL, (b"x-number", b"%d" % number), (b"grpc-timeout", b"10S")])
        client.send_data(number, b"\0\0\0\0\5hello", pad_length=number)
    client.ping(b"12345678")
    client.increment_flow_control_window(1000)
    client.send_headers(1, [(b"x-trailer", b"1")], end_stream=True)
    client.end_stream(3)
    client.reset_stream(5)
    return client.data_to_send()


_WIRE = _a_clients_bytes()


@given(
    st.lists(st.tuples(st.integers(0, len(_WIRE) - 1), st.integers(0, 255)), max_size=4),
    st.lists(st.integers(0, len(_WIRE)), max_size=6),
)
def test_whatever_comes_the_upstream_gets_what_hyper_h2_takes(changes: list[tuple[int, int]], cuts: list[int]) -> None:
    wire = bytearray(_WIRE)
    for at, value in changes:
        wire[at] = value
    takes_what_goes_on(bytes(wire), cuts)
