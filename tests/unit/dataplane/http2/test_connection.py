"""The shell round a session: who is read, who is given up, and what is recorded of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.http1.conversation import Ledger, identity_headers, listener
from unit.dataplane.http2.talk import CALL, OK, Side, head

from tlsidecar.dataplane.http.exchange import Downstream
from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.dataplane.http2 import connection as module
from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.connection import Http2Connection
from tlsidecar.dataplane.http2.heads import Heads
from tlsidecar.dataplane.reactor import READ
from tlsidecar.dataplane.stream import BUFFER, CLOSED, WANT_READ
from tlsidecar.outcomes import AccessEntry, Failure, Reason, Refusal
from tlsidecar.settings import Limits

LIMITS = Limits(buffer_bytes=1000, write_timeout_s=30)


class End:
    """One side's endpoint: what it is sent is in ``side``, and what it does not take counts as ``queued_bytes``."""

    failure = None

    def __init__(self) -> None:
        self.side = Side()
        self.unread = b""
        self.ended = False
        self.queued_bytes = 0
        self.is_reading = False
        self.closed = ""
        self.preface = b""

    def attach(self, *_: object) -> None:
        self.is_reading = True

    def widen(self, _wider: bool) -> None:
        pass

    def pause(self) -> None:
        self.is_reading = False

    def resume(self) -> None:
        self.is_reading = True

    def read(self) -> int:
        if not self.unread:
            return CLOSED if self.ended else WANT_READ
        data, self.unread = self.unread, b""
        BUFFER[: len(data)] = data
        return len(data)

    def send(self, data: bytes | memoryview) -> bool:
        said = bytes(data)
        if said.startswith(frames.PREFACE):
            said = said[len(frames.PREFACE) :]
        self.side.hear(said)
        return True

    def close(self) -> None:
        self.closed = "closed"

    def cut(self, _lingerer: object = None) -> None:
        self.closed = "cut"

    def linger(self, _lingerer: object) -> None:
        self.closed = "in order"


class World:
    """A listener's end: its own clock, tally and services."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.failures: list[Failure] = []
        self.refusals: list[Refusal] = []
        self.upstream_errors: list[Reason] = []
        self.closed: list[AccessEntry] = []
        self.client, self.upstream = End(), End()
        monkeypatch.setattr(module, "Reach", lambda _outbound, _contexts, reached, missed, alpn: self._reach(reached))
        monkeypatch.setattr(module, "PlainEndpoint", lambda _reactor, _sock: self.upstream)
        settings = replace(listener(), http2="only", limits=LIMITS)
        tally = SimpleNamespace(
            opened=lambda opened: None,
            closed=lambda entry, party: self.closed.append(entry),
            refused=self.refusals.append,
            failed=lambda failure, party: self.failures.append(failure),
            upstream_failed=self.upstream_errors.append,
            grpc_answered=lambda status, http_status=0: None,
        )
        reactor = SimpleNamespace(now=self.now, refresh=lambda: None, loop=SimpleNamespace(time=lambda: self.now))
        frontend = SimpleNamespace(
            shared=SimpleNamespace(reactor=reactor, ids=itertools.count(1), wall=lambda: 1e9, lingerer=None),
            name="web",
            mode="terminate",
            protocol="http",
            terminates=True,
            limits=LIMITS,
            tally=tally,
            current=SimpleNamespace(contexts=SimpleNamespace(identity="", generation=1)),
            outbound=None,
            gone=lambda *_: None,
        )
        self.ledger = Ledger()
        downstream = Downstream(self.ledger, identity_headers(settings), wall=lambda: 1e9)
        services = SimpleNamespace(downstream=lambda _connection, _chain: downstream)
        heads = Heads(HttpRules.of(settings), terminates=True)
        self.connection = Http2Connection(
            cast("Any", frontend), cast("Any", services), cast("Any", None), "192.0.2.7:4711", heads=heads
        )
        self.reach: Any = None
        self.connection._serve(cast("Any", self.client))

    def _reach(self, reached: Any) -> Any:
        self.reach = SimpleNamespace(start=lambda: None, cancel=lambda: None, done=reached)
        return self.reach

    def says(self, *said: bytes) -> None:
        self.client.unread = b"".join(said)
        self.connection._client_readable(READ)

    def begins(self, *said: bytes) -> None:
        """With the preface, and an upstream that is reached and has said its SETTINGS."""
        self.says(frames.PREFACE, frames.settings([]), *said)
        self.reach.done(SimpleNamespace(upstream=SimpleNamespace(text="127.0.0.1:1", active=1), peer=None, sock=None))
        self.answers(frames.settings([]), frames.SETTINGS_ACK)

    def answers(self, *said: bytes) -> None:
        self.upstream.unread = b"".join(said)
        self.connection.upstream_readable(cast("Any", self.upstream))

    def waits(self, seconds: float) -> None:
        self.now += seconds
        self.connection.reactor.now = self.now
        self.connection.check_time(self.now)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_little_is_read_while_the_upstream_is_being_reached(world: World) -> None:
    world.says(frames.PREFACE, frames.settings([]))
    world.says(head(1))
    assert not world.client.is_reading
    assert world.upstream.side.heard == []
    world.reach.done(SimpleNamespace(upstream=SimpleNamespace(text="127.0.0.1:1", active=1), peer=None, sock=None))
    assert [each[0] for each in world.upstream.side.heard] == ["settings", "head"]
    assert world.client.is_reading


def test_whose_other_side_does_not_keep_up_is_not_read(world: World) -> None:
    world.begins(head(1, CALL, end=False))
    world.upstream.queued_bytes = LIMITS.buffer_bytes + 1
    world.says(frames.data(1, b"x", end_stream=False))
    assert (world.client.is_reading, world.upstream.is_reading) == (False, True)
    world.upstream.queued_bytes = 0
    world.connection.drained()
    assert world.client.is_reading
    world.client.queued_bytes = LIMITS.buffer_bytes + 1
    world.answers(head(1, OK, end=False))
    assert (world.client.is_reading, world.upstream.is_reading) == (True, False)
    world.client.queued_bytes = 4 * LIMITS.buffer_bytes + 1  # it may be busy sending, but not for ever
    world.connection.drained()
    assert (world.client.is_reading, world.upstream.is_reading) == (False, False)


def test_a_client_that_takes_nothing(world: World) -> None:
    world.begins(head(1))
    world.waits(1)
    world.client.queued_bytes = 10
    world.waits(30)
    assert world.closed == []
    world.waits(1)
    assert [entry.reason for entry in world.closed] == [Reason.SLOW_READER]
    assert world.client.closed == "cut"


def test_a_service_that_takes_nothing_costs_its_connection(world: World) -> None:
    world.begins(head(1, CALL), head(3))
    world.upstream.queued_bytes = 10
    world.waits(1)
    world.waits(31)
    assert world.upstream.closed == "closed"
    assert world.client.side.heads(1)[0][b"grpc-status"] == b"14"
    assert world.client.side.heads(3)[0][b":status"] == b"504"
    assert world.client.side.heard[-1] == ("goaway", 3, "NO_ERROR")
    assert world.ledger.upstream_errors == [Reason.UPSTREAM_TIMEOUT] * 2
    assert [entry.reason for entry in world.closed] == [Reason.COMPLETED]
    assert world.client.closed == "in order"


@pytest.mark.parametrize("asked", [b"", head(1)], ids=["asked nothing", "asked"])
def test_a_service_that_breaks_the_protocol_is_named_once(world: World, asked: bytes) -> None:
    world.begins(asked)
    world.answers(frames.frame(frames.PING, 0, 1, bytes(8)))
    assert world.upstream.side.heard[-1] == ("goaway", 0, "PROTOCOL_ERROR")
    assert world.upstream.closed == "closed"
    assert world.ledger.upstream_errors + world.upstream_errors == [Reason.UPSTREAM_BAD_RESPONSE]
    told = [(failure.reason, failure.upstream) for failure in world.failures]
    assert told == ([] if asked else [(Reason.UPSTREAM_BAD_RESPONSE, "127.0.0.1:1")])
    assert [refusal.reason for refusal in world.ledger.refusals] == ([Reason.UPSTREAM_BAD_RESPONSE] if asked else [])
    assert world.refusals == []


def test_a_service_that_goes_while_nothing_was_asked_is_no_failure(world: World) -> None:
    world.begins()
    world.waits(2)
    world.upstream.ended = True
    world.connection.upstream_readable(cast("Any", world.upstream))
    assert (world.upstream_errors, world.failures) == ([], [])
    assert world.client.side.heard[-1] == ("goaway", 0, "NO_ERROR")
    assert world.client.closed == "in order"


def test_what_it_reports(world: World) -> None:
    world.begins(head(1, CALL, end=False), head(3))
    assert (world.connection.streams, world.connection.requests) == (2, 2)
    assert world.connection.under_way is not None
    assert world.connection.under_way[0] == "127.0.0.1:1"
    assert world.connection.bytes_out == len(world.client.side.raw)
