"""Connections counted together, with what they move: those that came and went between two looks, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tlsidecar.api.filter import parse
from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tlsidecar.api.words import CONNECTION_GROUPS, GROUP_SORT_KEYS
from tlsidecar.dataplane.grouping import GROUP_MEASURES, grouped
from tlsidecar.dataplane.meter import LOOKED_AT_FOR_S, TICK_S, Meter
from tlsidecar.dataplane.snapshot import ConnectionRecord, GroupPage, GroupQuery
from tlsidecar.outcomes import Failure, Reason


class Loop:
    """Time that is turned by hand, and the one timer there is."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Any:
        self.timer = (self.now + delay_s, call)
        return SimpleNamespace(cancel=lambda: setattr(self, "timer", None))

    def turn(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timer is not None and self.timer[0] <= end:
            self.now, call = self.timer
            self.timer = None
            call()
        self.now = end


@dataclass
class Peer:
    """As much of a connection as is counted."""

    id: int
    name: str
    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    peer_address: str = "10.0.0.1:1000"
    generation: int = 1

    @property
    def identity(self) -> Any:
        return SimpleNamespace(name=self.name) if self.name else None

    @property
    def frontend(self) -> Any:
        return SimpleNamespace(name="web")

    @property
    def contexts(self) -> Any:
        return SimpleNamespace(generation=self.generation)

    def parameters(self) -> Any:
        return SimpleNamespace(version="TLSv1.3", cipher="AES", group="X25519")

    def record(self, now: float) -> ConnectionRecord:
        texts = ("mode", "protocol", "subject", "serial", "sni", "alpn")
        texts += ("tls_version", "cipher", "group", "rule", "state", "upstream")
        return ConnectionRecord(
            **dict.fromkeys(texts, ""),
            id=self.id,
            listener="web",
            peer_address=self.peer_address,
            identity=self.name,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            requests=self.requests,
            opened_at=datetime.fromtimestamp(0, UTC),
            idle_s=0.0,
            generation=self.generation,
            not_after=None,
            worker=0,
            streams=0,
        )


class World:
    def __init__(self, *peers: Peer) -> None:
        self.loop = Loop()
        self.peers = list(peers)
        self.meter = Meter(self.loop, lambda: self.peers)  # type: ignore[arg-type]

    def groups(self, by: str = "identity", **more: Any) -> GroupPage:
        self.meter.look()
        return grouped(len(self.peers), self.peers, self.meter.ended, self.meter, GroupQuery(by, **more))  # type: ignore[arg-type]

    def leave(self, peer: Peer) -> None:
        self.peers.remove(peer)
        self.meter.gone(peer)  # type: ignore[arg-type]


def test_rates_are_of_the_last_tick_and_count_who_left() -> None:
    staying, leaving = Peer(1, "a", requests=1000, bytes_in=10**6), Peer(2, "a")
    world = World(staying, leaving)
    first = world.groups()
    assert [(row.key, row.connections, row.requests) for row in first.rows] == [("a", 2, 1000)]
    assert first.over_s == 0.0
    staying.requests += 10
    leaving.bytes_out += 400
    world.leave(leaving)
    short = Peer(3, "b", requests=4)
    world.peers.append(short)
    world.leave(short)
    world.meter.failed(Failure(0.0, "web", "", Reason.UPSTREAM_REFUSED, connection_id=3))
    world.meter.failed(Failure(0.0, "web", "", Reason.UPSTREAM_REFUSED, connection_id=1))
    world.loop.turn(TICK_S)
    page = world.groups()
    assert page.over_s == TICK_S
    by_key = {row.key: row for row in page.rows}
    assert (by_key["a"].requests_per_s, by_key["a"].bytes_out_per_s, by_key["a"].failures_per_s) == (5.0, 200.0, 0.5)
    assert (by_key["b"].connections, by_key["b"].requests_per_s, by_key["b"].failures_per_s) == (0, 2.0, 0.5)
    world.loop.turn(TICK_S)
    assert [(row.key, row.requests_per_s) for row in world.groups().rows] == [("a", 0.0)]


def test_nothing_is_measured_while_nobody_looks() -> None:
    world = World(Peer(1, "a"))
    assert world.loop.timer is None
    world.leave(world.peers[0])
    world.meter.failed(Failure(0.0, "web", "", Reason.UPSTREAM_REFUSED, connection_id=1))
    world.groups()
    world.loop.turn(LOOKED_AT_FOR_S + 2 * TICK_S)
    assert world.loop.timer is None
    assert not world.meter.is_on
    assert world.meter.over_s is None


@pytest.mark.parametrize("by", CONNECTION_GROUPS)
def test_the_filter_of_a_group_can_be_read(by: str) -> None:
    for name in ("spiffe://prod.example/ns/shop/sa/web", "spiffe://prod.example/x", "web.internal", 'a "b" \\ c', ""):
        (row,) = World(Peer(1, name)).groups(by).rows
        assert str(parse(row.filter, CONNECTION_FIELDS)) == row.filter


def test_what_groups_are_called() -> None:
    shop, ops = Peer(1, "spiffe://prod.example/ns/shop/sa/web"), Peer(2, "ops.internal", peer_address="[fd00::1]:9")
    world = World(shop, ops, replace(shop, id=3, name="spiffe://other.example/ns/shop/sa/web", generation=2))
    assert {row.key for row in world.groups("namespace").rows} == {
        "spiffe://prod.example/ns/shop",
        "spiffe://other.example/ns/shop",
        "",
    }
    assert [(row.key, row.filter) for row in world.groups("peer", sort="key", descending=False).rows] == [
        ("10.0.0.1", "peer:10.0.0.1"),
        ("fd00::1", "peer:fd00::1"),
    ]
    assert [row.key for row in world.groups("generation").rows] == ["1", "2"]
    assert [row.key for row in world.groups("tls").rows] == ["TLSv1.3 AES X25519"]
    assert [(row.key, row.connections) for row in world.groups("listener").rows] == [("web", 3)]


def test_every_way_to_sort_is_there() -> None:
    assert set(GROUP_MEASURES) == set(GROUP_SORT_KEYS)


async def test_it_runs_on_a_real_loop() -> None:
    meter = Meter(asyncio.get_running_loop(), list)
    meter.look()
    assert meter.is_on
    meter.close()
    assert not meter.is_on
