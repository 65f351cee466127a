"""The shell round a session: who is read, who is given up, and what is recorded of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.http1.conversation import listener
from unit.dataplane.http2.talk import CALL, OK, Side, head
from unit.dataplane.shells import End, HttpFrontend

from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.dataplane.http2 import connection as module
from tlsidecar.dataplane.http2 import frames
from tlsidecar.dataplane.http2.connection import Http2Connection
from tlsidecar.dataplane.http2.heads import Heads
from tlsidecar.dataplane.reactor import READ
from tlsidecar.dataplane.stream import CLOSED
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits

LIMITS = Limits(buffer_bytes=1000, write_timeout_s=30)


class Http2End(End):
    """What it is sent is in ``side``, as its frames."""

    def __init__(self) -> None:
        super().__init__()
        self.side = Side()

    def send(self, data: bytes | memoryview) -> bool:
        begun = len(self.sent)
        if not super().send(data):
            return False
        self.side.hear(self.sent[begun:].removeprefix(frames.PREFACE))
        return True


class World(HttpFrontend):
    """Terminating, whose upstream is reached when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = replace(listener(), http2="only", limits=LIMITS)
        super().__init__(settings)
        self.client, self.upstream = Http2End(), Http2End()
        monkeypatch.setattr(module, "Reach", lambda _outbound, _contexts, reached, missed, alpn: self._reach(reached))
        monkeypatch.setattr(module, "PlainEndpoint", lambda _reactor, _sock: self.upstream)
        heads = Heads(HttpRules.of(settings), terminates=True)
        self.connection = Http2Connection(
            cast("Any", self.seen), self.services, cast("Any", None), "192.0.2.7:4711", heads=heads
        )
        self.reach: Any = None
        self.connection._serve(cast("Any", self.client))

    def _reach(self, reached: Any) -> Any:
        self.reach = SimpleNamespace(start=lambda: None, cancel=lambda: None, done=reached)
        return self.reach

    def says(self, *said: bytes) -> None:
        self.client.unread.append(b"".join(said))
        self.connection._client_readable(READ)

    def begins(self, *said: bytes) -> None:
        """With the preface, and an upstream that is reached and has said its SETTINGS."""
        self.says(frames.PREFACE, frames.settings([]), *said)
        self.reach.done(SimpleNamespace(upstream=SimpleNamespace(text="127.0.0.1:1", active=1), peer=None, sock=None))
        self.answers(frames.settings([]), frames.SETTINGS_ACK)

    def answers(self, *said: bytes) -> None:
        self.upstream.unread.append(b"".join(said))
        self.read_upstream()

    def read_upstream(self) -> None:
        assert self.connection._upstream is not None
        self.connection._upstream.readable(READ)

    def passes(self, seconds: float) -> None:
        self.connection.check_time(self.waits(seconds))


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
    world.passes(1)
    world.client.queued_bytes = 10
    world.passes(30)
    assert world.closed == []
    world.passes(1)
    assert [entry.reason for entry in world.closed] == [Reason.SLOW_READER]
    assert world.client.closed == "reset"


def test_a_service_that_takes_nothing_costs_its_connection(world: World) -> None:
    world.begins(head(1, CALL), head(3))
    world.upstream.queued_bytes = 10
    world.passes(1)
    world.passes(31)
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
    world.passes(2)
    world.upstream.unread.append(CLOSED)
    world.read_upstream()
    assert (world.upstream_errors, world.failures) == ([], [])
    assert world.client.side.heard[-1] == ("goaway", 0, "NO_ERROR")
    assert world.client.closed == "in order"


def test_what_it_reports(world: World) -> None:
    world.begins(head(1, CALL, end=False), head(3))
    assert (world.connection.streams, world.connection.requests) == (2, 2)
    assert world.connection.under_way is not None
    assert world.connection.under_way[0] == "127.0.0.1:1"
    assert world.connection.bytes_out == len(world.client.side.raw)
