"""The upstream's side of a connection: opened, taken, bound to one client, given back or given up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.http.identities import identity
from unit.dataplane.http1.shell import GET, OK, Shell, Upstream
from unit.dataplane.shells import CLOSED, RESET

from tlsidecar.dataplane.outbound.attempt import Missed
from tlsidecar.dataplane.stream import WANT_READ
from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure
from tlsidecar.outcomes import Reason, Side, Stage

ALERT = SslFailure(FailureKind.ALERT, "the peer sent the alert unknown_ca", "unknown_ca")
TRUNCATED = SslFailure(FailureKind.TRUNCATED, "the connection ended without close_notify")
NTLM = GET.replace(b"\r\n\r\n", b"\r\nAuthorization: NTLM abcd\r\n\r\n")
EVENTS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_all_that_was_said_while_it_was_opened_is_said_in_order() -> None:
    shell = Shell()
    shell.says(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc", b"def")
    upstream = shell.reach()
    assert upstream.endpoint.sent.endswith(b"\r\n\r\nabcdef")


def test_an_opening_that_fails_costs_the_exchange_alone() -> None:
    shell = Shell()
    shell.says(GET)
    shell.miss()
    assert (shell.statuses, shell.reasons) == ([502], [Reason.UPSTREAM_REFUSED])
    assert [refusal.upstream for refusal in shell.ledger.refusals] == ["127.0.0.1:80"]  # which was tried
    assert shell.client.is_reading
    shell.asks(GET).says(OK)
    assert shell.statuses == [502, 200]


def test_a_remote_that_was_refused_is_named() -> None:
    shell = Shell()
    shell.says(GET)
    judge = SimpleNamespace(identity=identity(dns=("them.test",)), rule=None)
    handshake = cast("Any", SimpleNamespace(judge=judge))
    shell.openings[0].missed(Missed(Stage.VERIFY, Reason.NOT_ALLOWED, "", Side.LOCAL, handshake, "127.0.0.1:80"))
    (entry,) = shell.ledger.entries
    assert (entry.status, entry.reason, entry.identity) == (502, Reason.NOT_ALLOWED, "them.test")


@pytest.mark.parametrize(
    ("end", "reason"),
    [(CLOSED, Reason.UPSTREAM_CLOSED), (TRUNCATED, Reason.UPSTREAM_CLOSED), (RESET, Reason.UPSTREAM_RESET)],
)
def test_one_that_ends_before_it_answers(end: int | SslFailure, reason: Reason) -> None:
    shell = Shell()
    shell.asks(GET).says(end)
    assert (shell.statuses, shell.reasons) == ([502], [reason])


@pytest.mark.parametrize("end", [CLOSED, RESET, ALERT])
def test_one_that_had_served_before_may_have_closed_meanwhile(end: int | SslFailure) -> None:
    shell = Shell()
    shell.idle.append(Upstream(uses=1))
    shell.says(GET)
    stale = shell.connection._upstream
    assert stale is not None
    cast("Any", stale).says(end)
    assert shell.statuses == []
    fresh = shell.reach()
    assert fresh.endpoint.sent.startswith(GET[:-2])
    fresh.says(CLOSED)  # and not a third time
    assert (shell.statuses, len(shell.openings)) == ([502], 1)


def test_in_tls_1_3_a_remote_refuses_us_after_our_handshake() -> None:
    shell = Shell()
    upstream = Upstream()
    upstream.peer = SimpleNamespace(identity=identity(dns=("them.test",)), rule="any", party=None)
    shell.says(GET)
    shell.reach(upstream).says(ALERT)
    (entry,) = shell.ledger.entries
    assert (entry.status, entry.reason, entry.identity) == (502, Reason.REFUSED_BY_PEER, "them.test")
    assert shell.upstream_errors == [Reason.REFUSED_BY_PEER]
    assert not upstream.endpoint.is_reading


def test_an_alert_in_an_answer_is_no_refusal() -> None:
    shell = Shell()
    shell.asks(GET).says(OK[:20], ALERT)
    assert shell.reasons == [Reason.UPSTREAM_RESET]


def test_one_that_knows_its_client_serves_nobody_else() -> None:
    shell = Shell()
    upstream = shell.asks(NTLM)
    upstream.says(OK)
    assert (upstream.given_back, upstream.owner) == (None, shell.connection)
    shell.idle.append(Upstream())
    shell.says(GET)
    assert upstream.endpoint.sent.count(b"GET / ") == 2
    assert len(shell.idle) == 1
    upstream.says(OK)
    assert shell.statuses == [200, 200]
    shell.connection.close(Reason.CLOSED_BY_ADMIN)
    assert upstream.given_back is False


@pytest.mark.parametrize("how", ["it speaks", "it has expired"])
def test_one_that_knows_its_client_is_let_go_once_it_is_of_no_use(how: str) -> None:
    shell = Shell()
    upstream = shell.asks(NTLM)
    upstream.says(OK)
    if how == "it speaks":
        upstream.says(b"unasked")
        assert upstream.given_back is False
    upstream.expired = True
    shell.says(GET)
    assert upstream.given_back is False
    assert len(shell.openings) == 2


def test_one_with_something_to_write_is_not_kept() -> None:
    shell = Shell()
    upstream = shell.asks(NTLM)
    upstream.endpoint.queued_bytes = 1
    upstream.says(OK)
    assert upstream.given_back is True  # to the pool, which closes it


def test_a_body_that_passes_is_read_in_the_connections_place() -> None:
    shell = Shell()
    upstream = shell.asks(GET)
    upstream.says(EVENTS)
    assert upstream.lent_to is None
    upstream.says(b"2\r\nab\r\n")
    assert upstream.lent_to is not None
    upstream.says(b"2\r\ncd\r\n", WANT_READ, b"1\r\ne\r\n")
    assert shell.reasons == []
    upstream.says(b"0\r\n\r\n")
    assert shell.client.sent == EVENTS + b"2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n"
    assert (upstream.given_back, upstream.lent_to) == (True, None)
    (entry,) = shell.ledger.entries
    assert (entry.reason, entry.bytes_out) == (Reason.COMPLETED, len(shell.client.sent))
    assert shell.connection.bytes_out == len(shell.client.sent)


def test_a_body_that_passes_is_held_back_for_a_slow_reader() -> None:
    shell = Shell()
    upstream = shell.asks(GET)
    upstream.says(EVENTS, b"2\r\nab\r\n")
    shell.client.queued_bytes = 1001
    upstream.says(b"2\r\ncd\r\n")
    assert not upstream.endpoint.is_reading


@pytest.mark.parametrize(("end", "reason"), [(CLOSED, Reason.UPSTREAM_CLOSED), (RESET, Reason.UPSTREAM_RESET)])
def test_a_body_that_passes_breaks_off(end: int | SslFailure, reason: Reason) -> None:
    shell = Shell()
    shell.asks(GET).says(EVENTS, b"2\r\nab\r\n", end)
    assert (shell.reasons, shell.ends) == ([reason], [reason])
    assert shell.client.closed == "cut"


def test_a_body_that_passes_meets_a_client_that_has_gone() -> None:
    shell = Shell()
    upstream = shell.asks(GET)
    upstream.says(EVENTS, b"2\r\nab\r\n")
    shell.client.write_failure = RESET
    upstream.says(b"2\r\ncd\r\n")
    assert (shell.reasons, shell.ends) == ([Reason.PEER_RESET], [Reason.PEER_RESET])
    assert upstream.given_back is False
