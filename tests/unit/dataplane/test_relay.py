"""The relay's flows, move by move: what waits, who is read, how each end is passed on."""

from __future__ import annotations

import errno

import pytest
from unit.dataplane.relay_play import END, REFUSED, RESET, TRUNCATED, Play

from tlsidecar.dataplane.stream import RECORD_BYTES
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits


def test_bytes_go_both_ways() -> None:
    play = Play().tls_sends(b"question").plain_sends(b"answer")
    assert (play.plain.sent, play.stream.written) == (b"question", b"answer")
    assert (play.relay.bytes_in, play.relay.bytes_out) == (8, 6)
    assert play.watches == ("r", "r")
    assert play.endings == []


def test_what_comes_first_goes_before_everything() -> None:
    play = Play(before=b"PROXY ").tls_sends(b"hello")
    assert play.plain.sent == b"PROXY hello"


def test_a_run_of_records_is_sent_at_once() -> None:
    play = Play()
    sends: list[int] = []
    send = play.plain.send
    play.plain.send = lambda data: (sends.append(len(data)), send(data))[1]  # type: ignore[method-assign, func-returns-value]
    play.tls_sends(b"x" * RECORD_BYTES, b"y" * RECORD_BYTES, b"z" * 5)
    assert sends == [2 * RECORD_BYTES + 5]


# Ends.


def test_both_ends_are_passed_on_and_it_is_completed() -> None:
    play = Play().tls_sends(END)
    assert play.plain.ended
    assert play.endings == []
    play.plain_sends(b"a late answer", b"")
    assert play.stream.written == b"a late answer"
    assert play.stream.ended
    assert play.endings == [(Reason.COMPLETED, "")]
    assert play.watches == ("", "")


def test_the_plain_side_may_end_first() -> None:
    play = Play().plain_sends(b"")
    assert play.stream.ended
    assert play.tls.ended
    play.tls_sends(b"more", END)
    assert play.plain.sent == b"more"
    assert play.endings == [(Reason.COMPLETED, "")]


def test_an_end_waits_for_what_was_sent_before_it() -> None:
    play = Play()
    play.plain.room = 3
    play.tls_sends(b"abcdef")
    assert play.watches == ("", "rw")
    play.stream.incoming.append(END)
    play.plain.room = 100
    play.turn()
    assert play.plain.sent == b"abcdef"
    assert play.plain.ended


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(TRUNCATED, Reason.TRUNCATED), (RESET, Reason.PEER_RESET), (REFUSED, Reason.REFUSED_BY_PEER)],
)
def test_anything_else_is_no_end(failure: object, reason: Reason) -> None:
    play = Play().tls_sends(b"half", failure)  # type: ignore[arg-type]
    assert play.plain.sent == b"half"
    assert not play.plain.ended
    assert [ending[0] for ending in play.endings] == [reason]
    assert play.watches == ("", "")


def test_a_reset_of_the_plain_side_is_told_with_its_words() -> None:
    play = Play().plain_sends(b"half", ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
    assert not play.stream.ended
    assert play.endings == [(Reason.UPSTREAM_RESET, "Connection reset by peer")]


@pytest.mark.parametrize("remote", [False, True])
def test_a_reset_that_a_write_has_met_is_no_end(remote: bool) -> None:
    """A reset is an error once; afterwards the socket reads as if it had ended."""
    play = Play(remote=remote)
    play.plain.broken = errno.ECONNRESET
    play.tls_sends(b"more of the upload").plain_sends(b"an answer", b"")
    assert play.stream.written == b"an answer"
    assert not play.stream.ended
    assert play.endings == [(Reason.UPSTREAM_RESET, "Connection reset by peer")]


def test_it_is_told_once() -> None:
    play = Play().tls_sends(TRUNCATED)
    play.relay.fail()
    play.turn()
    assert len(play.endings) == 1


# Back-pressure.


def test_a_slow_service_stops_the_reading_of_its_peer() -> None:
    play = Play()
    play.plain.room = 0
    play.tls_sends(b"abc")
    assert play.watches == ("", "rw")
    assert play.relay.pending_in == b"abc"
    play.tls_sends(b"def")
    assert play.plain.sent == b""
    play.plain.room = 100
    play.turn()
    assert play.plain.sent == b"abcdef"
    assert play.watches == ("r", "r")


def test_a_slow_peer_stops_the_reading_of_the_service() -> None:
    play = Play()
    play.stream.room = 2
    play.plain_sends(b"abc")
    assert play.watches == ("rw", "")
    assert play.relay.pending_out == b"c"
    play.stream.room = 100
    play.turn()
    assert play.stream.written == b"abc"
    assert play.watches == ("r", "r")


def test_no_more_waits_than_the_high_water_mark() -> None:
    play = Play(limits=Limits(buffer_bytes=4096))
    play.stream.room = 0
    play.plain_sends(b"x" * 100_000)
    assert len(play.relay.pending_out) <= 4096


def test_a_service_that_takes_no_more_may_still_answer() -> None:
    play = Play()
    play.plain.broken = errno.EPIPE  # it has said its end before
    play.tls_sends(b"an upload it refuses", b"and more of it")
    assert play.endings == []
    play.plain_sends(b"413", b"")
    assert play.stream.written == b"413"
    play.tls_sends(END)
    assert play.endings == [(Reason.COMPLETED, "")]


@pytest.mark.parametrize(
    ("tls", "plain", "patience_s", "reason"),
    [
        ((), (), 3600.0, Reason.IDLE_TIMEOUT),
        ((END,), (), 60.0, Reason.CLOSE_TIMEOUT),
        ((), (b"",), 60.0, Reason.CLOSE_TIMEOUT),
    ],
)
def test_how_long_it_may_be_still(tls: tuple[int], plain: tuple[bytes], patience_s: float, reason: Reason) -> None:
    play = Play()
    play.tls_sends(*tls).plain_sends(*plain)
    assert (play.relay.patience_s, play.relay.timeout_reason) == (patience_s, reason)


def test_who_does_not_read_has_less_time() -> None:
    play = Play()
    play.plain.room = 0
    play.tls_sends(b"abc")
    assert (play.relay.patience_s, play.relay.timeout_reason) == (300.0, Reason.SLOW_READER)


# A remote that refuses us after our handshake.

ALERT_RECORD = b"\x17\x03\x03\x00\x13" + bytes(19)


def test_its_alert_is_found_before_a_write_makes_it_unreadable() -> None:
    play = Play(remote=True)
    play.plain.incoming.append(b"hello")
    play.stream.write_failure = RESET
    play.tls_sends(REFUSED)
    assert play.endings == [(Reason.REFUSED_BY_PEER, REFUSED.text)]
    assert play.stream.written == b""


def test_an_alert_that_came_in_between_is_known_by_its_size() -> None:
    play = Play(remote=True)
    play.stream.write_failure = RESET
    play.tls.unread = ALERT_RECORD
    play.plain_sends(b"hello")
    assert [reason for reason, _ in play.endings] == [Reason.REFUSED_BY_PEER]


def test_a_reset_alone_is_a_reset() -> None:
    play = Play(remote=True)
    play.stream.write_failure = RESET
    play.plain_sends(b"hello")
    assert [reason for reason, _ in play.endings] == [Reason.PEER_RESET]


def test_after_its_first_byte_nothing_is_looked_for() -> None:
    play = Play(remote=True).tls_sends(b"welcome")
    play.stream.write_failure = RESET
    play.tls.unread = ALERT_RECORD
    play.plain_sends(b"hello")
    assert [reason for reason, _ in play.endings] == [Reason.PEER_RESET]


def test_until_then_a_record_is_written_at_a_time() -> None:
    play = Play(remote=True)
    sizes: list[int] = []
    write = play.stream.write_bytes
    play.stream.write_bytes = lambda data: (sizes.append(len(data)), write(data))[1]  # type: ignore[method-assign, func-returns-value]
    play.plain_sends(b"x" * 40_000)
    assert sizes == [RECORD_BYTES, RECORD_BYTES, 40_000 - 2 * RECORD_BYTES]
    play.tls_sends(b"go on")
    play.plain_sends(b"y" * 40_000)
    assert sizes[3:] == [40_000]


def test_an_answer_that_looking_has_taken_in_goes_on() -> None:
    """While an upload is written: the socket does not become readable for it any more."""
    play = Play(remote=True)
    play.stream.room = RECORD_BYTES
    play.plain_sends(b"x" * 40_000)
    play.stream.incoming.append(b"413")
    play.relay._flush_outward()
    play.turn()
    assert play.plain.sent == b"413"
    play.stream.room = 1 << 20
    play.turn()
    assert play.stream.written == b"x" * 40_000
