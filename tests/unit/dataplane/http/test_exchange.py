"""One request's account, whatever version of HTTP it came in."""

from __future__ import annotations

import pytest
from unit.dataplane.http1.conversation import Ledger, identity_headers, listener

from certs.identity import Identity
from tlsidecar.dataplane.http.exchange import Admission, Downstream, Exchange
from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http.refusal import MessageRefused, bad_response, upstream_failed
from tlsidecar.dataplane.http.routes import RouteTable
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Route

from .identities import identity


def downstream(
    ledger: Ledger,
    *,
    client: Identity | None = None,
    routes: tuple[Route, ...] = (),
    admission: Admission | None = None,
) -> Downstream:
    guard = RouteTable(routes, ["any"]).guard(client) if routes else None
    return Downstream(
        ledger,
        identity_headers(listener()),
        guard,
        admission,
        wall=lambda: 1.7e9,
        listener="web",
        connection_id=7,
        generation=3,
        peer_address="192.0.2.7:1234",
        handshake_s=0.25,
        identity=client,
        party=ledger.party,
        rule="any",
    )


class Places:
    def __init__(self) -> None:
        self.taken = 0

    def enter(self) -> None:
        if self.taken:
            raise MessageRefused(503, Reason.SHED, retry_after_s=1)
        self.taken += 1

    def leave(self) -> None:
        self.taken -= 1


def test_a_served_request() -> None:
    ledger = Ledger()
    client = identity(uris=("spiffe://td.example/client",))
    exchange = Exchange(downstream(ledger, client=client), Request(b"GET", b"/a?b", b"x"), 10.0)
    exchange.admit()
    exchange.wait()
    exchange.attach("127.0.0.1:8080", 10.5)
    exchange.status, exchange.bytes_in, exchange.bytes_out = 200, 100, 2000
    assert exchange.release()
    assert not exchange.release()
    exchange.finish(12.0)
    (entry,) = ledger.entries
    assert (entry.at, entry.protocol, entry.listener, entry.connection_id) == (1.7e9, "http", "web", 7)
    assert (entry.generation, entry.peer_address, entry.identity, entry.rule) == (
        3,
        "192.0.2.7:1234",
        client.name,
        "any",
    )
    assert (entry.reason, entry.upstream, entry.bytes_in, entry.bytes_out) == (
        Reason.COMPLETED,
        "127.0.0.1:8080",
        100,
        2000,
    )
    assert (entry.handshake_s, entry.wait_s, entry.upstream_s, entry.total_s) == (0.25, 0.5, 1.5, 2.0)
    assert (entry.method, entry.target, entry.status) == ("GET", "/a?b", 200)
    assert (ledger.durations, ledger.refusals) == ([(200, 2.0)], [])


def test_a_route_turns_away_before_a_place_is_taken() -> None:
    ledger, places = Ledger(), Places()
    routes = (Route("/admin", (), ("cn:nobody",)),)
    party = downstream(ledger, client=identity(), routes=routes, admission=places)
    exchange = Exchange(party, Request(b"GET", b"/x/../admin", b"x"), 0.0)
    with pytest.raises(MessageRefused) as refused:
        exchange.admit()
    exchange.refuse(refused.value)
    exchange.finish(0.0)
    assert places.taken == 0
    (refusal,) = ledger.refusals
    assert (refusal.status, refusal.reason, refusal.stage, refusal.side) == (
        403,
        Reason.ROUTE_DENIED,
        Stage.AUTHORIZE,
        Side.LOCAL,
    )
    assert (refusal.method, refusal.connection_id, refusal.identity) == ("GET", 7, party.identity.name)  # type: ignore[union-attr]
    assert refusal.rule == ledger.entries[0].rule == "any method /admin"


def test_the_target_that_was_judged_is_the_one_that_goes_on() -> None:
    request = Request(b"GET", b"/a/./b?c", b"x")
    exchange = Exchange(downstream(Ledger(), client=identity(), routes=(Route("/a/b", (), ("any",)),)), request, 0.0)
    exchange.admit()
    assert request.target == b"/a/b?c"


def test_a_place_is_left_once_and_only_by_who_has_one() -> None:
    ledger, places = Ledger(), Places()
    party = downstream(ledger, admission=places)
    one, two = (Exchange(party, Request(b"GET", b"/", b"x"), 0.0) for _ in range(2))
    one.admit()
    with pytest.raises(MessageRefused) as refused:
        two.admit()
    two.refuse(refused.value)
    two.finish(0.0)
    assert places.taken == 1
    one.finish(1.0)
    assert places.taken == 0


@pytest.mark.parametrize(
    ("method", "times"), [(b"GET", 1), (b"HEAD", 1), (b"PUT", 1), (b"DELETE", 1), (b"POST", 0), (b"PATCH", 0)]
)
def test_what_may_be_sent_again_and_how_often(method: bytes, times: int) -> None:
    exchange = Exchange(downstream(Ledger()), Request(method, b"/", b"x"), 0.0)
    assert [exchange.may_retry(), exchange.may_retry()] == [times > 0, False]
    assert exchange.holds_upstream is (times > 0)


def test_a_remote_that_turned_us_away_is_named() -> None:
    ledger = Ledger()
    exchange = Exchange(downstream(ledger), Request(b"GET", b"/", b"x"), 0.0)
    exchange.wait()
    remote = identity(dns=("payments.internal",))
    exchange.knows_remote(remote, "dns:payments.internal", Side.PEER)
    exchange.refuse(upstream_failed(Reason.REFUSED_BY_PEER, "the peer sent the alert unknown_ca"))
    exchange.finish(1.0)
    (refusal,), (entry,) = ledger.refusals, ledger.entries
    assert (refusal.side, refusal.status, refusal.identity) == (Side.PEER, 502, "payments.internal")
    assert entry.identity == "payments.internal"


@pytest.mark.parametrize(
    ("refusal", "status", "waits"),
    [
        (upstream_failed(Reason.UPSTREAM_REFUSED), 502, None),
        (upstream_failed(Reason.UPSTREAM_TIMEOUT), 504, None),
        (upstream_failed(Reason.UPSTREAM_HANDSHAKE_TIMEOUT), 504, None),
        (upstream_failed(Reason.UPSTREAM_EJECTED), 503, 1),
        (upstream_failed(Reason.FD_EXHAUSTED), 503, 1),
        (bad_response("no"), 502, None),
    ],
)
def test_what_an_upstream_failure_is_answered_with(refusal: MessageRefused, status: int, waits: int | None) -> None:
    assert (refusal.status, refusal.retry_after_s, refusal.stage) == (status, waits, Stage.UPSTREAM)


def test_what_is_cut_off_is_no_refusal() -> None:
    ledger = Ledger()
    exchange = Exchange(downstream(ledger), Request(b"GET", b"/", b"x"), 0.0)
    exchange.status = 200
    exchange.cut(Reason.PEER_RESET)
    exchange.finish(1.0)
    assert (ledger.refusals, ledger.entries[0].reason) == ([], Reason.PEER_RESET)


def test_nobody_wants_entries_and_none_is_made() -> None:
    ledger = Ledger(wants_exchanges=False)
    Exchange(downstream(ledger), Request(b"GET", b"/", b"x"), 0.0).finish(1.0)
    assert (ledger.entries, ledger.durations) == ([], [(0, 1.0)])
