"""What the pool asks of a connection, and what it does with the answers: of one exchange at a time, and of many."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import Any, cast

from support.clock import ClockLoop

from tlsidecar.dataplane.outbound.pool import Pool, UpstreamConnection
from tlsidecar.dataplane.outbound.reach import Reached
from tlsidecar.dataplane.outbound.upstreams import Health, Upstream, Upstreams
from tlsidecar.dataplane.reactor import Reactor
from tlsidecar.settings import Address

A, B = (Address(host="127.0.0.1", port=port) for port in (1, 2))


class Connection:
    """Takes ``room`` exchanges at once."""

    def __init__(self, upstream: Upstream, room: int = 1) -> None:
        self.upstream = upstream
        self.room = room
        self.running = 0
        self.expired = False
        self.closed = False
        self.is_listed = False

    @property
    def is_available(self) -> bool:
        return not self.closed and self.running < self.room

    @property
    def is_idle(self) -> bool:
        return not self.running

    def has_expired(self, now: float, generation: int) -> bool:
        return self.expired

    def begin(self) -> None:
        self.running += 1

    def end(self, now: float, *, reusable: bool) -> None:
        self.running -= 1
        if not reusable:
            self.room = 0

    def close(self) -> None:
        self.closed = True


class World:
    def __init__(self, *addresses: Address, limit: int = 2, room: int = 1) -> None:
        loop = cast("Any", ClockLoop())
        reactor = SimpleNamespace(now=1000.0)
        shared = SimpleNamespace(reactor=reactor)
        current = SimpleNamespace(contexts=SimpleNamespace(generation=1))
        self.upstreams = Upstreams(loop, addresses, lambda address: Health(loop))
        outbound = cast("Any", SimpleNamespace(shared=shared, upstreams=self.upstreams, current=current))
        self.room = room
        self.pool: Pool[Connection] = Pool(outbound, limit, lambda pool, reached: Connection(reached.upstream, room))

    def opened(self, upstream: Upstream | None = None) -> Connection:
        """A new connection with one exchange on it, as after an opening."""
        got: list[Connection] = []
        reached = SimpleNamespace(upstream=upstream or self.upstreams.all[0])
        reached.upstream.active += 1
        self.pool._opened(got.append, cast("Any", reached))
        return got[0]

    def counts(self) -> list[tuple[int, int]]:
        return [(upstream.active, upstream.idle) for upstream in self.upstreams.all]


def test_what_was_given_back_is_taken_again() -> None:
    world = World(A)
    assert world.pool.take() is None
    one = world.opened()
    assert world.counts() == [(1, 0)]
    assert world.pool.take() is None  # it is busy
    world.pool.give_back(one, reusable=True)
    assert world.counts() == [(0, 1)]
    assert world.pool.take() is one
    assert world.counts() == [(1, 0)]


def test_the_one_used_last_is_taken_first() -> None:
    world = World(A)
    first, second = world.opened(), world.opened()
    world.pool.give_back(second, reusable=True)
    world.pool.give_back(first, reusable=True)
    assert [world.pool.take(), world.pool.take(), world.pool.take()] == [first, second, None]


def test_what_is_not_reusable_is_closed() -> None:
    world = World(A)
    one = world.opened()
    world.pool.give_back(one, reusable=False)
    assert one.closed
    assert world.counts() == [(0, 0)]
    assert world.pool.take() is None


def test_no_more_are_kept_idle_than_the_limit() -> None:
    world = World(A, limit=2)
    connections = [world.opened() for _ in range(3)]
    for connection in connections:
        world.pool.give_back(connection, reusable=True)
    assert [connection.closed for connection in connections] == [False, False, True]
    assert world.counts() == [(0, 2)]


def test_what_has_expired_is_closed_and_the_next_one_taken() -> None:
    world = World(A)
    good, bad = world.opened(), world.opened()
    world.pool.give_back(good, reusable=True)
    world.pool.give_back(bad, reusable=True)
    bad.expired = True
    assert world.pool.take() is good
    assert bad.closed
    assert world.counts() == [(1, 0)]


def test_one_that_ends_while_it_idles_is_dropped() -> None:
    world = World(A)
    one = world.opened()
    world.pool.give_back(one, reusable=True)
    world.pool.drop(one)
    assert one.closed
    assert world.counts() == [(0, 0)]
    assert world.pool.take() is None


def test_only_the_upstream_that_would_be_chosen_now() -> None:
    world = World(A, B)
    a, b = world.upstreams.all
    of_a = world.opened(a)
    world.pool.give_back(of_a, reusable=True)
    a.active = 1  # so that b is chosen
    assert world.pool.take() is None
    b.active = 5
    assert world.pool.take() is of_a


def test_one_with_room_serves_many_at_once() -> None:
    world = World(A, room=3)
    one = world.opened()
    assert [world.pool.take() for _ in range(3)] == [one, one, None]
    assert world.counts() == [(3, 0)]
    world.pool.give_back(one, reusable=True)
    assert world.counts() == [(2, 0)]
    assert world.pool.take() is one
    for _ in range(3):
        world.pool.give_back(one, reusable=True)
    assert world.counts() == [(0, 1)]
    assert not one.closed


def test_one_that_is_going_away_carries_its_exchanges_to_their_end() -> None:
    world = World(A, room=3)
    one = world.opened()
    assert world.pool.take() is one
    world.pool.give_back(one, reusable=False)  # it was told to open nothing more
    assert world.pool.take() is None
    assert not one.closed
    world.pool.give_back(one, reusable=False)
    assert one.closed
    assert world.counts() == [(0, 0)]


def test_closing_keeps_nothing() -> None:
    world = World(A)
    idle, busy = world.opened(), world.opened()
    world.pool.give_back(idle, reusable=True)
    world.pool.close()
    assert idle.closed
    assert not busy.closed
    world.pool.give_back(busy, reusable=True)
    assert busy.closed
    assert world.counts() == [(0, 0)]


class Owner:
    """Whose exchange is under way."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def upstream_readable(self) -> None:
        self.heard.append("owner")

    def passing(self, _events: int) -> None:
        self.heard.append("lent")

    def upstream_drained(self) -> None: ...

    def upstream_broken(self) -> None: ...

    def fail(self) -> None:
        self.heard.append("failed")


async def test_whom_it_is_lent_to_reads_it_until_the_exchange_is_over() -> None:
    """Nobody may read the next exchange's answer who was to read this one's."""
    near, far = socket.socketpair()
    near.setblocking(False)
    reactor = Reactor(asyncio.get_running_loop())
    dropped: list[object] = []
    pool = cast("Any", SimpleNamespace(drop=dropped.append))
    upstream = cast("Any", SimpleNamespace(text="a"))
    connection = UpstreamConnection(pool, reactor, Reached(upstream, near, None, 0.0, 1))
    owner = Owner()
    far.send(b"x")

    def hears() -> list[str]:
        owner.heard.clear()
        reactor._turn()
        return list(owner.heard)

    try:
        for _ in range(2):
            connection.begin()
            connection.owner = owner
            assert hears() == ["owner"]
            connection.lend(owner.passing)
            connection.endpoint.pause()
            assert hears() == []
            connection.endpoint.resume()
            assert hears() == ["lent"]
            connection.end(reactor.now, reusable=True)
        assert (hears(), dropped) == ([], [connection])  # it spoke though nobody had asked
        connection.begin()
        connection.owner = owner
        connection.lend(owner.passing)
        connection.end(reactor.now, reusable=False)
        assert hears() == []
    finally:
        connection.close()
        far.close()
        reactor.close()
