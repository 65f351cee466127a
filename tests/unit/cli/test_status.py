"""``tlsidecar status``: what it says of traffic, and of what an older sidecar does not tell."""

from __future__ import annotations

from typing import Any

import pytest

from tlsidecar.cli.status import _flow, _rates, _sandbox

BEGAN = "2026-11-29T07:58:20.000Z"


def history(until: str = "2026-11-29T07:58:30.000Z", **series: Any) -> dict[str, Any]:
    one = {"name": "web", "requests": {}, "failures": {}, "bytes_in": [], "bytes_out": []} | series
    return {"since": BEGAN, "until": until, "listeners": [one]}


def flow(document: dict[str, Any]) -> str:
    measured = {each["name"]: _rates(each, document) for each in document["listeners"]}
    return _flow(document, {name: found for name, found in measured.items() if found is not None})


def test_before_any_time_was_measured_nothing_is_known() -> None:
    assert flow(history(until=BEGAN)) == "since the start; what flows now is not known yet"
    assert _flow({}, {}) == "since the start", "an older sidecar keeps no history"


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
    assert _sandbox(held) == "Landlock ABI 7: files, tcp ports; not covered: UDP; paths"
    assert _sandbox({"holds": False, "reason": "the kernel has no Landlock"}) == "none: the kernel has no Landlock"
