"""What one side makes us say to it is bounded while it cannot be said, and who is only busy is no attacker."""

from __future__ import annotations

import pytest
from unit.dataplane.http2.talk import CALL, GET, OK, Talk, coded, head, pong

from tlsidecar.dataplane.http2 import frames, hpack
from tlsidecar.outcomes import Reason

_PING = frames.frame(frames.PING, 0, 0, b"12345678")
_PONG = frames.frame(frames.PING, frames.ACK, 0, b"12345678")
_HALF = frames.data(1, b"x" * 100, end_stream=False)[:50]


def _in_the_middle() -> Talk:
    """Of a DATA frame from the upstream: nothing of ours can be said to the client."""
    return Talk().client(head(1, end=False)).upstream(head(1, OK, end=False), _HALF)


def test_windows_given_back_while_nothing_can_be_said_are_one_frame() -> None:
    talk = _in_the_middle().client(head(3, [*GET, (b"connection", b"x")], end=False))
    for _ in range(500):
        talk.client(frames.data(3, b"y" * 10, end_stream=False))
    assert len(talk.session._made_client) < 10
    talk.upstream(b"x" * 59)
    assert talk.at_client.of("window") == [("window", 0, 5000)]


def test_a_client_whose_answers_cannot_be_said_is_not_read() -> None:
    talk = _in_the_middle()
    assert not talk.session.client_must_wait
    number = 3
    while not talk.session.client_must_wait:
        talk.client(head(number, [*GET, (b"connection", b"x")]))
        number += 2
        talk.clock.now += 1
        assert number < 5000
    talk.upstream(b"x" * 59)
    assert not talk.session.client_must_wait


def test_an_upstream_whose_windows_cannot_be_said_gives_them_in_one_frame() -> None:
    talk = Talk().client(head(1, CALL, end=False), head(3, CALL, end=False))
    talk.upstream(frames.data(3, b"before the head", end_stream=False)).client(_HALF)
    for _ in range(500):
        talk.upstream(frames.data(3, b"y" * 10, end_stream=False))
    assert len(talk.session._made_upstream) < 10
    assert not talk.session.upstream_must_wait


def test_headers_for_a_stream_that_we_ended_are_not_free() -> None:
    talk = Talk().client(head(1, [*GET, (b"connection", b"x")], end=False))
    talk.client(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, hpack.literal(b"a", b"b")) * 1001)
    assert [reason for reason, _ in talk.faults] == [Reason.H2_FLOOD]


def test_resets_of_streams_that_have_ended_are_not_free() -> None:
    talk = Talk().client(head(1)).upstream(head(1, OK))
    talk.upstream(frames.rst_stream(1, 0) * 1001)
    assert talk.session.state.name == "ALONE"


def test_pings_that_measure_a_stream_of_data_are_no_flood() -> None:
    """grpc-go's estimate of bandwidth and delay: one for each round trip in which DATA came, either way."""
    talk = Talk().client(head(1, CALL, end=False)).upstream(head(1, OK, end=False))
    for _ in range(3000):
        talk.client(frames.data(1, b"x", end_stream=False))
        talk.upstream(frames.window_update(0, 1), frames.window_update(1, 1), _PING).client(_PONG)
        talk.upstream(frames.data(1, b"x", end_stream=False))
        talk.client(frames.window_update(0, 1), frames.window_update(1, 1), _PING).upstream(_PONG)
    assert talk.end is None
    assert talk.session.state.name == "RELAYING"


def test_credit_is_not_saved_up_for_ever() -> None:
    talk = Talk().client(head(1, end=False)).upstream(head(1, OK, end=False))
    for _ in range(6000):
        talk.upstream(frames.data(1, b"x", end_stream=False))
    talk.client(_PING * 20_000)
    assert talk.end is Reason.H2_FLOOD


def test_half_a_data_frame_keeps_nobody_waiting_for_long() -> None:
    """One frame of ours is enough: here the answer to a request that was malformed."""
    talk = _in_the_middle().wait(3000)
    talk.client(head(3, [*GET, (b"connection", b"x")])).wait(1)
    assert talk.end is None
    talk.wait(61)
    assert talk.end is Reason.UPSTREAM_TIMEOUT


def test_a_client_that_stays_in_a_data_frame_is_told_why() -> None:
    talk = Talk().client(head(1, CALL, end=False), head(3, CALL, end=False)).client(_HALF)
    talk.upstream(frames.data(3, b"before the head", end_stream=False)).wait(1).wait(61)
    assert [reason for reason, _ in talk.faults] == [Reason.BODY_TIMEOUT]


def test_who_is_not_read_is_not_late() -> None:
    talk = _in_the_middle().client(head(3, [*GET, (b"connection", b"x")]))
    talk.wait(1, is_stuck=True).wait(61, is_stuck=True)
    assert talk.end is None
    talk.upstream(b"x" * 59).wait(1).wait(61)
    assert talk.end is None


@pytest.mark.parametrize("half", [head(3)[:5], head(3)[:20], frames.frame(frames.HEADERS, 0, 3, b"\x82")])
def test_who_is_not_read_is_not_late_with_half_a_frame(half: bytes) -> None:
    """A service that is busy for a while, and the last read of an upload ended in the head of a frame."""
    talk = Talk().client(head(1, end=False), half)
    for _ in range(60):
        talk.wait(1, is_stuck=True)
    assert talk.end is None
    assert talk.wait(9).end is None
    assert talk.wait(2).end is Reason.HEAD_TIMEOUT


def test_a_client_whose_settings_are_not_read_is_not_late() -> None:
    talk = Talk(bare=True).client(frames.PREFACE)
    for _ in range(20):
        talk.wait(1, is_stuck=True)
    assert talk.client(frames.settings([])).end is None


@pytest.mark.parametrize("half", [head(1, OK)[:5], head(1, OK)[:12], frames.frame(frames.HEADERS, 0, 1, coded(OK))])
def test_a_service_that_stays_in_a_frame_is_given_up(half: bytes) -> None:
    """No other call can be answered meanwhile."""
    talk = Talk().client(head(1), head(3, CALL)).upstream(half).wait(9)
    assert talk.at_client.heard == []
    talk.wait(2)
    assert talk.reasons == [Reason.UPSTREAM_TIMEOUT] * 2
    assert talk.at_client.heads(1)[0][b":status"] == b"504"
    busy = Talk().client(head(1)).upstream(half)
    for _ in range(60):
        busy.wait(1, is_stuck=True)
    assert busy.at_client.heard == []


def test_a_busy_client_is_not_a_stalled_one() -> None:
    talk = Talk().client(head(1, end=False))
    piece = frames.data(1, b"x" * 100, end_stream=False)
    wire = piece * 40
    for at in range(40):  # each read ends in the middle of something, now and then in the head of a frame
        talk.client(wire[at * 109 + (5 if at else 0) : (at + 1) * 109 + 5])
        talk.wait(1)
    assert talk.end is None


def test_half_a_block_is_late_though_other_data_is_under_way() -> None:
    talk = Talk().client(head(1, end=False), frames.frame(frames.HEADERS, 0, 3, b"\x82"))
    talk.wait(6).client(frames.frame(frames.CONTINUATION, 0, 3, b"")).wait(6)
    assert talk.end is Reason.HEAD_TIMEOUT


def test_an_upstream_that_says_nothing_is_given_up() -> None:
    talk = Talk(reaches=False).reached().client(head(1, CALL))
    talk.wait(5)
    assert not talk.at_client.heads(1)
    talk.wait(100)
    assert talk.reasons == [Reason.UPSTREAM_TIMEOUT]
    assert talk.at_client.heads(1)


def test_goaway_after_ours_still_says_which_streams_it_drops() -> None:
    talk = Talk().client(head(1, end=False), head(3, end=False)).shut_down()
    talk.client(pong(talk))
    talk.upstream(frames.goaway(1, 0))
    assert talk.at_client.of("reset") == [("reset", 3, "REFUSED_STREAM")]


def test_what_came_before_a_fault_goes_on() -> None:
    talk = Talk().client(head(1), head(3)).upstream(head(1, OK, end=False))
    talk.upstream(frames.data(1, b"whole", end_stream=True) + frames.data(99, b"?", end_stream=False))
    assert talk.at_client.data(1) == b"whole"
    assert talk.session.state.name == "ALONE"


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"te", b"expect", b"content-type", b"x-request-id"])
def test_what_a_trailer_must_not_say(name: bytes) -> None:
    """RFC 9110 section 6.5.1: neither authentication, nor how the request is to be taken."""
    talk = Talk().client(head(1, end=False), head(1, [(name, b"trailers"), (b"checksum", b"1")]))
    assert talk.at_upstream.heads(1)[-1] == {b"checksum": b"1"}
