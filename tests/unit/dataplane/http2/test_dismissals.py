"""An answer that is whole while its client still sends, ours or the service's: the client gets it, is asked to stop a
moment later (RFC 9113 section 8.1), and is done; its connection goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http2.talk import CALL, GET, OK, TRAILERS, Field, Talk, head

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.budget import RESETS
from tlsidecar.dataplane.http2.dismissals import MOST_AT_ONCE
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits

STOP = ("reset", 1, "NO_ERROR")
TOO_LARGE: list[Field] = [(b":status", b"413"), (b"content-length", b"0")]


def upload(length: int = 1000) -> bytes:
    fields = [(name, b"POST" if name == b":method" else value) for name, value in GET]
    return head(1, [*fields, (b"content-length", b"%d" % length)], end=False)


def data(size: int, *, end: bool = False, stream: int = 1) -> bytes:
    return frames.data(stream, b"x" * size, end_stream=end)


def answered() -> Talk:
    return Talk().client(upload(), data(100)).upstream(head(1, TOO_LARGE), frames.rst_stream(1, 0))


def ours() -> Talk:
    small = replace(listener(), http2="only", limits=Limits(max_body_bytes=500))
    return Talk(small).client(upload(), data(100))


def abandoned() -> Talk:
    return Talk().client(upload(), data(100)).upstream(head(1, TOO_LARGE)).gone(Reason.UPSTREAM_RESET)


@pytest.mark.parametrize("early", [answered, ours, abandoned])
def test_it_is_asked_to_stop_a_moment_later(early: Callable[[], Talk]) -> None:
    talk = early()
    assert talk.at_client.heads(1)[0][b":status"] == b"413"
    assert talk.at_client.of("reset", "goaway") == []
    talk.client(data(300))
    assert talk.at_client.heard[-1] == ("window", 0, 300)  # of the connection, and not of the stream
    assert talk.at_client.of("window")[-1] == ("window", 0, 300)
    assert STOP in talk.wait(1).at_client.heard
    assert talk.wait(5).at_client.of("reset") == [STOP]


BREAKS = [
    pytest.param(data(1100), "PROTOCOL_ERROR", id="more than it stated"),
    pytest.param(data(1100, end=True), "PROTOCOL_ERROR", id="more than it stated, with the end"),
    pytest.param(data(500) + data(401), "PROTOCOL_ERROR", id="more than it stated, in two"),
    pytest.param(head(1, TRAILERS, end=False), "PROTOCOL_ERROR", id="a second head"),
    pytest.param(head(1, [(b":method", b"GET")], end=False), "PROTOCOL_ERROR", id="a pseudo-header in it"),
    pytest.param(
        frames.window_update(1, 2**30) + frames.window_update(1, 2**30), "FLOW_CONTROL_ERROR", id="a window over 2^31-1"
    ),
]


@pytest.mark.parametrize(("said", "code"), BREAKS)
@pytest.mark.parametrize("early", [answered, abandoned])
def test_it_is_judged_until_then(early: Callable[[], Talk], said: bytes, code: str) -> None:
    """To the client its stream is open: what it does wrong there is not taken in silence."""
    talk = early().client(said)
    assert talk.at_client.of("reset") == [("reset", 1, code)]
    talk.client(data(5), frames.window_update(1, 5)).wait(5)
    assert talk.at_client.of("reset") == [("reset", 1, code)]
    assert talk.statuses == [413]


@pytest.mark.parametrize(
    "last",
    [
        pytest.param(data(0, end=True), id="END_STREAM"),
        pytest.param(head(1, TRAILERS), id="trailers"),
        pytest.param(frames.rst_stream(1, 8), id="RST_STREAM"),
    ],
)
@pytest.mark.parametrize("after", [pytest.param(data(1), id="DATA"), pytest.param(head(1, TRAILERS), id="HEADERS")])
@pytest.mark.parametrize("early", [answered, ours])
def test_once_the_client_has_ended_it_nothing_may_come(early: Callable[[], Talk], last: bytes, after: bytes) -> None:
    talk = early().client(last)
    assert not talk.faults
    talk.client(after)
    assert talk.at_client.heard[-1][2] == "STREAM_CLOSED"
    assert [reason for reason, _ in talk.faults] == [Reason.H2_PROTOCOL_ERROR]


def test_who_makes_us_reset_such_streams_is_a_flood() -> None:
    talk = Talk()
    for stream in range(1, 2 * RESETS[0] + 3, 2):
        talk.client(head(stream, CALL, end=False)).upstream(
            head(stream, [*OK, *TRAILERS]), frames.rst_stream(stream, 0)
        )
        talk.client(head(stream, TRAILERS, end=False))
    assert talk.end is Reason.H2_FLOOD


def test_the_connection_goes_on() -> None:
    talk = answered().wait(1).client(data(200), head(3)).upstream(head(3, OK))
    assert talk.at_client.heads(3) == [dict(OK)]
    assert talk.end is None


@pytest.mark.parametrize("early", [answered, abandoned])
def test_an_answer_that_was_whole_is_no_failure(early: Callable[[], Talk]) -> None:
    talk = early()
    assert (talk.reasons, talk.statuses) == ([Reason.COMPLETED], [413])


def test_who_stops_by_itself_is_no_failure_and_no_flood() -> None:
    talk = Talk()
    for stream in range(1, 801, 2):
        talk.client(head(stream, CALL, end=False)).upstream(head(stream, [*OK, *TRAILERS]))
        talk.client(frames.rst_stream(stream, 8))
    assert talk.end is None
    assert set(talk.reasons) == {Reason.COMPLETED}
    assert talk.at_upstream.of("reset") == [("reset", stream, "CANCEL") for stream in range(1, 801, 2)]


def test_who_stops_after_it_was_dismissed_is_no_flood() -> None:
    talk = Talk(replace(listener(), http2="only", limits=Limits(max_body_bytes=1)))
    fields = [*CALL, (b"content-length", b"9")]
    for stream in range(1, 801, 2):
        talk.client(head(stream, fields, end=False), frames.rst_stream(stream, 8))
    assert talk.end is None
    assert talk.wait(1).at_client.of("reset") == []


def test_one_that_ends_short_is_told_at_once() -> None:
    """curl stops with an empty frame, and waits for a word."""
    assert answered().client(data(0, end=True)).at_client.heard[-1] == STOP


@pytest.mark.parametrize("last", [data(0, end=True), data(5, end=True), head(1, TRAILERS)])
def test_one_that_ends_short_before_the_service_has_said_more(last: bytes) -> None:
    """The service still waits for the rest: it gets no request that is not whole, and nobody has failed."""
    talk = Talk().client(upload(), data(100)).upstream(head(1, TOO_LARGE)).client(last)
    assert talk.at_client.of("reset") == [STOP]
    assert talk.at_upstream.heard[-1] == ("reset", 1, "CANCEL")
    assert talk.at_upstream.data(1) == b"x" * 100
    assert (talk.reasons, talk.statuses, talk.ledger.refusals) == ([Reason.COMPLETED], [413], [])
    talk.client(data(1))
    assert talk.at_client.heard[-1][2] == "STREAM_CLOSED"


def test_one_that_has_sent_all_is_told_nothing() -> None:
    talk = answered().client(data(900, end=True)).wait(1)
    assert talk.at_client.of("reset") == []


def test_many_at_once_are_not_held_up() -> None:
    """Each counts against the streams that a client may have open."""
    talk = Talk()
    for stream in range(1, 2 * MOST_AT_ONCE + 3, 2):
        talk.client(head(stream, CALL, end=False))
        talk.upstream(head(stream, [*OK, *TRAILERS]), frames.rst_stream(stream, 0))
    assert talk.at_client.of("reset") == [STOP]


def test_goodbye_is_said_after_it() -> None:
    talk = abandoned()
    assert talk.client(head(3)).at_client.heads(3) == []  # it was not begun with, as it is about to hear
    assert talk.end is None
    talk.wait(1)
    assert talk.at_client.heard[-2:] == [STOP, ("goaway", 1, "NO_ERROR")]
    assert talk.end is Reason.COMPLETED


def test_an_answer_that_breaks_off_is_still_a_failure() -> None:
    talk = Talk().client(upload(), data(100)).upstream(head(1, OK, end=False)).gone(Reason.UPSTREAM_RESET)
    assert ("reset", 1, "INTERNAL_ERROR") in talk.at_client.heard
    assert talk.reasons == [Reason.UPSTREAM_RESET]
