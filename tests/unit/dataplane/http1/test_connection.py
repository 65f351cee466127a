"""The shell round a conversation: who is read, whose time is up, and how its client and its upstream are left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http1.shell import GET, OK, Shell, Upstream
from unit.dataplane.shells import CLOSED, RESET, Relay

from tlsidecar.dataplane.connection import ConnectionState
from tlsidecar.dataplane.http1 import connection as module
from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure
from tlsidecar.outcomes import Reason, Side
from tlsidecar.settings import Limits

TRUNCATED = SslFailure(FailureKind.TRUNCATED, "the connection ended without close_notify")
ALERT = SslFailure(FailureKind.ALERT, "the peer sent the alert bad_certificate", "bad_certificate")
PROTOCOL = SslFailure(FailureKind.PROTOCOL, "bad record mac")
UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
DOWNLOAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
HIGH_WATER = 1000


# Who is read.


def test_an_ordinary_exchange() -> None:
    shell = Shell()
    shell.says(GET)
    assert not shell.client.is_reading  # while its upstream is being opened
    shell.connection.drained()
    assert not shell.client.is_reading
    upstream = shell.reach()
    assert shell.client.is_reading
    assert upstream.endpoint.sent.startswith(GET[:-2])
    upstream.says(OK)
    assert shell.client.sent == OK
    assert upstream.given_back is True
    assert (shell.statuses, shell.reasons) == ([200], [Reason.COMPLETED])
    assert (shell.connection.requests, shell.connection.bytes_in, shell.connection.bytes_out) == (1, len(GET), len(OK))


def test_one_that_idles_is_taken_first() -> None:
    shell = Shell()
    upstream = Upstream(uses=3)
    shell.idle.append(upstream)
    shell.says(GET)
    assert shell.openings == []
    assert (upstream.uses, upstream.owner) == (4, shell.connection)
    assert upstream.endpoint.sent


def test_a_side_whose_other_side_does_not_keep_up_is_not_read() -> None:
    shell = Shell()
    upstream = shell.asks(UPLOAD)
    upstream.endpoint.queued_bytes = HIGH_WATER + 1
    shell.says(b"x" * 10)
    assert not shell.client.is_reading
    upstream.endpoint.queued_bytes = 0
    shell.connection.upstream_drained()
    assert shell.client.is_reading
    upstream.says(DOWNLOAD)
    shell.client.queued_bytes = HIGH_WATER + 1
    upstream.says(b"y" * 10)
    assert not upstream.endpoint.is_reading
    shell.client.queued_bytes = 0
    shell.connection.drained()
    assert upstream.endpoint.is_reading


def test_who_does_not_read_the_answers_gets_no_further_questions_in() -> None:
    shell = Shell()
    upstream = shell.asks(GET)
    shell.client.queued_bytes = HIGH_WATER + 1
    upstream.says(OK)
    assert not shell.client.is_reading
    shell.client.queued_bytes = 0
    shell.connection.drained()
    assert shell.client.is_reading


def test_a_large_body_is_read_in_wide_reads_while_it_is_taken() -> None:
    shell = Shell()
    upstream = shell.asks(UPLOAD.replace(b"100000", b"1000000"))
    shell.says(b"x" * 20_000)
    assert not shell.client.is_wide  # it passes as it is: nothing was asked
    upstream.says(DOWNLOAD + b"y" * 20_000)
    assert upstream.endpoint.is_wide
    shell.client.queued_bytes = 1
    upstream.endpoint.unread.append(b"y" * 20_000)
    shell.connection._upstream_said(cast("Any", upstream), upstream.endpoint.read())
    assert not upstream.endpoint.is_wide
    upstream.endpoint.is_wide = True
    shell.connection.close(Reason.CLOSED_BY_ADMIN)
    assert not upstream.endpoint.is_wide  # whoever has it next begins as everybody does


# What goes wrong with writing.


def test_an_upload_that_is_refused_is_answered_all_the_same() -> None:
    shell = Shell()
    upstream = shell.asks(UPLOAD)
    upstream.endpoint.write_failure = RESET
    upstream.endpoint.unread.append(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n")
    shell.says(b"x" * 100)
    assert shell.client.sent.startswith(b"HTTP/1.1 413 ")
    assert (shell.statuses, shell.reasons) == ([413], [Reason.COMPLETED])
    assert upstream.given_back is False


@pytest.mark.parametrize(
    ("said", "statuses"), [(RESET, [502]), (b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\n", [])]
)
def test_after_a_write_that_failed_nothing_of_it_is_written(said: bytes | SslFailure, statuses: list[int]) -> None:
    """What was to follow is views on a buffer that the next read overwrites."""
    shell = Shell()
    upstream = Upstream(uses=1)
    shell.idle.append(upstream)
    tried: list[int] = []

    def fails(data: bytes | memoryview) -> bool:
        tried.append(len(data))
        upstream.endpoint.failure = RESET
        return False

    upstream.endpoint.send = fails  # type: ignore[method-assign]
    upstream.endpoint.unread.append(said)
    shell.says(UPLOAD + b"x" * 50_000)
    assert len(tried) == 1
    assert shell.statuses == statuses  # one that has begun to answer is heard out
    assert upstream.given_back is (False if statuses else None)


@pytest.mark.parametrize("answer", [OK, OK[:-1]])
def test_a_client_that_cannot_be_written_to_is_gone(answer: bytes) -> None:
    shell = Shell()
    upstream = shell.asks(GET)
    shell.client.write_failure = RESET
    upstream.says(answer)
    # An exchange whose answer had come whole was over.
    assert shell.reasons == [Reason.COMPLETED if answer is OK else Reason.PEER_RESET]
    assert shell.ends == [Reason.PEER_RESET]


# Whose time is up.

LIMITS = Limits(
    buffer_bytes=HIGH_WATER,
    head_timeout_s=10,
    keepalive_timeout_s=75,
    response_timeout_s=20,
    body_idle_timeout_s=60,
    response_idle_timeout_s=50,
    write_timeout_s=30,
    close_timeout_s=5,
)


def waiting() -> Shell:
    return Shell(listener(limits=LIMITS))


def test_a_connection_that_never_asks_anything() -> None:
    shell = waiting()
    shell.passes(75)
    assert shell.ends == []
    shell.passes(1)
    assert shell.ends == [Reason.HEAD_TIMEOUT]
    assert shell.client.closed == "in order"


def test_one_that_has_asked_and_asks_no_more() -> None:
    shell = waiting()
    shell.asks(GET).says(OK)
    shell.passes(76)
    assert shell.ends == [Reason.IDLE_TIMEOUT]


def test_a_head_has_its_time_from_its_first_byte() -> None:
    shell = waiting()
    shell.passes(60)
    shell.says(GET[:5])
    shell.passes(9)
    shell.says(GET[5:9])
    shell.passes(1)
    assert shell.statuses == []
    shell.passes(1)
    assert (shell.statuses, shell.reasons) == ([408], [Reason.HEAD_TIMEOUT])


STALLS = [
    pytest.param(UPLOAD, b"", "", 60, 408, Reason.BODY_TIMEOUT, id="no more of the body"),
    pytest.param(UPLOAD, b"", "upstream", 30, 504, Reason.UPSTREAM_TIMEOUT, id="the service takes none of it"),
    pytest.param(GET, b"", "", 20, 504, Reason.UPSTREAM_TIMEOUT, id="no answer"),
    pytest.param(GET, DOWNLOAD, "", 50, 200, Reason.UPSTREAM_TIMEOUT, id="no more of the answer"),
    pytest.param(GET, DOWNLOAD, "client", 30, 200, Reason.SLOW_READER, id="the client takes none of it"),
]


@pytest.mark.parametrize(("asked", "answered", "stalled", "seconds", "status", "reason"), STALLS)
def test_an_exchange_that_stalls(
    asked: bytes, answered: bytes, stalled: str, seconds: int, status: int, reason: Reason
) -> None:
    shell = waiting()
    upstream = shell.asks(asked)
    if answered:
        upstream.says(answered)
    if stalled:
        {"client": shell.client, "upstream": upstream.endpoint}[stalled].queued_bytes = 10
    shell.passes(seconds)
    assert shell.reasons == []
    shell.passes(1)
    assert (shell.statuses, shell.reasons) == ([status], [reason])
    assert upstream.given_back is False


def test_who_takes_a_little_now_and_then_is_waited_for() -> None:
    shell = waiting()
    upstream = shell.asks(GET)
    upstream.says(DOWNLOAD)
    for queued in (500, 400, 300):
        shell.client.queued_bytes = queued
        shell.passes(29)
    assert shell.reasons == []
    shell.passes(31)
    assert shell.reasons == [Reason.SLOW_READER]


@pytest.mark.parametrize(
    ("asked", "seconds"), [(GET, 30), (GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), 5)]
)
def test_an_answer_that_nobody_reads(asked: bytes, seconds: int) -> None:
    shell = waiting()
    upstream = shell.asks(asked)
    shell.client.queued_bytes = 10
    upstream.says(OK)
    shell.passes(0)
    shell.passes(seconds)
    assert shell.ends == []
    shell.passes(1)
    assert shell.ends == [Reason.SLOW_READER]


# How it ends.


def test_a_drain_answers_what_has_come_already() -> None:
    shell = Shell()
    shell.client.unread.append(GET)
    shell.connection.drain()
    assert shell.ends == []
    shell.reach().says(OK)
    assert (shell.statuses, shell.ends) == ([200], [Reason.DRAINED])
    assert b"Connection: close" in shell.client.sent


def test_a_drain_ends_who_has_asked_nothing() -> None:
    shell = Shell()
    shell.connection.drain()
    assert shell.ends == [Reason.DRAINED]


def test_a_drain_meets_a_client_that_has_gone() -> None:
    shell = Shell()
    shell.client.unread.append(RESET)
    shell.connection.drain()
    assert shell.ends == [Reason.PEER_RESET]


def test_one_that_is_retired_ends_after_its_exchange() -> None:
    shell = Shell()
    upstream = shell.asks(GET)
    shell.connection.retire(Reason.MAX_AGE)
    assert shell.ends == []
    upstream.says(OK)
    assert (shell.statuses, shell.ends) == ([200], [Reason.MAX_AGE])


def test_one_that_is_cut_off_cuts_its_exchange_off() -> None:
    shell = Shell()
    upstream = shell.asks(GET)
    shell.connection.close(Reason.CLOSED_BY_ADMIN)
    assert (shell.reasons, shell.ends) == ([Reason.CLOSED_BY_ADMIN], [Reason.CLOSED_BY_ADMIN])
    assert (shell.client.closed, upstream.given_back) == ("reset", False)


def test_an_opening_is_given_up_with_its_client() -> None:
    shell = Shell()
    shell.says(GET, RESET)
    assert shell.openings[0].state == "cancelled"
    assert (shell.reasons, shell.ends) == ([Reason.PEER_RESET], [Reason.PEER_RESET])


def test_what_a_client_still_sends_after_the_answer_is_thrown_away() -> None:
    shell = waiting()
    shell.client.queued_bytes = 10
    shell.says(b"nonsense\r\n\r\n")
    assert shell.statuses == [400]
    shell.says(GET)
    assert (shell.openings, shell.ends) == ([], [])
    shell.client.queued_bytes = 0
    shell.connection.drained()
    assert (shell.client.closed, shell.ends) == ("in order", [Reason.COMPLETED])


def test_who_sends_on_instead_of_reading_the_last_answer_is_not_waited_for() -> None:
    shell = waiting()
    shell.client.queued_bytes = 10
    shell.says(b"nonsense\r\n\r\n")
    shell.passes(4)
    shell.says(GET)
    shell.passes(2)
    assert shell.ends == [Reason.SLOW_READER]


ENDS = [
    pytest.param(CLOSED, Reason.COMPLETED, [], id="closed"),
    pytest.param(TRUNCATED, Reason.COMPLETED, [], id="truncated, between two requests"),
    pytest.param(RESET, Reason.PEER_RESET, [], id="reset"),
    pytest.param(ALERT, Reason.REFUSED_BY_PEER, [Side.PEER], id="alert"),
    pytest.param(PROTOCOL, Reason.PROTOCOL_ERROR, [Side.LOCAL], id="no TLS"),
]


@pytest.mark.parametrize(("said", "reason", "sides"), ENDS)
def test_a_client_that_ends_between_two_requests(said: int | SslFailure, reason: Reason, sides: list[Side]) -> None:
    shell = Shell()
    shell.asks(GET).says(OK)
    shell.says(said)
    assert shell.ends == [reason]
    assert [(refusal.side, refusal.reason) for refusal in shell.refusals] == [(side, reason) for side in sides]


def test_a_client_that_ends_in_the_middle_of_its_request() -> None:
    for said in (TRUNCATED, RESET):
        shell = Shell()
        upstream = shell.asks(UPLOAD)
        shell.says(said)
        assert shell.reasons == [Reason.INCOMPLETE_REQUEST]
        assert upstream.given_back is False


def test_half_an_answer_reaches_the_client_before_the_cut() -> None:
    shell = Shell()
    upstream = shell.asks(GET)
    upstream.says(DOWNLOAD + b"half")
    shell.client.queued_bytes = 4
    upstream.says(RESET)
    assert (shell.reasons, shell.ends) == ([Reason.UPSTREAM_RESET], [])
    shell.client.queued_bytes = 0
    shell.connection.drained()
    assert (shell.ends, shell.client.closed) == ([Reason.UPSTREAM_RESET], "cut")


# A tunnel.


def tunnel(monkeypatch: pytest.MonkeyPatch) -> tuple[Shell, Relay]:
    monkeypatch.setattr(module, "Relay", Relay)
    shell = Shell()
    shell.says(UPGRADE)
    upstream = Upstream()
    upstream.endpoint.handed_over = b"for the service"
    shell.client.handed_over = b"for the client"
    shell.reach(upstream).says(SWITCHED)
    relay = cast("Any", shell.connection._tunnel)
    assert isinstance(relay, Relay)
    return shell, relay


def test_a_tunnel_takes_both_sockets_over(monkeypatch: pytest.MonkeyPatch) -> None:
    shell, relay = tunnel(monkeypatch)
    assert (relay.ends, relay.state) == (("client", "upstream"), "started")
    assert (relay.pending_in, relay.pending_out) == (b"for the service", b"for the client")
    asked, told = shell.connection.bytes_in, shell.connection.bytes_out
    relay.bytes_in, relay.bytes_out = 7, 9
    assert (shell.connection.bytes_in, shell.connection.bytes_out) == (asked + 7, told + 9)
    shell.connection.relay_ended(Reason.COMPLETED, "")
    (entry,) = shell.ledger.entries
    assert (entry.status, entry.reason, entry.bytes_in, entry.bytes_out) == (101, Reason.COMPLETED, asked + 7, told + 9)
    assert shell.ends == [Reason.COMPLETED]


def test_a_tunnel_outlives_a_drain_but_not_a_revocation(monkeypatch: pytest.MonkeyPatch) -> None:
    shell, relay = tunnel(monkeypatch)
    shell.connection.drain()
    assert (shell.ends, relay.state) == ([], "started")
    shell.connection.retire(Reason.PEER_CERTIFICATE_REVOKED)
    assert (shell.ends, relay.state) == ([Reason.PEER_CERTIFICATE_REVOKED], "stopped")
    assert shell.reasons == [Reason.PEER_CERTIFICATE_REVOKED]


def test_a_tunnel_that_rests_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    shell, relay = tunnel(monkeypatch)
    shell.passes(100)
    assert shell.ends == []
    shell.passes(1)
    assert (shell.ends, relay.state) == ([Reason.IDLE_TIMEOUT], "stopped")


def test_a_tunnel_that_fails_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shell, _ = tunnel(monkeypatch)
    shell.connection.relay_ended(Reason.PEER_RESET, "Connection reset by peer")
    assert (shell.reasons, shell.ends) == ([Reason.PEER_RESET], [Reason.PEER_RESET])


def test_before_anybody_is_authorised_there_is_nothing_to_finish() -> None:
    shell = Shell()
    shell.connection._client = shell.connection._conversation = None
    shell.connection.state = ConnectionState.HANDSHAKING
    shell.connection.handshake = cast("Any", None)
    shell.connection.check_time(shell.waits(1000))
    assert shell.connection.under_way is None
    shell.connection.peer = cast("Any", SimpleNamespace(identity=None, rule="", party=None, stream=None))
    assert shell.connection.active_at == 1000.0
