"""Reaching an upstream: each address once, in turn; what happened is counted, and told once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from certs.clock import SYSTEM_CLOCK
from tlsidecar.dataplane.outbound import dial
from tlsidecar.dataplane.outbound.attempt import Missed
from tlsidecar.dataplane.outbound.network import Network
from tlsidecar.dataplane.outbound.outbound import Outbound
from tlsidecar.dataplane.outbound.reach import Reach, Reached
from tlsidecar.dataplane.outbound.upstreams import Upstream
from tlsidecar.dataplane.policy import Policy
from tlsidecar.dataplane.reactor import Reactor
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.tally import Tally
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Address, Limits, ListenerSettings, Mode

CONTEXTS = cast("Any", SimpleNamespace(generation=7, identity="default"))


def closed_port() -> Address:
    """A port of an address of our own that nobody listens on."""
    with socket.create_server(("127.0.0.3", 0)) as sock:
        return Address(host="127.0.0.3", port=sock.getsockname()[1])


class World:
    def __init__(self, *addresses: Address, connect_timeout_s: float = 5.0) -> None:
        loop = asyncio.get_running_loop()
        self.reactor = Reactor(loop)
        shared = Shared(self.reactor, SYSTEM_CLOCK, cast("Any", None), [CONTEXTS])
        limits = Limits(upstream_connect_timeout_s=connect_timeout_s)
        settings = ListenerSettings("web", Mode.TERMINATE, Address(port=1), addresses, limits=limits)
        self.network = Network(loop)
        self.tally = Tally("web", cast("Any", SimpleNamespace(exchanged=None)))
        current = shared.current["default"]
        self.outbound = Outbound(shared, self.network, settings, Policy.of(settings), self.tally, current)
        self.said: list[str] = []
        self.over: asyncio.Future[Reached | Missed] = loop.create_future()

    def reach(self) -> Reach:
        return Reach(self.outbound, CONTEXTS, self.over.set_result, self.over.set_result, trying=self._trying)

    def _trying(self, upstream: Upstream, shaking: bool) -> None:
        self.said.append(f"{'shaking hands with' if shaking else 'dialling'} {upstream.address.port}")

    async def outcome(self) -> Reached | Missed:
        return await asyncio.wait_for(self.over, 10)

    def active(self) -> list[int]:
        return [upstream.active for upstream in self.outbound.upstreams.all]


@contextlib.contextmanager
def serving() -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield Address(host="127.0.0.1", port=sock.getsockname()[1])


async def test_the_first_that_answers_is_reached() -> None:
    with serving() as there:
        gone = closed_port()
        world = World(gone, there)
        world.reach().start()
        reached = await world.outcome()
        assert isinstance(reached, Reached)
        reached.sock.close()
        assert (reached.upstream.address, reached.peer, reached.generation) == (there, None, 7)
        assert world.said == [f"dialling {gone.port}", f"dialling {there.port}"]
        assert world.active() == [0, 1]  # whoever got it counts among them
        assert world.tally.counters.upstream_errors == {"upstream_refused": 1}
        assert [upstream.healthy for upstream in world.outbound.upstreams.all] == [False, True]


async def test_each_is_tried_once_and_the_last_word_is_told() -> None:
    first, second = closed_port(), closed_port()
    world = World(first, second)
    world.reach().start()
    missed = await world.outcome()
    assert isinstance(missed, Missed)
    assert (missed.stage, missed.reason, missed.handshake) == (Stage.UPSTREAM, Reason.UPSTREAM_REFUSED, None)
    assert missed.detail == f"{second}: Connection refused"
    assert world.active() == [0, 0]
    assert world.tally.counters.upstream_errors == {"upstream_refused": 2}


async def test_one_that_was_given_up_tells_nobody() -> None:
    with serving() as there:
        world = World(there)
        reach = world.reach()
        world.network.resolver.resolve = lambda address, resolved: None  # type: ignore[method-assign]
        reach.start()
        assert world.active() == [1]
        reach.cancel()
        reach.cancel()
        assert world.active() == [0]
        assert not world.over.done()


async def test_one_that_never_answers_is_late() -> None:
    world = World(Address(host="127.0.0.1", port=1), connect_timeout_s=0.01)
    world.network.resolver.resolve = lambda address, resolved: None  # type: ignore[method-assign]
    world.reach().start()
    missed = await world.outcome()
    assert isinstance(missed, Missed)
    assert missed.reason is Reason.UPSTREAM_TIMEOUT
    assert "0.01 s" in missed.detail


async def test_want_of_descriptors_is_not_held_against_the_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as there:
        world = World(there)
        monkeypatch.setattr(dial.descriptors, "may_dial", lambda descriptor: False)
        world.reach().start()
        missed = await world.outcome()
        assert isinstance(missed, Missed)
        assert missed.reason is Reason.FD_EXHAUSTED
        assert world.outbound.upstreams.all[0].healthy
        assert world.tally.counters.upstream_errors == {"fd_exhausted": 1}


async def test_one_that_leaves_within_the_handshake_is_followed_by_the_next() -> None:
    """It has shown nothing that could be judged. One that was judged is the last word: see the other reason."""
    for reason, is_followed in ((Reason.UPSTREAM_TLS, True), (Reason.UNKNOWN_CA, False)):
        with socket.create_server(("127.0.0.3", 0)) as server:
            other = Address(host="127.0.0.3", port=server.getsockname()[1])
            world = World(closed_port(), other)
            reach = world.reach()
            first = reach.upstream = world.outbound.upstreams.all[0]
            reach._tried.append(first)
            first.active = 1
            world.tally.handshake_began()
            handshake = cast("Any", SimpleNamespace(seconds=0.1))
            reach.attempt_missed(Missed(Stage.UPSTREAM, reason, "it left", Side.LOCAL, handshake, ""))
            outcome = await world.outcome()
            assert isinstance(outcome, Reached) is is_followed
            assert not first.healthy
            assert world.tally.counters.upstream_errors == {"upstream_tls": 1}
            if isinstance(outcome, Reached):
                assert outcome.upstream.address == other
                outcome.sock.close()
