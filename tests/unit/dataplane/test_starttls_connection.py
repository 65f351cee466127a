"""A connection that begins with words: in which order both sides are agreed with, and what each of them is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from unit.dataplane.shells import Relay
from unit.dataplane.starttls.test_mysql import answer, greeting
from unit.dataplane.tcp_world import World

from tlsidecar.dataplane import starttls_connection as module
from tlsidecar.dataplane.connection import ConnectionState
from tlsidecar.dataplane.proxy_protocol import SIGNATURE
from tlsidecar.dataplane.starttls import mysql, postgres, smtp
from tlsidecar.dataplane.starttls.negotiation import Ended
from tlsidecar.dataplane.starttls.script import Next, Script
from tlsidecar.dataplane.starttls.words import WORDS
from tlsidecar.dataplane.starttls_connection import StarttlsConnection
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import Mode


class Negotiation:
    """With the socket that came in."""

    def __init__(self, sock: object, script: Script, ended: Callable[[Ended], None]) -> None:
        self.sock = sock
        self.script = script
        self.ended = ended
        self.state = ""

    def start(self) -> None:
        self.state = "started"

    def cancel(self) -> None:
        self.state = "cancelled"


class Interlude(Relay):
    """The start of the session."""

    def __init__(self, *given: Any, inside: bool) -> None:
        super().__init__(*given[:5], given[6], remote=not inside)
        self.session = given[5]
        self.begun_with = (b"", b"")

    def start(self, said: bytes = b"", welcome: bytes = b"") -> None:
        self.state = "started"
        self.begun_with = (said, welcome)


class Words(World):
    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, protocol: str, mode: Mode = Mode.TERMINATE, **more: Any
    ) -> None:
        super().__init__(monkeypatch, mode, StarttlsConnection, starttls=protocol, **more)
        self.negotiations: list[Negotiation] = []
        monkeypatch.setattr(module, "Negotiation", self._negotiation)
        monkeypatch.setattr(module, "Interlude", Interlude)
        monkeypatch.setattr(StarttlsConnection, "shake_hands", lambda _: self.counted.append("shakes hands"))
        self.connection.start()

    def _negotiation(
        self, _reactor: object, _deadlines: object, sock: object, script: Script, ended: Callable[[Ended], None]
    ) -> Negotiation:
        self.negotiations.append(Negotiation(sock, script, ended))
        return self.negotiations[-1]

    def ends(self, what: Next, message: bytes = b"", **how: Any) -> None:  # type: ignore[override]
        self.negotiations[-1].ended(Ended(what, message=message, **how))

    @property
    def interlude(self) -> Interlude:
        assert isinstance(self.connection.relay, Interlude)
        return self.connection.relay


TERMINATE, ORIGINATE = Mode.TERMINATE, Mode.ORIGINATE


def test_terminating_words_come_first_and_take_a_handshakes_place(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "postgres")
    (negotiation,) = world.negotiations
    assert (negotiation.sock, negotiation.state) == (world.came, "started")
    assert isinstance(negotiation.script, postgres.PostgresServer)
    assert (world.reaches, world.connection.state) == ([], ConnectionState.HANDSHAKING)
    world.ends(Next.TLS)
    assert world.counted == ["handshake began", "handshake dropped", "shakes hands"]
    world.is_authorised()
    world.is_reached()
    assert world.relay.ends == ("came", "other")  # there is no session to translate
    assert world.counted[3:] == []


def test_originating_an_application_is_answered_before_its_server_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "postgres", ORIGINATE)
    assert isinstance(world.negotiations[0].script, postgres.PostgresLocal)
    world.ends(Next.PLAIN)
    assert world.counted == ["handshake began", "handshake dropped"]
    world.is_reached()
    assert world.relay.ends == ("other", "came")


def test_originating_an_application_that_waits_for_a_greeting_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "smtp", ORIGINATE)
    assert (world.negotiations, len(world.reaches)) == ([], 1)
    world.is_reached()
    assert world.interlude.begun_with == (b"", smtp.greeting("remote.test"))
    assert world.interlude.remote


@pytest.mark.parametrize("proxy_protocol", [False, True])
def test_a_service_is_told_who_is_there_before_it_greets(proxy_protocol: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "smtp", proxy_protocol=proxy_protocol)
    world.ends(Next.TLS)
    world.is_authorised()
    assert world.reach.header.startswith(SIGNATURE) is proxy_protocol
    world.is_reached()
    assert world.interlude.begun_with == (b"", b"")
    assert world.interlude.pending_in == b""  # and not a second time


def test_terminating_where_the_greeting_is_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "mysql")
    assert world.counted == ["handshake began"]  # it holds a connection of the service's
    assert world.negotiations == []
    world.waits(2)
    world.is_reached(greeting())
    assert world.connection.wait_s == 2
    (negotiation,) = world.negotiations
    assert negotiation.script.opening == mysql.with_tls(greeting(), offered=True)
    world.ends(Next.TLS)
    assert world.counted == ["handshake began", "handshake dropped", "shakes hands"]
    assert world.other.sent == b""  # not a byte before the peer is known
    world.is_authorised()
    assert len(world.reaches) == 1
    assert (world.interlude.ends, world.interlude.state) == (("came", "other"), "started")


def test_originating_where_the_greeting_is_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "mysql", ORIGINATE)
    assert (world.counted, world.negotiations) == ([], [])
    assert world.reach.greeted is not None
    world.reach.greeted(greeting())
    assert isinstance(world.negotiations[0].script, mysql.MysqlLocal)
    head = answer(0xFFFF & ~mysql.CLIENT_SSL)[: mysql.HEAD_BYTES]
    world.ends(Next.PLAIN, head)
    assert world.reach.asked == mysql.ssl_request(head)
    assert len(world.reaches) == 1
    world.is_reached()
    assert world.interlude.begun_with == (head, b"")


def test_a_cancelled_query_is_passed_on_and_nothing_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "postgres")
    world.ends(Next.CANCEL, b"cancel it")
    world.is_reached()
    assert world.other.sent == b"cancel it"
    assert world.ended() == {"came": "lingers", "other": "closed"}
    assert world.counted == ["handshake began", "handshake dropped", "cancel passed"]
    assert (world.opened, world.closed, world.turned_away, world.upstream.active) == ([], [], [], 0)


def test_a_cancelled_query_whose_service_is_not_there_is_not_apologised_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "postgres")
    world.ends(Next.CANCEL, b"cancel it")
    world.is_missed()
    assert world.came.sent == b""
    assert [refusal.reason for refusal in world.turned_away] == [Reason.UPSTREAM_REFUSED]


@pytest.mark.parametrize("how", [{"what": Next.LEFT}, {"what": Next.REFUSED, "empty": True}])
def test_who_leaves_in_order_or_says_nothing_is_only_counted(
    how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = Words(monkeypatch, "smtp")
    world.ends(**how)
    assert world.counted == ["handshake began", "handshake dropped", "empty"]
    assert (world.turned_away, world.ended()) == ([], {"came": "lingers"})


@pytest.mark.parametrize(("late", "reason"), [(False, Reason.STARTTLS_REFUSED), (True, Reason.HANDSHAKE_TIMEOUT)])
def test_who_does_not_agree_is_turned_away(late: bool, reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "smtp")
    world.ends(Next.REFUSED, detail="why it was", late=late)
    (refusal,) = world.turned_away
    assert (refusal.stage, refusal.reason, refusal.detail) == (Stage.HANDSHAKE, reason, "why it was")
    assert world.counted == ["handshake began", "handshake dropped"]  # once


def test_a_peer_is_told_inside_tls_that_its_service_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "smtp")
    world.ends(Next.TLS)
    world.is_authorised()
    world.is_missed()
    assert world.stream.written == WORDS["smtp"].apology(Reason.UPSTREAM_REFUSED.sentence)
    assert world.came.sent == b""
    assert world.ended() == {"came": "lingers"}


def test_what_a_service_says_instead_of_a_greeting_is_the_clients_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "mysql")
    world.is_missed(said=b"too many connections")
    assert world.came.sent == b"too many connections"
    assert world.ended() == {"came": "lingers"}


def test_an_application_is_told_in_the_clear_and_has_time_to_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "postgres", ORIGINATE)
    world.ends(Next.PLAIN)
    world.is_missed()
    assert world.came.sent == WORDS["postgres"].apology(Reason.UPSTREAM_REFUSED.sentence)
    assert world.ended() == {"came": "lingers"}  # and no reset, which would destroy it


def test_the_relay_goes_on_where_the_session_had_come_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for bytes_in in (0, 7):
        world = Words(monkeypatch, "smtp", ORIGINATE)
        world.is_reached()
        world.interlude.bytes_in, world.interlude.bytes_out = bytes_in, 9
        cast("Any", world.connection).interlude_over(b"inward", b"outward")
        relay = world.relay
        assert (relay.bytes_in, relay.bytes_out) == (bytes_in, 9)
        assert (relay.pending_in, relay.pending_out, relay.state) == (b"inward", b"outward", "started")
        assert relay.remote is (bytes_in == 0)  # one that has said something has let us in
        assert len(world.opened) == 1


def test_a_service_that_does_not_speak_the_protocol_is_counted_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "smtp")
    world.ends(Next.TLS)
    world.is_authorised()
    world.is_reached()
    world.connection.relay_ended(Reason.UPSTREAM_BAD_RESPONSE, "nonsense")
    assert world.upstream_errors == [Reason.UPSTREAM_BAD_RESPONSE]
    assert [entry.reason for entry in world.closed] == [Reason.UPSTREAM_BAD_RESPONSE]


def test_a_drain_in_the_middle_of_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "postgres")
    world.connection.drain()
    assert world.negotiations[0].state == "cancelled"
    assert world.counted == ["handshake began", "handshake dropped"]
    assert [refusal.reason for refusal in world.turned_away] == [Reason.DRAINING]


def test_a_drain_while_an_application_is_asked_for_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Words(monkeypatch, "mysql", ORIGINATE)
    assert world.reach.greeted is not None
    world.reach.greeted(greeting())
    world.connection.drain()
    assert (world.negotiations[0].state, world.reach.state) == ("cancelled", "cancelled")
    assert world.counted == ["handshake began", "handshake dropped"]
    assert world.ended() == {"came": "reset"}
