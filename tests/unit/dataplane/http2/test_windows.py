"""Flow control is the two ends' own; who of them breaks it is said by us, and what is swallowed is not free."""

from __future__ import annotations

import pytest
from unit.dataplane.http2.talk import CALL, GET, OK, Talk, head, pong

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode
from tlsidecar.dataplane.http2.windows import initial_window, overgrown
from tlsidecar.outcomes import Reason

_MOST = frames.MAX_WINDOW
_WINDOW = frames.DEFAULT_WINDOW
_PIECE = frames.data(1, b"x" * 16384, end_stream=False)


def _initial(size: int) -> bytes:
    return frames.settings([(frames.INITIAL_WINDOW_SIZE, size)])


def _call() -> Talk:
    return Talk().client(head(1, CALL, end=False)).upstream(head(1, OK, end=False))


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([frames.window_update(0, _MOST - _WINDOW + 1)], id="of the connection"),
        pytest.param([frames.window_update(1, _MOST - _WINDOW), _initial(_WINDOW + 1)], id="of a stream, by SETTINGS"),
        pytest.param([_PIECE] * 5, id="and more DATA than there is"),
    ],
)
def test_a_client_that_breaks_flow_control(said: list[bytes]) -> None:
    talk = _call().client(*said)
    assert talk.at_client.heard[-1] == ("goaway", 1, "FLOW_CONTROL_ERROR")
    assert [reason for reason, _ in talk.faults] == [Reason.H2_PROTOCOL_ERROR]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([frames.window_update(0, _MOST - _WINDOW + 1)], id="of the connection"),
        pytest.param([frames.window_update(1, _MOST - _WINDOW), _initial(_WINDOW + 1)], id="of a stream, by SETTINGS"),
        pytest.param([_PIECE] * 5, id="and more DATA than there is"),
    ],
)
def test_an_upstream_that_breaks_flow_control(said: list[bytes]) -> None:
    talk = _call().upstream(*said)
    assert talk.at_upstream.heard[-1] == ("goaway", 0, "FLOW_CONTROL_ERROR")
    assert talk.at_client.heard[-1] == ("goaway", 1, "NO_ERROR")
    assert talk.reasons == [Reason.UPSTREAM_BAD_RESPONSE]


def test_a_streams_window_that_is_too_large_ends_the_stream_alone() -> None:
    talk = _call().client(head(3, end=False), frames.window_update(3, _MOST - _WINDOW + 1))
    assert talk.at_client.of("reset") == [("reset", 3, "FLOW_CONTROL_ERROR")]
    assert talk.at_upstream.of("window") == []
    assert [refusal.reason for refusal in talk.ledger.refusals] == [Reason.H2_PROTOCOL_ERROR]
    talk.upstream(frames.window_update(1, _MOST - _WINDOW + 1))
    assert talk.at_client.of("window") == []
    assert talk.reasons[1:] == [Reason.UPSTREAM_BAD_RESPONSE]
    assert talk.end is None


def test_windows_as_large_as_they_may_be() -> None:
    talk = _call()
    for say, answer in ((talk.client, talk.upstream), (talk.upstream, talk.client)):
        say(frames.window_update(0, _MOST - _WINDOW), frames.window_update(1, _MOST - _WINDOW))
        answer(*[_PIECE] * 8)
        say(frames.window_update(0, 8 * 16384), frames.window_update(1, 8 * 16384))
    assert talk.end is None
    assert talk.session.state.name == "RELAYING"


def test_a_window_of_nothing_and_then_of_one_byte() -> None:
    talk = Talk().client(_initial(0), head(1, CALL, end=False)).upstream(head(1, OK, end=False))
    for _ in range(100):
        talk.client(frames.window_update(1, 1)).upstream(frames.data(1, b"x", end_stream=False))
    assert talk.at_client.data(1) == b"x" * 100
    talk.client(_initial(1))
    assert talk.at_upstream.heard[-1] == ("settings", {frames.INITIAL_WINDOW_SIZE: 1})
    assert talk.end is None


def test_swallowed_data_is_given_back_but_not_for_ever() -> None:
    talk = Talk().client(head(1, [*GET, (b"connection", b"x")], end=False))
    piece = frames.data(1, b"y", end_stream=False)
    talk.client(piece * 10_000)
    assert talk.end is None
    assert sum(each[2] for each in talk.at_client.of("window")) == 10_000  # type: ignore[misc]
    talk.client(piece)
    assert talk.end is Reason.H2_FLOOD


def test_an_upstreams_data_for_a_stream_that_we_ended_is_not_free() -> None:
    talk = _call().client(frames.data(1, b"x", end_stream=False))
    talk.upstream(head(1, OK, end=False))  # a second head: it is cut
    assert talk.reasons == [Reason.UPSTREAM_BAD_RESPONSE]
    talk.upstream(frames.data(1, b"y", end_stream=False) * 10_001)
    assert talk.at_upstream.heard[-1] == ("goaway", 0, "ENHANCE_YOUR_CALM")
    assert talk.at_client.data(1) == b""


def test_nobodys_ping_is_taken_for_ours() -> None:
    ping = frames.frame(frames.PING, 0, 0, b"tlsdrain")
    talk = _call().upstream(ping).client(frames.frame(frames.PING, frames.ACK, 0, b"tlsdrain"))
    assert talk.at_upstream.heard[-1] == ("pong", b"tlsdrain")


def test_an_upstreams_ping_is_answered_though_it_holds_what_ours_does() -> None:
    """RFC 9113 section 6.7. It may know what ours held from a client that is in league with it."""
    talk = _call().shut_down()
    answer = pong(talk)
    payload = answer[frames.HEAD_BYTES :]
    talk.upstream(frames.frame(frames.PING, 0, 0, payload)).client(answer)
    assert not talk.at_upstream.of("pong")  # the first answer is to the first PING, which was ours
    assert talk.at_client.heard[-1] == ("goaway", 1, "NO_ERROR")
    talk.client(answer)
    assert talk.at_upstream.of("pong") == [("pong", payload)]


def test_a_data_frame_that_is_wrong_from_its_head_on_does_not_pass() -> None:
    """Half of it is there: the client waits for none of it, and is told."""
    talk = Talk().client(head(1), head(3)).upstream(head(1, OK, end=False), frames.data(1, b"x", end_stream=True))
    talk.upstream(frames.data(1, b"y" * 100, end_stream=True)[:50])
    assert talk.at_client.heard[-1] == ("goaway", 3, "NO_ERROR")
    assert talk.at_client.heads(3)[0][b":status"] == b"502"


def test_ends_that_keep_each_other_waiting_are_given_up() -> None:
    """Each is in the middle of a DATA frame and makes us say to the other what cannot be said then."""
    talk = _call().client(head(3, CALL, end=False))
    talk.upstream(_PIECE[:50])
    number = 5
    while not talk.session.client_must_wait:
        talk.client(head(number, [*GET, (b"connection", b"x")]))
        talk.clock.now += 1
        number += 2
    talk.client(frames.data(3, b"x" * 100, end_stream=False)[:50])
    talk.wait(1)
    assert talk.end is None
    talk.wait(61)
    assert talk.session.end == (Reason.UPSTREAM_TIMEOUT, "half a DATA frame")
    assert talk.reasons[-2:] == [Reason.UPSTREAM_TIMEOUT] * 2


def test_a_call_without_a_status_is_counted() -> None:
    talk = _call().client(frames.rst_stream(1, 8))
    assert talk.grpc.codes == [""]
    talk.client(head(3, CALL)).upstream(frames.rst_stream(3, 2))
    talk.client(head(5, CALL)).upstream(head(5, OK, end=False), frames.data(5, b"x", end_stream=True))
    talk.client(head(7, CALL)).upstream(head(7, [*OK, (b"grpc-status", b"5")]))
    talk.client(head(9)).upstream(frames.rst_stream(9, 2))
    assert talk.grpc.codes == ["", "", "", "5"]
    talk.client(head(11, CALL))
    talk.session.client_gone(Reason.PEER_RESET)
    assert talk.grpc.codes == ["", "", "", "5", ""]


def test_a_window_of_exactly_what_there_may_be() -> None:
    assert not overgrown(_MOST)
    assert overgrown(_MOST + 1)


def _stated(*sizes: int) -> bytes:
    payload = frames.settings([(frames.INITIAL_WINDOW_SIZE, size) for size in sizes])[frames.HEAD_BYTES :]
    return frames.settings([(frames.MAX_FRAME_SIZE, 16384)])[frames.HEAD_BYTES :] + payload


@pytest.mark.parametrize(
    ("sizes", "rooms", "left"),
    [
        ((), [], _WINDOW),
        ((0,), [5], 0),
        ((1, 7), [], 7),
        ((_MOST,), [], _MOST),
        ((_MOST,), [-3, 0], _MOST),
        ((_MOST - 5,), [5], _MOST - 5),
        ((_WINDOW,), [_MOST], _WINDOW),  # which grows by nothing, so it is not its doing
    ],
)
def test_an_initial_window_that_streams_may_have(sizes: tuple[int, ...], rooms: list[int], left: int) -> None:
    assert initial_window(_stated(*sizes), _WINDOW, lambda: rooms) == left


@pytest.mark.parametrize("sizes", [(_MOST - 4,), (_MOST - 4, 0)])
def test_an_initial_window_that_makes_a_streams_too_large(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ConnectionFault) as caught:
        initial_window(_stated(*sizes), _WINDOW, lambda: [-1, 5])
    assert caught.value.code is ErrorCode.FLOW_CONTROL_ERROR


def test_a_window_that_does_not_grow_costs_no_look_at_the_streams() -> None:
    def rooms() -> list[int]:
        raise AssertionError("nobody asked for a larger one")

    assert initial_window(_stated(_WINDOW, 1, 0), _WINDOW, rooms) == 0
