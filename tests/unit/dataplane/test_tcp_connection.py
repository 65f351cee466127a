"""A TCP connection: when its upstream is reached, what a failure of either side is called, and how both are left."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from unit.dataplane.tcp_world import THEM, World

from tlsidecar.dataplane.connection import ConnectionState
from tlsidecar.dataplane.ending import Ending
from tlsidecar.dataplane.proxy_protocol import SIGNATURE
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Mode

ORIGINATE = Mode.ORIGINATE


def test_terminating_nothing_is_opened_before_the_peer_is_authorised(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    assert (world.reaches, world.connection.under_way) == ([], None)
    world.is_authorised()
    world.waits(2)
    world.is_reached()
    assert (world.relay.ends, world.relay.remote, world.relay.state) == (("came", "other"), False, "started")
    assert world.relay.pending_in == b""
    assert (world.connection.wait_s, world.connection.upstream_address) == (2, "127.0.0.1:2")
    (opened,) = world.opened
    assert (opened.identity, opened.rule) == ("them.test", "dns:them.test")


def test_originating_the_handshake_is_the_remotes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, ORIGINATE)
    world.connection.start()
    world.reach.trying(world.upstream, False)
    assert world.connection.state is ConnectionState.CONNECTING
    world.waits(2)
    world.reach.trying(world.upstream, True)
    assert (world.connection.state, world.connection.wait_s) == (ConnectionState.HANDSHAKING, 2)
    world.waits(1)
    world.is_reached()
    assert (world.relay.ends, world.relay.remote) == (("other", "came"), True)
    assert (world.connection.wait_s, world.connection.handshake_s, world.connection.identity) == (2, 0.25, THEM)


def test_a_service_is_told_first_who_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, proxy_protocol=True)
    world.is_authorised()
    world.is_reached()
    assert world.relay.pending_in.startswith(SIGNATURE)
    assert b"here.test" in world.relay.pending_in


@pytest.mark.parametrize(("mode", "carried"), [(Mode.TERMINATE, (3, 4)), (ORIGINATE, (4, 3))])
def test_bytes_are_counted_as_the_party_sees_them(
    mode: Mode, carried: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, mode)
    world.is_authorised()
    world.is_reached()
    world.relay.bytes_in, world.relay.bytes_out = 3, 4
    assert (world.connection.bytes_in, world.connection.bytes_out) == (3, 4)
    assert world.connection.under_way == ("127.0.0.1:2", *carried)
    world.connection.close(Reason.COMPLETED)
    assert world.carried == [("127.0.0.1:2", *carried)]
    assert (world.upstream.active, world.gone) == (0, [(1, 3, 4)])


def test_an_upstream_that_was_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.is_authorised()
    world.is_missed()
    (refusal,) = world.turned_away
    assert (refusal.stage, refusal.reason, refusal.detail) == (Stage.UPSTREAM, Reason.UPSTREAM_REFUSED, "in vain")
    assert (refusal.identity, world.opened, world.reach.state) == ("them.test", [], "started")
    assert world.ended() == {"came": "lingers"}
    assert world.stream.done == ["close_notify", "released"]


def test_a_service_that_accepts_and_resets_cuts_its_peer_off(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.is_authorised()
    world.waits(2)
    world.is_missed(Reason.UPSTREAM_RESET)
    assert (world.turned_away, len(world.opened), world.ends) == ([], 1, [Reason.UPSTREAM_RESET])
    assert world.connection.wait_s == 2
    assert world.ended() == {"came": "heard out"}


def test_a_remote_whose_handshake_failed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, ORIGINATE)
    world.connection.start()
    judge = SimpleNamespace(identity=THEM, rule=None, chain=())
    handshake = SimpleNamespace(seconds=0.5, judge=judge, is_running=False, cancel=lambda: None, stream=world.stream)
    world.is_missed(Reason.NOT_EXPECTED, handshake=handshake)
    (refusal,) = world.turned_away
    assert (refusal.stage, refusal.side, refusal.identity) == (Stage.VERIFY, Side.PEER, "them.test")
    assert world.connection.handshake_s == 0.5
    assert world.ended() == {"came": "reset"}  # an application must not take that for an end


FAILURES = [
    pytest.param(Mode.TERMINATE, Reason.UPSTREAM_RESET, 0, Reason.UPSTREAM_RESET, id="the service resets"),
    pytest.param(ORIGINATE, Reason.UPSTREAM_RESET, 0, Reason.APP_RESET, id="the application resets"),
    pytest.param(ORIGINATE, Reason.REFUSED_BY_PEER, 0, Reason.REFUSED_BY_PEER, id="the remote refuses us"),
    pytest.param(ORIGINATE, Reason.REFUSED_BY_PEER, 1, Reason.REFUSED_BY_PEER, id="an alert of the remote's, later"),
    pytest.param(Mode.TERMINATE, Reason.REFUSED_BY_PEER, 0, Reason.REFUSED_BY_PEER, id="an alert of the client's"),
]


@pytest.mark.parametrize(("mode", "told", "bytes_in", "reason"), FAILURES)
def test_what_a_failure_of_the_relay_is_called(
    mode: Mode, told: Reason, bytes_in: int, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, mode)
    world.is_authorised()
    world.is_reached()
    world.relay.bytes_in = bytes_in
    world.connection.relay_ended(told, "so it was")
    assert world.ends == [reason]
    refused_us = mode is ORIGINATE and told is Reason.REFUSED_BY_PEER and not bytes_in
    assert [(each.stage, each.side) for each in world.refusals] == ([(Stage.VERIFY, Side.PEER)] if refused_us else [])
    assert world.counted == (["so it was"] if refused_us else [])  # held against the upstream
    service_reset = mode is Mode.TERMINATE and told is Reason.UPSTREAM_RESET
    assert world.upstream_errors == ([told] if refused_us or service_reset else [])


def test_who_rests_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.connection.check_time(world.waits(500))  # its handshake has a deadline of its own
    world.is_authorised()
    world.is_reached()
    world.relay.active_at = world.time.s
    world.connection.check_time(world.waits(100))
    assert world.ends == []
    world.connection.check_time(world.waits(1))
    assert world.ends == [Reason.IDLE_TIMEOUT]


def test_a_drain_lets_a_relay_be_and_turns_the_others_away(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.is_authorised()
    world.reach.trying(world.upstream, False)
    world.connection.drain()
    (refusal,) = world.turned_away
    assert (refusal.stage, refusal.reason) == (Stage.UPSTREAM, Reason.DRAINING)
    assert world.reach.state == "cancelled"

    world = World(monkeypatch)
    world.is_authorised()
    world.is_reached()
    world.connection.drain()
    assert (world.connection.draining, world.ends, world.relay.state) == (True, [], "started")
    world.connection.retire(Reason.MAX_AGE)
    assert (world.ends, world.relay.state) == ([Reason.MAX_AGE], "stopped")


LEFT = [
    pytest.param(Mode.TERMINATE, Ending.ENDED, "closed", "closed", [], id="both have ended"),
    pytest.param(Mode.TERMINATE, Ending.POLITE, "lingers", "closed", ["close_notify"], id="told an end"),
    pytest.param(Mode.TERMINATE, Ending.CUT, "heard out", "cut", [], id="cut"),
    pytest.param(Mode.TERMINATE, Ending.KILLED, "reset", "reset", [], id="killed"),
    pytest.param(ORIGINATE, Ending.ENDED, "closed", "closed", [], id="originating, both have ended"),
    pytest.param(ORIGINATE, Ending.POLITE, "closed", "lingers", ["close_notify"], id="originating, told an end"),
    pytest.param(ORIGINATE, Ending.CUT, "heard out", "cut", [], id="originating, cut"),
    pytest.param(ORIGINATE, Ending.KILLED, "reset", "reset", [], id="originating, killed"),
]


@pytest.mark.parametrize(("mode", "ending", "came", "other", "said"), LEFT)
def test_how_both_sockets_are_let_go(
    mode: Mode, ending: Ending, came: str, other: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, mode)
    world.is_authorised()
    world.is_reached()
    world.connection.stop(ending)
    assert world.ended() == {"came": came, "other": other}
    assert world.stream.done == [*said, "released"]


@pytest.mark.parametrize("mode", [Mode.TERMINATE, ORIGINATE])
def test_an_alert_of_ours_is_not_destroyed_by_a_reset(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, mode)
    world.is_authorised()
    world.is_reached()
    world.stream.failure = cast("Any", SimpleNamespace(was_alerted=True))
    world.connection.stop(Ending.CUT)
    assert world.ended()["came" if mode is Mode.TERMINATE else "other"] == "lingers"
