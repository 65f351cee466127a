"""What goes on from one side to the other, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, TrailersReceived
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http2.talk import CALL, GET, OK, TRAILERS, Talk, coded, head, without

from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http2 import frames
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import Http, Limits, Route


def http2(**more: object) -> object:
    return replace(listener(**more), http2="only")  # type: ignore[arg-type]


def test_a_call_passes_with_who_asks() -> None:
    talk = Talk().client(head(1, CALL, end=False), frames.data(1, b"question", end_stream=True))
    (asked,) = talk.at_upstream.heads(1)
    assert asked[b":path"] == b"/demo.Echo/Unary"
    assert asked[b":scheme"] == b"http"  # what the next hop is
    assert asked[b"te"] == b"trailers"
    assert asked[b"x-forwarded-client-cert"]
    assert asked[b"x-request-id"]
    assert talk.at_upstream.data(1) == b"question"
    talk.upstream(head(1, OK, end=False), frames.data(1, b"answer", end_stream=False), head(1, TRAILERS))
    assert talk.at_client.heads(1) == [dict(OK), dict(TRAILERS)]
    assert talk.at_client.data(1) == b"answer"
    (entry,) = talk.ledger.entries
    assert (entry.method, entry.target, entry.status, entry.reason) == ("POST", "/demo.Echo/Unary", 200, "completed")
    assert entry.upstream == "127.0.0.1:50051"
    assert talk.grpc.codes == ["0"]
    assert not talk.session.streams


def test_what_is_said_before_the_upstream_is_there_waits_for_it() -> None:
    talk = Talk(reaches=False).client(head(1))
    assert talk.at_client.heard == []
    talk.reached()
    assert [each[0] for each in talk.at_upstream.heard] == ["settings", "head"]
    talk.upstream(frames.settings([(4, 1 << 20), (3, 7)]), head(1, OK))
    assert talk.at_client.heard[0] == ("settings", {4: 1 << 20, 3: 7, 6: 32 * 1024})
    assert talk.at_client.heads(1) == [dict(OK)]


def test_a_local_answer_waits_for_the_settings() -> None:
    """The first frame is SETTINGS (RFC 9113 section 3.4), whoever answers."""
    talk = Talk(reaches=False).client(head(1, without(GET, b":authority")))
    assert talk.at_client.heard == []
    talk.reached().upstream(frames.settings([]))
    assert [each[0] for each in talk.at_client.heard] == ["settings", "reset"]


def test_settings_are_made_anew() -> None:
    talk = Talk(bare=True).client(frames.PREFACE + frames.settings([(1, 0), (2, 1), (3, 9), (4, 70_000), (0xFE03, 1)]))
    talk.reached()
    assert talk.at_upstream.heard == [("settings", {2: 0, 4: 70_000, 6: 32 * 1024})]
    talk.upstream(frames.settings([(1, 65_536), (3, 1000), (5, 1 << 20), (8, 1)]), frames.SETTINGS_ACK)
    assert talk.at_client.heard == [("settings", {3: 100, 6: 32 * 1024}), ("ack",)]
    talk.upstream(frames.settings([(4, 5)]))
    assert talk.at_client.heard[-1] == ("settings", {4: 5})


def test_the_first_block_of_each_direction_gives_up_the_table() -> None:
    """A peer that allows none is to be told at once (RFC 7541 section 4.2)."""
    talk = Talk().client(head(1), head(3)).upstream(head(1, OK), head(3, OK))
    for side in (talk.at_upstream, talk.at_client):
        blocks = [side.raw.index(b"\x20", 9), side.raw.count(b"\x05\x00\x00\x00\x01\x20")]
        assert blocks[1] == 1


@pytest.mark.parametrize("grpc", [False, True])
def test_a_route_refuses_one_stream_and_not_its_neighbour(grpc: bool) -> None:
    fields = CALL if grpc else GET
    denied = [(name, b"/admin/x" if name == b":path" else value) for name, value in fields]
    routes = (Route("/admin/**", (), ("ou:sre",)), Route("/**", (), ("any",)))
    from unit.dataplane.http.identities import identity

    talk = Talk(routes=routes, client=identity(dns=("a.test",)))
    talk.client(head(1, fields), head(3, denied, end=False), frames.data(3, b"x" * 100, end_stream=False))
    assert talk.at_upstream.heads(3) == []
    assert talk.at_upstream.data(3) == b""
    (answer,) = talk.at_client.heads(3)
    if grpc:
        assert (answer[b":status"], answer[b"grpc-status"]) == (b"200", b"7")
        assert answer[b"grpc-message"] == Reason.ROUTE_DENIED.sentence.encode()
    else:
        assert (answer[b":status"], answer[b"content-length"]) == (b"403", b"0")
    assert ("window", 0, 100) in talk.at_client.heard  # what is swallowed is given back
    talk.client(frames.data(3, b"y" * 50, end_stream=True)).upstream(head(1, OK))
    assert ("window", 0, 50) in talk.at_client.heard
    assert talk.at_client.heads(1) == [dict(OK)]
    (refusal,) = talk.ledger.refusals
    assert (refusal.reason, refusal.stage, refusal.rule) == (
        Reason.ROUTE_DENIED,
        Stage.AUTHORIZE,
        "any method /admin/**",
    )
    assert talk.end is None


def test_a_rate_is_each_streams() -> None:
    class Once:
        left = 1

        def enter(self) -> None:
            if not self.left:
                raise MessageRefused(429, Reason.RATE_LIMITED, stage=Stage.AUTHORIZE, retry_after_s=3)
            self.left -= 1

        def leave(self) -> None:
            self.left += 1

    talk = Talk(admission=Once()).client(head(1, CALL), head(3, CALL), head(5))
    assert talk.at_client.heads(3)[0][b"grpc-status"] == b"8"
    assert talk.at_client.heads(5)[0][b"retry-after"] == b"3"
    talk.upstream(head(1, OK)).client(head(7, CALL))
    assert len(talk.at_upstream.heads(7)) == 1


@pytest.mark.parametrize(
    "name",
    [
        b"x-forwarded-client-cert",
        b"x-forwarded-for",
        b"client-cert",
        b"x-ssl-client-verify",
        b"x-real-ip",
        b"proxy-authorization",
        b"proxy",
        b"http2-settings",
    ],
)
def test_what_only_we_may_state_is_dropped(name: bytes) -> None:
    forged = b"forged by the client"
    talk = Talk().client(head(1, [*GET, (name, forged)]), head(3, [*GET, (b"x-own", b"1")], end=False))
    talk.client(head(3, [(name, forged), (b"x-own", b"2")]))
    assert forged not in talk.at_upstream.raw
    assert talk.at_upstream.heads(3)[1] == {b"x-own": b"2"}


def test_underscores_are_as_configured() -> None:
    fields = [*GET, (b"x_id", b"5"), (b"x_forwarded_for", b"6.6.6.6")]
    refusing = http2(http=Http(underscores="refuse"))
    assert Talk(refusing).client(head(1, fields)).statuses == [400]  # type: ignore[arg-type]
    for underscores, passes in (("drop", False), ("allow", True)):
        talk = Talk(http2(http=Http(underscores=underscores))).client(head(1, fields))  # type: ignore[arg-type]
        assert (b"x_id" in talk.at_upstream.heads(1)[0]) is passes
        assert b"6.6.6.6" not in talk.at_upstream.raw


def test_host_is_rewritten() -> None:
    talk = Talk(http2(http=Http(host_rewrite="inner"))).client(head(1))  # type: ignore[arg-type]
    (asked,) = talk.at_upstream.heads(1)
    assert (asked[b":authority"], asked[b"x-forwarded-host"]) == (b"inner", b"a.test")


def test_host_stands_in_for_the_authority() -> None:
    talk = Talk().client(head(1, [*without(GET, b":authority"), (b"host", b"b.test")]))
    (asked,) = talk.at_upstream.heads(1)
    assert asked[b":authority"] == b"b.test"
    assert b"host" not in asked


def test_an_upstream_that_ends() -> None:
    talk = Talk().client(head(1, CALL), head(3), head(5)).upstream(head(5, OK, end=False))
    talk.gone(Reason.UPSTREAM_RESET)
    assert talk.at_client.heads(1)[0][b"grpc-status"] == b"14"
    assert talk.at_client.heads(3)[0][b":status"] == b"502"
    assert ("reset", 5, "INTERNAL_ERROR") in talk.at_client.heard
    assert talk.at_client.heard[-1] == ("goaway", 5, "NO_ERROR")
    assert talk.reasons == [Reason.UPSTREAM_RESET] * 3
    assert talk.end is Reason.COMPLETED


def test_an_upstream_that_ends_in_the_middle_of_data() -> None:
    talk = (
        Talk().client(head(1), head(3)).upstream(head(1, OK, end=False), frames.data(1, b"12345", end_stream=True)[:-2])
    )
    heard = len(talk.at_client.raw)
    talk.gone(Reason.UPSTREAM_RESET)
    assert len(talk.at_client.raw) == heard  # whatever came now would be taken for the rest
    assert talk.end is Reason.UPSTREAM_RESET


def test_an_upstream_that_was_not_reached() -> None:
    talk = Talk(reaches=False).client(head(1, CALL), frames.frame(frames.PING, 0, 0, b"12345678"))
    talk.missed(Reason.UPSTREAM_REFUSED, "Connection refused")
    assert [each[0] for each in talk.at_client.heard] == ["settings", "ack", "head"]
    # Who is told at once to dial anew does so at once, and again.
    talk.client(head(3), frames.frame(frames.PING, 0, 0, b"12345678"))
    assert talk.at_client.heads(3)[0][b":status"] == b"502"
    assert talk.at_client.heard[-1] == ("pong", b"12345678")
    assert talk.statuses == [502, 502]
    assert talk.end is None
    assert talk.wait(1.1).end is Reason.COMPLETED
    assert talk.at_client.heard[-1] == ("goaway", 3, "NO_ERROR")


def test_shutting_down_takes_two_steps_and_loses_nobody() -> None:
    talk = Talk().client(head(1)).shut_down()
    assert talk.at_client.of("goaway") == [("goaway", frames.MAX_WINDOW, "NO_ERROR")]
    talk.client(head(3))  # was under way
    (ping,) = talk.at_client.of("ping")
    talk.client(frames.frame(frames.PING, frames.ACK, 0, ping[1]))  # type: ignore[arg-type]
    assert talk.at_upstream.of("pong") == []
    assert talk.at_client.of("goaway")[1:] == [("goaway", 3, "NO_ERROR")]
    talk.client(head(5))
    assert talk.at_upstream.heads(5) == []
    assert talk.end is None
    talk.upstream(head(3, OK), head(1, OK))
    assert talk.end is Reason.DRAINED
    assert talk.statuses == [200, 200]


def test_shutting_down_before_the_upstream_is_there() -> None:
    talk = Talk(reaches=False).shut_down()
    assert talk.at_client.heard == []
    talk.wait(1.5)
    assert talk.at_client.of("settings", "ack") == [("settings", {3: 100, 6: 32 * 1024}), ("ack",)]
    assert talk.at_client.heard[-1] == ("goaway", 0, "NO_ERROR")
    assert talk.end is Reason.DRAINED
    waits = Talk(reaches=False).client(head(1)).shut_down().wait(1.5)
    assert (waits.end, waits.at_client.heard) == (None, [])
    waits.reached().upstream(frames.settings([]), head(1, OK))
    assert waits.at_client.of("settings", "goaway", "head")[0][0] == "settings"
    assert (waits.end, waits.statuses) == (Reason.DRAINED, [200])


def test_shutting_down_does_not_wait_for_ever_for_the_pong() -> None:
    talk = Talk().shut_down().wait(1.5)
    assert talk.at_client.of("goaway")[1:] == [("goaway", 0, "NO_ERROR")]
    assert talk.end is Reason.DRAINED


def test_deadlines() -> None:
    settings = http2(limits=Limits(head_timeout_s=10, keepalive_timeout_s=75, stream_idle_timeout_s=3600))
    assert Talk(settings, bare=True).wait(9).end is None  # type: ignore[arg-type]
    assert Talk(settings, bare=True).client(frames.PREFACE).wait(11).end is Reason.HEAD_TIMEOUT  # type: ignore[arg-type]
    half = frames.frame(frames.HEADERS, 0, 1, coded(GET)[:20])
    talk = Talk(settings).client(half).wait(9)  # type: ignore[arg-type]
    assert talk.end is None
    assert talk.wait(2).end is Reason.HEAD_TIMEOUT
    talk = Talk(settings).client(head(1, CALL)).wait(76).wait(3000)  # type: ignore[arg-type]
    assert talk.end is None
    talk.wait(1000)
    assert talk.reasons == [Reason.UPSTREAM_TIMEOUT]
    talk = Talk(settings).wait(76)  # type: ignore[arg-type]
    assert talk.end is Reason.IDLE_TIMEOUT
    assert talk.at_client.of("goaway") == [("goaway", 0, "NO_ERROR")]


def test_an_answer_that_does_not_begin_is_late() -> None:
    """As in HTTP/1.1, from the end of the request; but for gRPC, whose calls may be silent for long."""
    talk = Talk().client(head(1), head(3, end=False), head(5), head(7, CALL)).upstream(head(5, OK, end=False))
    talk.wait(59)
    assert talk.reasons == []
    talk.wait(2)
    assert (talk.statuses, talk.reasons) == ([504], [Reason.UPSTREAM_TIMEOUT])
    assert talk.at_client.heads(1)[0][b":status"] == b"504"
    assert talk.at_upstream.heard[-1] == ("reset", 1, "CANCEL")


def test_an_upstream_that_never_was_one_is_told_to_who_asks_only_then() -> None:
    """grpcio asks nothing before it has SETTINGS: it would dial again and again, and never say why."""
    begins = {
        "nothing": (b"", False),
        "garbage": (b"SSH-2.0-OpenSSH_9.2", False),
        "another frame": (frames.frame(frames.PING, 0, 0, b"12345678"), False),
        "silence": (b"", True),
        "SETTINGS": (frames.settings([]), False),
    }
    for said, is_silent in begins.values():
        talk = Talk(reaches=False).reached().upstream(said)
        if is_silent:
            talk.wait(11)
        elif talk.session.state.name == "RELAYING":
            talk.gone(Reason.UPSTREAM_CLOSED)
        assert talk.session.unasked is not None
        assert talk.end is None
        talk.client(frames.SETTINGS_ACK, head(1, CALL))
        assert talk.at_client.heads(1)[0][b"grpc-status"] == b"14"
        assert talk.ledger.refusals[0].upstream == "127.0.0.1:50051"
        assert talk.wait(1.1).end is Reason.COMPLETED
    talk = Talk().wait(2).gone()  # it served, and ends: the client is to dial anew
    assert (talk.end, talk.session.unasked) == (Reason.COMPLETED, None)
    assert Talk().wait(2).gone(Reason.UPSTREAM_RESET).session.unasked is Reason.UPSTREAM_RESET


def test_failures_that_no_status_tells_of_are_counted() -> None:
    talk = Talk().client(head(1), head(3), head(5), head(7)).upstream(head(3, OK, end=False), head(5, OK))
    talk.upstream(frames.rst_stream(1, 2)).gone(Reason.UPSTREAM_RESET)
    assert talk.statuses == [200, 0, 200, 502]
    assert talk.ledger.broken == 2
    assert talk.ledger.upstream_errors == [Reason.UPSTREAM_RESET] * 3


@given(st.lists(st.integers(0, 2**16), max_size=14), st.lists(st.integers(0, 2**16), max_size=14))
def test_the_pieces_do_not_matter(cuts: list[int], answer_cuts: list[int]) -> None:
    """A client and a server of hyper h2's, with four calls at once: the same is heard in any pieces."""
    client = H2Connection(H2Configuration(header_encoding=None))
    client.initiate_connection()
    for number in (1, 3, 5, 7):
        client.send_headers(number, [*CALL, (b"x-number", b"%d" % number)])
        client.send_data(number, b"%d" % number * 5000, pad_length=number)
    for number in (3, 1, 7, 5):
        client.send_headers(number, [(b"x-trailer", b"%d" % number)], end_stream=True)
    talk = Talk(bare=True).client(client.data_to_send(), cuts=cuts).reached()
    server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    server.receive_data(frames.PREFACE + talk.at_upstream.raw)
    for number in (5, 7, 1, 3):
        server.send_headers(number, OK)
        server.send_data(number, b"%d" % number * 4000)
        server.send_headers(number, TRAILERS, end_stream=True)
    talk.upstream(server.data_to_send(), cuts=answer_cuts)
    events = client.receive_data(talk.at_client.raw)
    for number in (1, 3, 5, 7):
        assert talk.at_upstream.heads(number)[1] == {b"x-trailer": b"%d" % number}
        mine = [event for event in events if getattr(event, "stream_id", None) == number]
        assert [type(event) for event in mine if not isinstance(event, DataReceived)] == [
            ResponseReceived,
            TrailersReceived,
            StreamEnded,
        ]
        assert b"".join([event.data for event in mine if isinstance(event, DataReceived)]) == b"%d" % number * 4000
    assert talk.statuses == [200] * 4
    assert talk.end is None
