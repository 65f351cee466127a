"""Requests in their order: what may come before one, what may not be in one, and what was sent ahead of its turn."""

from __future__ import annotations

import pytest
from unit.dataplane.http1.conversation import Conversation

from tlsidecar.dataplane.http1.client_messages import BODY_WITHOUT_MEANING, MAX_EMPTY_LINES
from tlsidecar.dataplane.http1.messages import JOINED_BYTES
from tlsidecar.outcomes import Reason

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def with_body(method: bytes, body: bytes = b"abc", *, in_chunks: bool = False) -> bytes:
    head = method + b" / HTTP/1.1\r\nHost: a\r\n"
    if in_chunks:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("method", sorted(BODY_WITHOUT_MEANING | {b"POST", b"PUT", b"PROPFIND"}))
def test_a_body_without_meaning_is_the_last_of_its_upstream_connection(method: bytes, in_chunks: bool) -> None:
    """A service may ignore it, and take what is hidden in it for its next request."""
    talk = Conversation().client(with_body(method, in_chunks=in_chunks))
    talk.upstream(OK if method != b"HEAD" else OK[:-2])
    (upstream,) = talk.upstreams
    assert upstream.released is (method not in BODY_WITHOUT_MEANING)
    last = b"connection: close\r\n" in bytes(upstream.received).lower()
    assert last is (method in BODY_WITHOUT_MEANING)
    assert (talk.statuses, talk.closed) == ([200], "")  # the client's goes on


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_so_many_empty_lines_may_stand_before_a_request(step: int) -> None:
    said = b"\r\n" * MAX_EMPTY_LINES + GET
    assert len(Conversation().client(said, range(0, len(said), step)).requests()) == 1
    said = b"\r\n" + said
    assert Conversation().client(said, range(0, len(said), step)).statuses == [400]


@pytest.mark.parametrize("size", [JOINED_BYTES - 1, 3 * JOINED_BYTES])
def test_a_body_that_was_sent_ahead_of_its_turn_goes_up_whole(size: int) -> None:
    """What is held is cut off at its start, which no view on it may outlive."""
    body = bytes(range(256)) * (size // 256 + 1)
    talk = Conversation().client(GET).client(with_body(b"PUT", body[:size])).client(GET)
    assert len(talk.upstreams) == 1
    talk.upstream(OK)
    assert talk.requests()[1].body == body[:size]
    talk.upstream(OK).upstream(OK)
    assert (talk.statuses, len(talk.machine._held)) == ([200] * 3, 0)


def test_a_body_whose_turn_comes_while_it_is_on_its_way() -> None:
    whole = with_body(b"PUT", b"x" * 100, in_chunks=True)
    talk = Conversation().client(GET).client(whole[:70])
    talk.upstream(OK).client(whole[70:]).upstream(OK)
    assert talk.requests()[1].body == b"x" * 100


def test_what_was_sent_behind_a_refused_request_is_thrown_away() -> None:
    talk = Conversation().client(GET).client(b"nonsense\r\n\r\n" + GET).client(GET)
    talk.upstream(OK).client(GET)
    assert (talk.statuses, len(talk.upstreams), talk.closed) == ([200, 400], 1, "close")


def test_half_a_request_that_was_sent_ahead_is_answered_once_no_more_comes() -> None:
    for said, statuses in ((GET[:9], [200, 400]), (b"", [200]), (b"\r\n", [200])):
        talk = Conversation().client(GET)
        if said:
            talk.client(said)
        talk.client_ends().upstream(OK)
        assert talk.statuses == statuses
        assert talk.closed == "close"
        assert (talk.reason is Reason.INCOMPLETE_REQUEST) is (len(statuses) == 2)


def test_nothing_of_a_request_goes_up_that_is_refused_in_the_same_breath() -> None:
    talk = Conversation().client(with_body(b"PUT", in_chunks=True).replace(b"3\r\n", b"0x3\r\n"))
    assert (talk.statuses, talk.upstreams, talk.closed) == ([400], [], "close")
