"""Which address is taken next, and how long one that failed is left alone."""

from __future__ import annotations

from typing import Any, cast

import pytest
from support.clock import ClockLoop

from tlsidecar.dataplane.outbound.upstreams import FAILURE_STANDS_S, MAX_EJECTION_S, Health, Upstream, Upstreams
from tlsidecar.dataplane.snapshot import TrafficCounters
from tlsidecar.settings import Address

A, B, C = (Address(host="127.0.0.1", port=port) for port in (1, 2, 3))


class World:
    def __init__(self, *addresses: Address) -> None:
        self.clock = ClockLoop()
        self.loop = cast("Any", self.clock)
        self.health: dict[Address, Health] = {}
        self.upstreams = self.listener(*addresses)

    def listener(self, *addresses: Address) -> Upstreams:
        return Upstreams(self.loop, addresses, lambda address: self.health.setdefault(address, Health(self.loop)))


def fails(upstream: Upstream, times: int) -> None:
    for _ in range(times):
        upstream.failed("refused")


def test_the_one_with_fewest_connections_is_taken() -> None:
    a, b, c = World(A, B, C).upstreams.all
    upstreams = World(A, B, C).upstreams
    a, b, c = upstreams.all
    a.active, b.active, c.active = 2, 1, 3
    assert upstreams.choose() is b
    assert upstreams.choose([b]) is a
    assert upstreams.choose([a, b, c]) is b


@pytest.mark.parametrize(
    ("failures", "ejected_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, MAX_EJECTION_S), (99, MAX_EJECTION_S)]
)
def test_each_failure_in_a_row_ejects_for_twice_as_long(failures: int, ejected_s: float) -> None:
    world = World(A, B)
    a, b = world.upstreams.all
    b.active = 5
    fails(a, failures)
    assert world.upstreams.choose() is b
    world.clock.pass_s(ejected_s - 0.01)
    assert world.upstreams.choose() is b
    world.clock.pass_s(0.02)
    assert world.upstreams.choose() is a
    assert not a.healthy


def test_when_all_are_ejected_the_first_to_come_back_is_tried() -> None:
    world = World(A, B)
    a, b = world.upstreams.all
    fails(a, 3)
    fails(b, 1)
    assert world.upstreams.choose() is b


def test_a_single_address_is_always_tried() -> None:
    world = World(A)
    (a,) = world.upstreams.all
    fails(a, 9)
    assert world.upstreams.choose([a]) is a


def test_one_success_ends_it_for_all_who_go_there() -> None:
    world = World(A)
    (a,), (other,) = world.upstreams.all, world.listener(A).all
    fails(a, 4)
    assert not other.healthy
    assert other.record(0.0, TrafficCounters()).last_error == "refused"
    other.succeeded()
    assert a.healthy
    assert a.available
    assert a.record(0.0, TrafficCounters()).failures == 0


def test_a_remote_that_is_somebody_else_is_so_for_one_listener() -> None:
    world = World(A)
    (a,), (other,) = world.upstreams.all, world.listener(A).all
    a.refused("not expected")
    assert other.healthy
    assert a.record(0.0, TrafficCounters()).last_error == "not expected"
    other.succeeded()
    assert not a.healthy
    a.answered(world.clock.now)
    assert a.healthy


def test_a_handshake_that_fails_says_that_it_takes_connections() -> None:
    world = World(A)
    (a,), (other,) = world.upstreams.all, world.listener(A).all
    fails(a, 1)
    a.refused("not expected")
    assert other.healthy


def test_a_failure_stands_for_a_minute_and_is_then_forgotten() -> None:
    world = World(A)
    (a,) = world.upstreams.all
    fails(a, 5)
    world.clock.pass_s(FAILURE_STANDS_S - 1)
    assert not a.healthy
    world.clock.pass_s(2)
    assert a.healthy
    assert a.record(0.0, TrafficCounters()).last_error == ""
    fails(a, 1)
    assert a.failures == 1


def test_what_the_checks_hold_of_it_goes_before() -> None:
    world = World(A, B)
    a, b = world.upstreams.all
    a.checked, b.active = False, 9
    assert world.upstreams.choose() is b
    fails(b, 1)
    assert world.upstreams.choose() is b
    a.checked = True
    assert world.upstreams.choose() is a
