"""What is remembered of the streams that were, and what each side may do that serves nobody."""

from __future__ import annotations

import pytest
from unit.dataplane.http2.talk import CALL, OK, Talk, head

from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.budget import RESETS
from tlsidecar.dataplane.http2.closed_streams import CLOSED_REMEMBERED
from tlsidecar.outcomes import Reason


def test_closed_streams_are_remembered_in_bounded_space() -> None:
    talk = Talk()
    for number in range(1, 4001, 2):
        talk.client(head(number)).upstream(head(number, OK))
        talk.clock.now += 0.01
    assert len(talk.session._closed) <= CLOSED_REMEMBERED
    assert talk.session.requests == 2000
    # Of one that was forgotten it is not known how it ended: what still comes is swallowed.
    talk.client(frames.data(3, b"x" * 7, end_stream=False))
    assert talk.at_client.heard[-1] == ("window", 0, 7)
    assert talk.end is None


def test_neither_side_pays_for_what_the_other_does() -> None:
    talk = Talk()
    for number in range(1, 600, 4):
        talk.client(head(number, CALL, end=False), frames.rst_stream(number, 8), head(number + 2, CALL, end=False))
        talk.upstream(frames.rst_stream(number + 2, 8))
    assert talk.end is None
    talk.upstream(frames.settings([]) * 900)
    talk.client(frames.SETTINGS_ACK * 900, frames.frame(6, 0, 0, b"12345678") * 900)
    assert talk.end is None
    talk.upstream(frames.frame(6, 1, 0, b"12345678") * 900)
    assert talk.session.state.name == "RELAYING"
    talk.client(frames.settings([]) * 1001)
    assert talk.end is Reason.H2_FLOOD


def test_a_stream_shows_what_it_is() -> None:
    talk = Talk().client(head(1, CALL, end=False))
    (stream,) = talk.session.streams.values()
    assert repr(stream).startswith("<Stream 1 open=3 <Exchange")
    talk.client(frames.data(1, b"", end_stream=True))
    assert repr(stream).startswith("<Stream 1 open=2 ")
    assert repr(talk.session) == "<Session RELAYING streams=1 last=1 end=None>"


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_a_storm_of_resets_costs_whoever_makes_it(side: str) -> None:
    talk = Talk()
    for number in range(1, 2 * RESETS[0] + 4, 2):
        talk.client(head(number, CALL, end=False))
        if talk.end is None and talk.session.state.name == "RELAYING":
            (talk.client if side == "client" else talk.upstream)(frames.rst_stream(number, 8))
    talk.wait(1)
    assert talk.end is (Reason.H2_FLOOD if side == "client" else Reason.COMPLETED)
    assert [reason for reason, _ in talk.faults] == ([Reason.H2_FLOOD] if side == "client" else [])
    ended = talk.at_client if side == "client" else talk.at_upstream
    assert ended.of("goaway")[0][2] == "ENHANCE_YOUR_CALM"
