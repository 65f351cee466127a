"""What becomes of frames for a stream that has ended: remembered in bounded space, and never wrongly an error."""

from __future__ import annotations

import pytest

from tlsidecar.dataplane.http2.closed_streams import (
    BOTH_SWALLOWED,
    CLOSED_REMEMBERED,
    FORBIDDEN,
    NEITHER,
    PASSES,
    SWALLOWED,
    ClosedStreams,
)
from tlsidecar.dataplane.http2.errors import ConnectionFault, ErrorCode


def test_the_client_ends_what_the_service_has_ended() -> None:
    closed = ClosedStreams()
    closed.add(1, (PASSES, SWALLOWED))
    closed.forbid_client(1)
    assert closed.rules_of(1) == (FORBIDDEN, SWALLOWED)
    closed.forbid_client(3)  # of one that is not known nothing is remembered
    assert len(closed) == 1


def test_a_stream_that_was_passed_over_breaks_the_protocol() -> None:
    closed = ClosedStreams()
    closed.add(5, NEITHER)
    with pytest.raises(ConnectionFault) as caught:
        closed.rules_of(3)
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


def test_half_of_them_are_forgotten_at_once() -> None:
    closed = ClosedStreams()
    for number in range(1, 2 * CLOSED_REMEMBERED, 2):
        closed.add(number, NEITHER)
    assert len(closed) == CLOSED_REMEMBERED
    assert closed.rules_of(1) == NEITHER
    last = 2 * CLOSED_REMEMBERED + 1
    closed.add(last, (PASSES, FORBIDDEN))
    assert len(closed) == CLOSED_REMEMBERED // 2 + 1
    assert closed.rules_of(CLOSED_REMEMBERED - 1) == BOTH_SWALLOWED  # the newest that was forgotten
    assert closed.rules_of(CLOSED_REMEMBERED + 1) == NEITHER  # the oldest that was not
    assert closed.rules_of(last) == (PASSES, FORBIDDEN)
    assert repr(closed) == f"<ClosedStreams 65 forgotten up to {CLOSED_REMEMBERED - 1}>"


def test_one_that_ends_long_after_its_neighbours_is_known() -> None:
    closed = ClosedStreams()
    for number in range(3, 4 * CLOSED_REMEMBERED, 2):
        closed.add(number, NEITHER)
    closed.add(1, (PASSES, FORBIDDEN))
    assert closed.rules_of(1) == (PASSES, FORBIDDEN)
    for number in range(4 * CLOSED_REMEMBERED + 1, 6 * CLOSED_REMEMBERED, 2):
        closed.add(number, NEITHER)
    assert closed.rules_of(1) == BOTH_SWALLOWED
    assert closed.rules_of(4 * CLOSED_REMEMBERED - 1) == BOTH_SWALLOWED  # the newest that was forgotten with it
    assert closed.rules_of(4 * CLOSED_REMEMBERED + 1) == NEITHER  # what ended after it is known still
