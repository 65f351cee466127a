"""An answer that is whole while its client still sends, ours or the service's: the client gets it, is asked to stop a
moment later (RFC 9113 section 8.1), and is done; its connection goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http2.talk import CALL, GET, OK, TRAILERS, Field, Talk, head

from tlsidecar.dataplane.http2 import frames
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
def test_it_is_asked_to_stop_a_moment_later(early: object) -> None:
    assert callable(early)
    talk: Talk = early()
    assert talk.at_client.heads(1)[0][b":status"] == b"413"
    assert talk.at_client.of("reset", "goaway") == []
    talk.client(data(300))
    assert talk.at_client.heard[-1] == ("window", 0, 300)  # of the connection, and not of the stream
    assert talk.at_client.of("window")[-1] == ("window", 0, 300)
    assert STOP in talk.wait(1).at_client.heard
    assert talk.wait(5).at_client.of("reset") == [STOP]


def test_the_connection_goes_on() -> None:
    talk = answered().wait(1).client(data(200), head(3)).upstream(head(3, OK))
    assert talk.at_client.heads(3) == [dict(OK)]
    assert talk.end is None


@pytest.mark.parametrize("early", [answered, abandoned])
def test_an_answer_that_was_whole_is_no_failure(early: object) -> None:
    assert callable(early)
    talk: Talk = early()
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
