"""Responses (:mod:`tlsidecar.dataplane.http1.upstream_messages`): in whatever pieces they come, what of them goes down,
and what is none."""

from __future__ import annotations

import pytest
from unit.dataplane.http1.conversation import Conversation, parse_responses

from tlsidecar.dataplane.http1.commands import SendDownstream
from tlsidecar.dataplane.http1.messages import JOINED_BYTES
from tlsidecar.outcomes import Reason

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTS = b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("step", [1, 2, 7])
def test_interim_and_final_heads_in_pieces_are_those_that_come_whole(step: int) -> None:
    said = HINTS + HINTS + OK
    whole = Conversation().client(GET).upstream(said)
    pieces = Conversation().client(GET).upstream(said, range(0, len(said), step))
    assert bytes(pieces.heard) == bytes(whole.heard) == said
    assert (pieces.statuses, pieces.upstreams[0].released) == ([200], True)
    assert pieces.records[0].bytes_out == len(said)


def test_a_client_of_http_1_0_hears_no_interim_response() -> None:
    talk = Conversation().client(GET.replace(b"1.1", b"1.0")).upstream(HINTS + OK)
    assert b"103" not in talk.heard
    assert talk.statuses == [200]


def test_a_100_lets_the_body_come_and_is_heard_once() -> None:
    talk = Conversation().client(EXPECTS).upstream(CONTINUE).client(b"x").upstream(OK)
    assert bytes(talk.heard) == CONTINUE + OK
    # What the service has answered to is not sent a second time, to another one.
    talk = Conversation().client(EXPECTS.replace(b"PUT", b"GET")).upstream(CONTINUE)
    talk.upstream_fails(Reason.UPSTREAM_CLOSED, reused=True)
    assert (talk.statuses, len(talk.upstreams)) == ([502], 1)


def test_a_switch_before_the_request_is_whole_is_none() -> None:
    upload = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n"
    switch = b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    talk = Conversation().client(upload).upstream(switch)
    assert (talk.statuses, talk.reason, talk.closed) == ([502], Reason.UPSTREAM_BAD_RESPONSE, "close")


def test_neighbouring_pieces_are_one_write_up_to_a_record() -> None:
    """To a client of HTTP/1.0 the chunks of a body go down without their frames."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (100, bytes([65 + at]) * 100) for at in range(20))
    talk = Conversation().client(GET.replace(b"1.1", b"1.0"))
    commands = talk.machine.receive_upstream(bytearray(CHUNKED + chunks), 0, len(CHUNKED + chunks))
    (sent,) = [command.data for command in commands if isinstance(command, SendDownstream)]
    assert bytes(sent).endswith(b"".join(bytes([65 + at]) * 100 for at in range(20)))
    large = b"%x\r\n%b\r\n" % (JOINED_BYTES, b"y" * JOINED_BYTES) * 2
    commands = talk.machine.receive_upstream(bytearray(large), 0, len(large))
    sizes = [len(command.data) for command in commands if isinstance(command, SendDownstream)]
    assert sizes == [JOINED_BYTES, JOINED_BYTES]  # nothing that large is copied


def test_what_comes_after_the_end_is_nobodys() -> None:
    talk = Conversation().client(GET[:-2] + b"Connection: close\r\n\r\n").upstream(OK)
    assert talk.closed == "close"
    assert talk.machine.receive_upstream(bytearray(OK), 0, len(OK)) == []
    assert talk.statuses == [200]


ENDS = [
    pytest.param(b"GET", b"200 OK", b"Content-Length: 2", b"ok", True, id="a body"),
    pytest.param(b"GET", b"200 OK", b"Content-Length: 2\r\nConnection: close", b"ok", False, id="its last one"),
    pytest.param(b"GET", b"200 OK", b"Content-Length: 2", b"ok\r\n", False, id="more than a body"),
    pytest.param(b"HEAD", b"200 OK", b"Content-Length: 0", b"", True, id="none to HEAD"),
    # Whether the service knows that there is none to be sent is not certain: what follows may be one.
    pytest.param(b"HEAD", b"200 OK", b"Content-Length: 2", b"", False, id="a length to HEAD"),
    pytest.param(b"HEAD", b"200 OK", b"Content-Length: 2", b"ok", False, id="a body to HEAD"),
    pytest.param(b"GET", b"304 Not Modified", b"ETag: x", b"", True, id="none with 304"),
    pytest.param(b"GET", b"304 Not Modified", b"Content-Length: 2", b"", False, id="a length with 304"),
    pytest.param(b"GET", b"204 No Content", b"Server: x", b"", True, id="none with 204"),
]


@pytest.mark.parametrize(("method", "status", "line", "body", "reusable"), ENDS)
def test_a_connection_is_used_again_only_after_a_certain_end(
    method: bytes, status: bytes, line: bytes, body: bytes, reusable: bool
) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\n" + line + b"\r\n\r\n" + body
    talk = Conversation().client(GET.replace(b"GET", method)).upstream(answer)
    (message,) = parse_responses(bytes(talk.heard), [method])
    assert message.body == (b"ok" if method == b"GET" and status == b"200 OK" else b"")
    assert (talk.upstreams[0].released, talk.closed) == (reusable, "")
