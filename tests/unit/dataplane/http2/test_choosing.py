"""Which of the two versions a client speaks: what the first bytes say, or ALPN."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tlsidecar.dataplane.http2.choosing import ChoosingConnection
from tlsidecar.dataplane.http2.frames import PREFACE
from tlsidecar.dataplane.reactor import EDGE, READ
from tlsidecar.outcomes import Reason, Refusal, Stage
from tlsidecar.settings import Limits


class Chosen:
    """What takes its place."""

    def __init__(self, version: str, sock: socket.socket, peer_address: str) -> None:
        self.version = version
        self.sock = sock
        self.peer_address = peer_address
        self.before: ChoosingConnection | None = None
        self.done = ""

    def succeed(self, other: ChoosingConnection) -> None:
        self.before = other

    def start(self) -> None:
        self.done = "started"

    def authorised(self) -> None:
        self.done = "authorised"


class World:
    """A listener's end: its own reactor, tally and lingerer."""

    now = 1000.0

    def __init__(self, *, terminates: bool) -> None:
        self.sock, self.client = socket.socketpair()
        self.sock.setblocking(False)
        self.watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self.replaced: list[Chosen] = []
        self.refusals: list[Refusal] = []
        self.let_go: list[object] = []
        shared = SimpleNamespace(reactor=self, ids=itertools.count(7), wall=lambda: 1e9, lingerer=self)
        frontend = SimpleNamespace(
            shared=shared,
            name="web",
            terminates=terminates,
            current=SimpleNamespace(contexts=SimpleNamespace(identity="", generation=1)),
            limits=Limits(keepalive_timeout_s=75.0, head_timeout_s=10.0),
            tally=SimpleNamespace(turned_away=lambda refusal, party: self.refusals.append(refusal)),
            replaced=self.replaced.append,
            gone=lambda *gone: self.let_go.append(gone),
        )
        self.connection = ChoosingConnection(
            cast("Any", frontend), self._make("HTTP/1.1"), self._make("HTTP/2"), self.sock, "192.0.2.7:4711"
        )

    def _make(self, version: str) -> Any:
        return lambda sock, peer_address: Chosen(version, sock, peer_address)

    def watch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        self.watched[descriptor] = (events, handler)

    def forget(self, descriptor: int) -> None:
        self.watched.pop(descriptor, None)

    def close(self, sock: object) -> None:
        self.let_go.append(sock)

    def said(self, data: bytes) -> str:
        """What was chosen once the client had said this, too; empty while that is open."""
        self.client.sendall(data)
        return self.woken()

    def woken(self) -> str:
        self.watched[self.sock.fileno()][1](READ)
        return self.replaced[0].version if self.replaced else ""


@pytest.fixture
def world() -> Iterator[World]:
    """Originating: the client speaks in the clear."""
    world = World(terminates=False)
    world.connection.start()
    yield world
    world.sock.close()
    world.client.close()


def test_the_preface_is_http2(world: World) -> None:
    assert world.watched[world.sock.fileno()][0] == READ | EDGE
    assert world.said(PREFACE + b"\0\0\0\4") == "HTTP/2"
    (chosen,) = world.replaced
    assert (chosen.sock, chosen.peer_address, chosen.before) == (world.sock, "192.0.2.7:4711", world.connection)
    assert chosen.done == "started"
    assert not world.watched  # who has taken its place watches
    assert world.sock.recv(100) == PREFACE + b"\0\0\0\4"  # nothing was taken


@pytest.mark.parametrize("said", [b"G", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1.1\r\n", b"\0", PREFACE[:-1] + b"x"])
def test_anything_else_is_http1(world: World, said: bytes) -> None:
    assert world.said(said) == "HTTP/1.1"


@pytest.mark.parametrize(("rest", "version"), [(PREFACE[5:], "HTTP/2"), (b"HTTP/1.1\r\n", "HTTP/1.1")])
def test_it_waits_while_it_may_be_either(world: World, rest: bytes, version: str) -> None:
    assert world.woken() == ""  # for nothing
    assert world.said(PREFACE[:1]) == ""
    assert world.said(PREFACE[1:5]) == ""
    assert world.said(rest) == version


def test_who_says_nothing_is_not_waited_for_for_ever(world: World) -> None:
    world.connection.check_time(world.now + 75)
    assert not world.refusals
    world.connection.check_time(world.now + 76)
    assert [refusal.reason for refusal in world.refusals] == [Reason.HEAD_TIMEOUT]
    assert world.let_go == [world.sock, (7, 0, 0)]
    assert not world.watched


def test_a_preface_that_has_begun_is_waited_for_as_a_head_is(world: World) -> None:
    world.now += 60
    assert world.said(PREFACE[:9]) == ""
    world.now += 9
    assert world.said(PREFACE[9:10]) == ""  # each byte more is no more time
    world.connection.check_time(world.now + 1)
    assert not world.refusals
    world.connection.check_time(world.now + 2)
    assert [refusal.reason for refusal in world.refusals] == [Reason.HEAD_TIMEOUT]
    assert not world.watched


def test_a_client_that_ends_first_is_left_to_http1(world: World) -> None:
    world.client.close()
    assert world.woken() == "HTTP/1.1"


def test_a_drain_turns_it_away(world: World) -> None:
    world.connection.drain()
    (refusal,) = world.refusals
    assert (refusal.stage, refusal.reason, refusal.connection_id) == (Stage.HANDSHAKE, Reason.DRAINING, 7)
    assert world.connection.draining


@pytest.mark.parametrize(("alpn", "version"), [("h2", "HTTP/2"), ("http/1.1", "HTTP/1.1"), ("", "HTTP/1.1")])
def test_terminating_it_is_what_alpn_says(alpn: str, version: str) -> None:
    world = World(terminates=True)
    stream = SimpleNamespace(parameters=lambda: SimpleNamespace(alpn=alpn))
    world.connection.peer = cast("Any", SimpleNamespace(stream=stream))
    world.connection.authorised()
    assert [(chosen.version, chosen.done) for chosen in world.replaced] == [(version, "authorised")]
    world.sock.close()
    world.client.close()
