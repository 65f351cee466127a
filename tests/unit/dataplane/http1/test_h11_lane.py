"""The second lane: what two parsers read alike goes on, and what they do not is refused."""

from __future__ import annotations

import pytest
from unit.dataplane.http1.conversation import Message, identity_headers, listener, parse_responses, rules_of

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http1 import forward
from tlsidecar.dataplane.http1.h11_lane import H11Lane
from tlsidecar.dataplane.http1.halves import RequestHalf
from tlsidecar.dataplane.http1.request_head import RequestHead
from tlsidecar.dataplane.http1.response_head import ResponseHead

SETTINGS = listener()
RULES = rules_of(SETTINGS)
IDENTITY = identity_headers(SETTINGS)
ASKED = b"POST /a HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET /a HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OLD = b"HTTP/1.1 200 OK\r\n\r\n"  # its body ends with the connection


def request_head(raw: bytes) -> RequestHead:
    head = RequestHalf(RULES, IDENTITY, force_h11=True).scan(raw, 0, len(raw))
    assert head is not None
    return head


def response_head(raw: bytes, method: bytes = b"POST") -> ResponseHead:
    reader = RULES.responses.reader(method)
    end = reader.read(raw, 0, len(raw))
    assert end is not None
    return reader.head(0, end)


def asked(raw: bytes = ASKED, *, read_as: bytes = b"", trailers: frozenset[bytes] = frozenset()) -> H11Lane:
    """A lane whose request head has passed; h11 is given ``read_as`` in its place."""
    lane = H11Lane(32 * 1024, trailers)
    head = request_head(raw)
    lane.request_head(read_as or raw, head, forward.request_fields(head, raw, IDENTITY))
    return lane


@pytest.mark.parametrize(
    "read_as",
    [
        UPGRADE.replace(b"GET", b"PUT"),
        UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        UPGRADE.replace(b"X-One: 1", b"X-One: 2"),
        UPGRADE.replace(b"X-One: 1\r\n", b""),
        UPGRADE[:-2],
        b"not HTTP at all\r\n\r\n",
    ],
    ids=["method", "version", "value", "one field less", "half a head", "nonsense"],
)
def test_a_head_that_two_parsers_read_differently(read_as: bytes) -> None:
    with pytest.raises(MessageRefused) as caught:
        asked(UPGRADE, read_as=read_as)
    assert (caught.value.status, caught.value.detail) == (400, "two parsers read it differently")


def test_a_host_of_ours_is_no_disagreement() -> None:
    rules = rules_of(listener(http=listener().http.__class__(http10_without_host="listener_name")))
    raw = b"GET / HTTP/1.0\r\nX-One: 1\r\n\r\n"
    head = RequestHalf(rules, IDENTITY, force_h11=True).scan(raw, 0, len(raw))
    assert head is not None
    said = H11Lane(32 * 1024, frozenset()).request_head(raw, head, forward.request_fields(head, raw, IDENTITY))
    assert b"web\r\n" in said


@pytest.mark.parametrize(
    ("raw", "ended"), [(b"2\r\nok\r\n", True), (b"2\r\nok\r\n0\r\n\r\n", False), (b"zz\r\n", False)]
)
def test_an_end_that_two_parsers_see_elsewhere(raw: bytes, ended: bool) -> None:
    with pytest.raises(MessageRefused) as caught:
        asked().request_body(raw, ended=ended)
    assert caught.value.status == 400
    lane = asked()
    lane.request_body(b"0\r\n\r\n", ended=True)
    lane.response_head(CHUNKED, response_head(CHUNKED), close=False)
    with pytest.raises(MessageRefused) as caught:
        lane.response_body(raw, ended=ended)
    assert caught.value.status == 502


def test_only_trailers_that_are_listed_go_on() -> None:
    lane = asked(trailers=frozenset({b"x-keep"}))
    end = b"0\r\nX-Keep: 1\r\nX-Drop: 2\r\n\r\n"
    assert lane.request_body(b"2\r\nok\r\n" + end, ended=True) == b"2\r\nok\r\n0\r\nX-Keep: 1\r\n\r\n"
    said = lane.response_head(CHUNKED, response_head(CHUNKED), close=False) + lane.response_body(end, ended=True)
    (message,) = parse_responses(said, [b"POST"])
    assert message.trailers == ((b"x-keep", b"1"),)


def test_a_client_of_http_1_0_gets_neither_chunks_nor_trailers() -> None:
    raw = b"POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    lane = asked(raw, trailers=frozenset({b"x-keep"}))
    lane.request_body(b"", ended=True)
    said = lane.response_head(CHUNKED, response_head(CHUNKED), close=True)
    said += lane.response_body(b"2\r\nok\r\n0\r\nX-Keep: 1\r\n\r\n", ended=True)
    assert said.endswith(b"\r\n\r\nok")


def answered(said: bytes) -> Message:
    (message,) = parse_responses(said, [b"POST"])
    return message


def test_a_body_that_ends_with_its_connection() -> None:
    lane = asked()
    lane.request_body(b"0\r\n\r\n", ended=True)
    said = lane.response_head(OLD, response_head(OLD), close=False) + lane.response_body(b"some", ended=False)
    said += lane.response_closed()
    assert answered(said).body == b"some"


@pytest.mark.parametrize("status", [b"201", b"100"])
def test_a_status_that_two_parsers_read_differently(status: bytes) -> None:
    lane = asked()
    with pytest.raises(MessageRefused) as caught:
        lane.response_head(CHUNKED.replace(b"200", status), response_head(CHUNKED), close=False)
    assert (caught.value.status, caught.value.detail) == (502, "two parsers read it differently")


def test_an_answer_that_h11_would_not_give() -> None:
    """A switch to another protocol that nobody has asked for."""
    lane = asked()
    lane.request_body(b"0\r\n\r\n", ended=True)
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    with pytest.raises(MessageRefused) as caught:
        lane.response_head(switched, response_head(switched), close=False)
    assert caught.value.status == 502


def test_it_shows_where_both_machines_stand() -> None:
    lane = asked()
    assert repr(lane) == f"<H11Lane downstream={lane._server.states} upstream={lane._client.states}>"
    assert "SEND_BODY" in repr(lane)
