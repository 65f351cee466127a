"""The alert rules and the dashboard ask for metrics that there are, and the rules alert when they should."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "tlsidecar.json"
REFERENCE = ROOT / "docs" / "metrics.md"

_METRIC = re.compile(r"\btlsidecar_[a-z0-9_]+")


def _documented() -> dict[str, set[str]]:
    """The labels of each metric, from the reference's tables, which a test of their own holds against /metrics."""
    rows = re.findall(r"`(tlsidecar_[a-z0-9_]+)(?:\{([a-z,_]*)\})?`", REFERENCE.read_text())
    labels: dict[str, set[str]] = {}
    for name, listed in rows:
        labels.setdefault(name, set()).update(filter(None, listed.split(",")))
    return labels


def _expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "expr":
                yield inner
            else:
                yield from _expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _expressions(inner)


RULE_EXPRESSIONS = list(_expressions(yaml.safe_load(RULES.read_text())))
DASHBOARD_EXPRESSIONS = list(_expressions(json.loads(DASHBOARD.read_text())))


@pytest.mark.parametrize("expression", [*RULE_EXPRESSIONS, *DASHBOARD_EXPRESSIONS])
def test_what_is_asked_for_is_there(expression: str) -> None:
    documented = _documented()
    found = _METRIC.findall(expression)
    assert found
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in found}
    assert names <= set(documented)
    matched = set(re.findall(r"([a-z_]+)\s*=~?\s*\"", expression)) - {"instance"}
    grouped = {label.strip() for listed in re.findall(r"by \(([^)]*)\)", expression) for label in listed.split(",")}
    assert matched | grouped <= {"instance", "le"}.union(*(documented[name] for name in names))


def test_there_is_something_to_check() -> None:
    assert len(RULE_EXPRESSIONS) >= 9
    assert len(DASHBOARD_EXPRESSIONS) >= 13


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not taken & cells
        taken |= cells


@pytest.mark.needs("promtool")
@pytest.mark.parametrize(
    "words", [("check", "rules", "rules.yaml"), ("test", "rules", "rules.test.yaml")], ids=" ".join
)
def test_prometheus_takes_the_rules_and_they_alert(words: tuple[str, ...]) -> None:
    run = subprocess.run(
        ["promtool", *words], cwd=RULES.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
