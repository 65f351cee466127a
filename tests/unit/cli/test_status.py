"""``tlsidecar status``: what it says of traffic, and of what an older sidecar does not tell."""

from __future__ import annotations

from typing import Any

import pytest

from tlsidecar.api.decode import decoded
from tlsidecar.api.history import History
from tlsidecar.api.status import Sandbox
from tlsidecar.api.text import SafeText
from tlsidecar.cli.status import _flow, _rates, _sandbox

BEGAN = "2026-11-29T07:58:20.000Z"


def history(until: str = "2026-11-29T07:58:30.000Z", **series: Any) -> History[SafeText]:
    document = {"since": BEGAN, "until": until, "listeners": [{"name": "web", **series}]}
    return decoded(History[SafeText], document)


def flow(past: History[SafeText]) -> str:
    return _flow(past, _rates(past))


def test_before_any_time_was_measured_nothing_is_known() -> None:
    assert flow(history(until=BEGAN)) == "since the start; what flows now is not known yet"
    assert _flow(None, {}) == "since the start", "an older sidecar keeps no history"


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ({}, "none in the last 10 s"),
        ({"bytes_in": [0, 0]}, "none in the last 10 s"),
        (
            {"requests": {"2xx": [40, 10]}, "bytes_out": [20480]},
            "flowing: 5.0 requests/s, 0.0 failed/s, 2.0 KiB/s in the last 10 s",
        ),
        (
            {"requests": {"2xx": [90], "5xx": [10]}, "failures": {"upstream_refused": [10]}},
            "flowing, but some fails: 10.0 requests/s, 1.0 failed/s, 0 B/s in the last 10 s",
        ),
        (
            {"requests": {"5xx": [10]}, "failures": {"upstream_refused": [9]}},
            "failing: 1.0 requests/s, 0.9 failed/s, 0 B/s in the last 10 s",
        ),
        ({"failures": {"upstream_refused": [3]}}, "failing: 0.0 requests/s, 0.3 failed/s, 0 B/s in the last 10 s"),
    ],
)
def test_what_flows_is_a_word_and_its_figures(series: dict[str, Any], said: str) -> None:
    assert flow(history(**series)) == said


def test_the_sandbox_says_what_holds_and_what_does_not() -> None:
    held = {"holds": True, "abi": 7, "covers": ["files", "tcp_ports"], "gaps": ["UDP", "paths"], "reason": ""}
    assert _sandbox(decoded(Sandbox[SafeText], held)) == "Landlock ABI 7: files, tcp ports; not covered: UDP; paths"
    free = {"holds": False, "reason": "the kernel has no Landlock"}
    assert _sandbox(decoded(Sandbox[SafeText], free)) == "none: the kernel has no Landlock"
