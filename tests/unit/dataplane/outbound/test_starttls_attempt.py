"""An attempt with words before TLS, or before all else: what each end of them comes to, and what is left open."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tlsidecar.dataplane.outbound import starttls_attempt as module
from tlsidecar.dataplane.outbound.attempt import Attempt, Missed
from tlsidecar.dataplane.outbound.outbound import Terms
from tlsidecar.dataplane.outbound.reach import attempt_on
from tlsidecar.dataplane.outbound.starttls_attempt import StarttlsAttempt
from tlsidecar.dataplane.starttls import mysql, smtp
from tlsidecar.dataplane.starttls.negotiation import Ended
from tlsidecar.dataplane.starttls.script import Next, Script
from tlsidecar.dataplane.starttls.words import WORDS
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Address

ADDRESS = Address("127.0.0.1", 25)


class Socket:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self.is_gone = False

    def send(self, data: bytes) -> int:
        if self.is_gone:
            raise BrokenPipeError
        self.sent.append(data)
        return len(data)

    def close(self) -> None:
        self.closed = True


class Negotiation:
    def __init__(self, script: Script, ended: Callable[[Ended], None], aim: str) -> None:
        self.script = script
        self.ended = ended
        self.aim = aim
        self.state = ""

    def start(self) -> None:
        self.state = "started"

    def cancel(self) -> None:
        self.state = "cancelled"


class World:
    """Whose attempt it is; ``said`` is what it was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, protocol: str, *, shakes_hands: bool) -> None:
        self.said: list[object] = []
        self.negotiations: list[Negotiation] = []
        monkeypatch.setattr(
            module,
            "Negotiation",
            lambda _reactor, _deadlines, _sock, script, ended, aim: self._negotiation(script, ended, aim),
        )
        monkeypatch.setattr(Attempt, "_shake_hands", lambda _, sock: self.said.append(("shakes hands with", sock)))
        identity = SimpleNamespace(dns=("here.test",))
        contexts = SimpleNamespace(material=SimpleNamespace(identity=identity))
        outbound = SimpleNamespace(
            shared=SimpleNamespace(reactor=None),
            network=SimpleNamespace(resolver=None, connector=None),
            words=WORDS[protocol],
            shakes_hands=shakes_hands,
        )
        deadlines = SimpleNamespace(lift=lambda owner: None)
        terms = Terms(
            cast("Any", outbound), cast("Any", deadlines), cast("Any", SimpleNamespace(deadlines=None)), b"PROXY "
        )
        self.attempt = attempt_on(terms, cast("Any", contexts), ADDRESS, self)
        self.sock = Socket()

    def _negotiation(self, script: Script, ended: Callable[[Ended], None], aim: str) -> Negotiation:
        self.negotiations.append(Negotiation(script, ended, aim))
        return self.negotiations[-1]

    def connects(self) -> Negotiation:
        self.attempt._done(cast("Any", self.sock))
        return self.negotiations[-1]

    def attempt_greeted(self, greeting: bytes) -> None:
        self.said.append(("greeted", greeting))

    def attempt_shakes_hands(self) -> None:
        raise AssertionError("Attempt's own business")

    def attempt_reached(self, sock: object, handshake: object, greeting: bytes) -> None:
        self.said.append(("reached", sock, handshake, greeting))

    def attempt_missed(self, missed: Missed) -> None:
        self.said.append(missed)


def test_a_listener_without_words_has_an_attempt_without(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "smtp", shakes_hands=True)
    assert isinstance(world.attempt, StarttlsAttempt)
    terms = world.attempt._terms
    terms.outbound.words = None
    attempt = attempt_on(terms, world.attempt._contexts, ADDRESS, world)
    assert type(attempt) is Attempt


def test_a_remote_agrees_on_tls_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "smtp", shakes_hands=True)
    negotiation = world.connects()
    assert isinstance(negotiation.script, smtp.SmtpClient)
    assert (negotiation.state, negotiation.aim) == ("started", "TLS was agreed on")
    assert repr(world.attempt) == "<StarttlsAttempt 127.0.0.1:25 exchanging words>"
    negotiation.ended(Ended(Next.TLS))
    assert world.said == [("shakes hands with", world.sock)]


def test_a_remote_whose_greeting_is_the_applications(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "mysql", shakes_hands=True)
    world.connects().ended(Ended(Next.PLAIN, message=b"its greeting"))
    assert world.said == [("greeted", b"its greeting")]
    assert "exchanging words" in repr(world.attempt)
    world.attempt.go_on(b"TLS, please")
    assert world.sock.sent == [b"TLS, please"]
    assert world.said[1:] == [("shakes hands with", world.sock)]


def test_a_remote_that_has_gone_meanwhile_fails_its_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "mysql", shakes_hands=True)
    world.connects().ended(Ended(Next.PLAIN, message=b"its greeting"))
    world.sock.is_gone = True
    world.attempt.go_on(b"TLS, please")
    assert world.said[1:] == [("shakes hands with", world.sock)]


def test_a_service_greets_after_it_was_told_who_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "smtp", shakes_hands=False)
    negotiation = world.connects()
    assert (negotiation.script.opening, negotiation.aim) == (b"PROXY ", "it had greeted")
    negotiation.ended(Ended(Next.PLAIN, message=b"220 hello"))
    assert world.said == [("reached", world.sock, None, b"220 hello")]


def test_a_service_that_waits_for_its_client_is_reached_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "postgres", shakes_hands=False)
    world.attempt._connected(cast("Any", world.sock))
    assert world.said == [("reached", world.sock, None, b"")]
    assert world.negotiations == []


MISSES = [
    pytest.param(True, False, Reason.UPSTREAM_TLS, b"", id="a remote refuses"),
    pytest.param(True, True, Reason.UPSTREAM_HANDSHAKE_TIMEOUT, b"", id="a remote is late"),
    pytest.param(False, False, Reason.UPSTREAM_BAD_RESPONSE, b"too many", id="a service refuses"),
    pytest.param(False, True, Reason.UPSTREAM_TIMEOUT, b"too many", id="a service is late"),
]


@pytest.mark.parametrize(("shakes_hands", "late", "reason", "said"), MISSES)
def test_who_does_not_agree_was_not_reached(
    shakes_hands: bool, late: bool, reason: Reason, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, "mysql", shakes_hands=shakes_hands)
    world.connects().ended(Ended(Next.REFUSED, "why", b"too many", late=late))
    detail = "127.0.0.1:25: why"
    # What a remote says in the clear is nobody's to believe; a service's own words are its client's.
    assert world.said == [Missed(Stage.UPSTREAM, reason, detail, Side.LOCAL, None, "127.0.0.1:25", said)]
    assert world.sock.closed


def test_one_that_is_given_up_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, "mysql", shakes_hands=True)
    negotiation = world.connects()
    assert world.attempt.cancel() is False  # no handshake was under way
    assert (negotiation.state, world.sock.closed) == ("cancelled", True)

    world = World(monkeypatch, "mysql", shakes_hands=True)
    world.connects().ended(Ended(Next.PLAIN, message=b"its greeting"))
    world.attempt.cancel()
    assert world.sock.closed
    assert isinstance(world.negotiations[0].script, mysql.MysqlGreeting)
    world.attempt.cancel()
    assert world.said == [("greeted", b"its greeting")]
