"""What is shown before there are two totals to compare, and how long handshakes took lately."""

from __future__ import annotations

from typing import Any

import pytest
from ui_world import healthy

from tui.history import Rates
from tui.lately import rates_lately
from tui.model import Model
from tui.records import Past, Status, decoded
from tui.text import SafeText


def _past(**changed: object) -> Past:
    """Seven steps of ten seconds, of which the last one is half over; one listener of HTTP and one of TCP."""
    nothing = healthy().past(60, 10)["total"]
    empty = {name: {} if isinstance(value, dict) else [0] * 7 for name, value in nothing.items()}
    web = {
        "requests": {"2xx": [10, 20, 30, 40, 50, 60, 45], "5xx": [0, 0, 0, 0, 0, 0, 15]},
        "connections": [6] * 7,
        "handshakes_failed": [3] * 7,
        "refusals": [1] * 7,
        "bytes_in": [0, 0, 0, 0, 0, 0, 3000],
        "handshake_p99_s": [None, 0.2, 0.004, None, 0.003, 0.003, 0.002],
    }
    payments = {"failures": {"upstream_refused": [0] * 5 + [20, 10]}, "connections": [0] * 5 + [30, 30]}
    document = {
        "now": "2026-11-29T03:00:06Z",
        "since": "2026-11-29T02:59:00Z",
        "until": "2026-11-29T03:00:05Z",
        "first_at": "2026-11-29T02:59:00Z",
        "step_s": 10,
        "steps": 7,
        "total": {**empty, **web, "connections": [6] * 5 + [36, 36]},
        "listeners": [{"name": "web", **empty, **web}, {"name": "payments", **empty, **payments}],
        "marks": [],
    }
    return decoded(Past, {**document, **changed})


@pytest.fixture
def status() -> Status:
    return decoded(Status, healthy().document("status"))


def test_the_last_ten_seconds_and_the_last_minute(status: Status) -> None:
    told = rates_lately(_past(), status)
    web, everybody = told["web"], told[""]
    # The newest steps that make up ten seconds are fifteen seconds long, those of a minute sixty-five.
    assert web.requests_per_s == pytest.approx((60 + 45 + 15) / 15)
    assert web.failed_per_s == web.server_errors_per_s == pytest.approx(15 / 15)
    assert web.bytes_in_per_s == pytest.approx(200)
    assert web.connections_per_minute == pytest.approx(60 * 42 / 65)
    assert web.failures_per_minute == pytest.approx(60 * 21 / 65)
    assert web.handshake_p99_s == 0.2
    assert everybody.failed_per_s == pytest.approx((15 + 30) / 15)
    assert everybody.served_per_s == pytest.approx((120 + 60) / 15)


def test_of_tcp_connections_are_served(status: Status) -> None:
    told = rates_lately(_past(), status)["payments"]
    assert told.served_per_s == pytest.approx(60 / 15)
    assert told.failed_per_s == pytest.approx(30 / 15)
    assert told.handshake_p99_s in (None, 0)


def test_nonsense_says_nothing(status: Status) -> None:
    assert rates_lately(_past(step_s=0), status) == {}
    assert rates_lately(_past(until=None), status) == {}


def test_what_is_compared_here_comes_first_and_the_quantile_always_from_there() -> None:
    world, model = healthy(), Model(SafeText("admin.sock"))
    model.take_status(_older(world.document("status")), 100.0, world.now, 0.0)
    assert model.snapshot(100.0).rates == Rates()
    model.take_lately(world.past(60, 10), 100.0)
    told = model.snapshot(100.0).rates
    assert told.is_known
    assert told.handshake_p99_s == 0.0049
    world.advance(1, bytes_in=123)
    model.take_status(_older(world.document("status")), 101.0, world.now, 0.0)
    assert model.snapshot(101.0).rates.bytes_in_per_s == 123
    assert model.snapshot(101.0).rates.handshake_p99_s == 0.0049
    model.take_lately(None, 102.0)
    assert model.snapshot(102.0).rates.handshake_p99_s is None


def test_the_status_has_the_quantile_itself() -> None:
    """Also of a sidecar in a list, whose history nobody asks for."""
    world, model = healthy(), Model(SafeText("admin.sock"))
    document = world.document("status")
    document["listeners"][0]["recent_handshake_p99_s"] = 0.003
    model.take_status(document, 100.0, world.now, 0.0)
    model.take_lately(_slow(world.past(60, 10)), 100.0)
    told = model.snapshot(100.0)
    assert told.rates.handshake_p99_s == 0.0049  # of the other listener
    assert told.listener_rates["web"].handshake_p99_s == 0.003


def _older(status: dict[str, Any]) -> dict[str, Any]:
    """As a sidecar tells it that keeps no quantile of the last minute."""
    for listener in status["listeners"]:
        del listener["recent_handshake_p99_s"]
    return status


def _slow(past: dict[str, Any]) -> dict[str, Any]:
    for series in (past["total"], *past["listeners"]):
        series["handshake_p99_s"] = [9.0] * past["steps"]
    return past
