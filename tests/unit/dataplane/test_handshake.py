"""A handshake's steps: when one is taken, when it gives up, and what it says of how it ended."""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.clock import ClockLoop

from certs.identity import IdentityCache
from tlsidecar.dataplane import handshake as module
from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.handshake import Handshake, HandshakeTerms
from tlsidecar.dataplane.policy import Policy
from tlsidecar.dataplane.stream import DONE, FAILED, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure
from tlsidecar.dataplane.turnstile import Turnstile
from tlsidecar.outcomes import Reason, Side, Stage

IN = select.EPOLLIN
GONE = select.EPOLLIN | select.EPOLLRDHUP
RESET = select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP
TIMEOUT_S = 10.0


class FakeReactor:
    def __init__(self) -> None:
        self.loop = ClockLoop()
        self.turn = 1
        self.handler: Callable[[int], None] | None = None
        self.wanted = 0
        self.unfinished: Callable[[], bool] | None = None
        self.crashes: list[object] = []

    @property
    def now(self) -> float:
        return self.loop.now

    def rewatch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        self.wanted, self.handler = events, handler

    def forget(self, descriptor: int) -> None:
        self.handler = None

    def keep_turning(self, unfinished: Callable[[], bool]) -> None:
        self.unfinished = unfinished

    def crashed(self, descriptor: int, step: object) -> None:
        self.crashes.append(step)

    def next_turn(self) -> None:
        self.turn += 1
        if self.unfinished is not None and not self.unfinished():
            self.unfinished = None


class World:
    """One handshake; ``answers`` are OpenSSL's to its steps, ``lies_there`` what the socket holds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: int, server_side: bool = True) -> None:
        self.reactor = FakeReactor()
        self.answers = deque(answers)
        self.lies_there: bytes | OSError = b"\x16"
        self.steps = 0
        self.stream = SimpleNamespace(handshake=self._step, failure=None, name_server=lambda name: None)
        monkeypatch.setattr(module, "Stream", lambda *_, **__: self.stream)
        self.turnstile = Turnstile(cast("Any", self.reactor))
        self.deadlines = DeadlineQueue(cast("Any", self.reactor.loop), TIMEOUT_S)
        self.over: list[Handshake] = []
        self.shake = self.another(server_side=server_side)

    def another(self, *, server_side: bool = True) -> Handshake:
        contexts = SimpleNamespace(
            server=lambda *_, **__: None,
            client=lambda *_: None,
            soft_crl=False,
            forms=None,
            may_vouch=None,
            material=SimpleNamespace(federated=()),
        )
        sock = SimpleNamespace(fileno=lambda: 5, recv=self._peek)
        terms = HandshakeTerms(
            cast("Any", self.reactor),
            self.turnstile,
            self.deadlines,
            Policy([], names_hosts=False),
            IdentityCache(),
            (),
            server_side,
        )
        shake = Handshake(terms, cast("Any", contexts), cast("Any", sock), self.over.append)
        shake.start()
        return shake

    def _step(self) -> int:
        self.steps += 1
        return self.answers.popleft()

    def _peek(self, most: int, flags: int) -> bytes:
        if isinstance(self.lies_there, OSError):
            raise self.lies_there
        return self.lies_there[:most]

    def ready(self, events: int = IN) -> None:
        assert self.reactor.handler is not None
        self.reactor.turn += 1
        self.reactor.handler(events)

    @property
    def outcome(self) -> tuple[Reason | None, Stage, Side]:
        (shake,) = self.over
        return shake.reason, shake.stage, shake.side


def test_a_server_waits_for_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, WANT_READ, DONE)
    assert world.steps == 0
    world.ready()
    world.reactor.loop.pass_s(0.25)
    world.ready()
    assert world.outcome[0] is None
    assert world.over[0].seconds == 0.25
    assert len(world.deadlines) == 0


def test_a_client_begins_at_once_and_waits_for_what_openssl_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, WANT_WRITE, WANT_READ, DONE, server_side=False)
    assert world.steps == 1
    assert world.reactor.wanted & select.EPOLLOUT
    world.ready(select.EPOLLOUT)
    assert world.reactor.wanted & select.EPOLLIN
    world.ready()
    assert world.outcome[0] is None


@pytest.mark.parametrize(
    ("server_side", "reason"), [(True, "handshake_timeout"), (False, "upstream_handshake_timeout")]
)
def test_one_that_takes_too_long(server_side: bool, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, WANT_READ, server_side=server_side)
    world.reactor.loop.pass_s(TIMEOUT_S - 0.1)
    assert world.over == []
    world.reactor.loop.pass_s(0.2)
    assert world.outcome[0] is Reason(reason)
    assert world.over[0].detail == "the TLS handshake was not done within 10 s"
    assert world.reactor.handler is None


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (SslFailure(FailureKind.TRUNCATED, ""), (Reason.HANDSHAKE_ABORTED, Stage.HANDSHAKE, Side.LOCAL)),
        (SslFailure(FailureKind.ALERT, "the alert unknown_ca"), (Reason.REFUSED_BY_PEER, Stage.HANDSHAKE, Side.PEER)),
        (SslFailure(FailureKind.PROTOCOL, "http request"), (Reason.PLAINTEXT, Stage.HANDSHAKE, Side.LOCAL)),
        (
            SslFailure(FailureKind.PROTOCOL, "peer did not return a certificate"),
            (Reason.NO_CERTIFICATE, Stage.VERIFY, Side.LOCAL),
        ),
    ],
)
def test_how_a_failure_is_named(failure: SslFailure, outcome: object, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, FAILED)
    world.stream.failure = failure
    world.ready()
    assert world.outcome == outcome
    assert not world.over[0].is_empty


def test_our_own_judgement_goes_before_what_openssl_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, FAILED)
    world.shake.judge.reason, world.shake.judge.stage = Reason.NOT_ALLOWED, Stage.AUTHORIZE
    world.stream.failure = SslFailure(FailureKind.PROTOCOL, "certificate verify failed")
    world.ready()
    assert world.outcome == (Reason.NOT_ALLOWED, Stage.AUTHORIZE, Side.LOCAL)


@pytest.mark.parametrize("left", [(GONE, b""), (RESET, ConnectionResetError())], ids=["FIN", "RST"])
def test_who_goes_without_a_byte_is_empty(left: tuple[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    events, world.lies_there = left
    world.ready(events)
    assert world.outcome[0] is Reason.HANDSHAKE_ABORTED
    assert world.over[0].is_empty
    assert world.steps == 0


def test_who_goes_after_a_byte_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, WANT_READ, FAILED)
    world.stream.failure = SslFailure(FailureKind.TRUNCATED, "")
    world.ready(GONE)  # a byte, and the end behind it
    world.lies_there = b""
    world.ready(GONE)
    assert not world.over[0].is_empty


def test_one_that_was_given_up_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.shake.cancel()
    world.reactor.loop.pass_s(2 * TIMEOUT_S)
    assert world.over == []
    assert world.reactor.handler is None
    assert not world.shake.is_running


# The turnstile.


def test_one_step_in_each_turn_and_in_order() -> None:
    reactor = FakeReactor()
    turnstile = Turnstile(cast("Any", reactor))
    done: list[str] = []
    assert turnstile.may_pass()
    for name in "abc":
        assert not turnstile.may_pass()
        turnstile.wait(lambda name=name: done.append(name))  # type: ignore[misc]
    assert len(turnstile) == 3
    for so_far in ("a", "ab", "abc"):
        reactor.next_turn()
        assert "".join(done) == so_far
    assert reactor.unfinished is None
    reactor.next_turn()
    assert turnstile.may_pass()


def test_a_step_that_crashes_holds_nobody_up() -> None:
    reactor = FakeReactor()
    turnstile = Turnstile(cast("Any", reactor))
    done: list[str] = []

    def crashes() -> None:
        raise RuntimeError

    assert turnstile.may_pass()
    turnstile.wait(crashes)
    turnstile.wait(lambda: done.append("after"))
    reactor.next_turn()
    reactor.next_turn()
    assert reactor.crashes == [crashes]
    assert done == ["after"]
