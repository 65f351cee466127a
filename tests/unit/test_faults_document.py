"""docs/faults.md names forty faults and only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "docs" / "faults.md").read_text().splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if re.match(r"\| \d", line)]


def test_every_fault_is_there_once() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, 41))


def test_every_test_named_exists() -> None:
    for line in LINES:
        for name in re.findall(r"`(tests/[^`]+\.py)`", line):
            assert (ROOT / name).is_file(), name


def test_each_is_proved_by_tests_that_exist_or_says_why_not() -> None:
    for number, _, proved in ROWS:
        files = re.findall(r"`(tests/[^`]+)`", proved)
        assert files or proved.startswith("not covered"), number
        for name in files:
            assert "def test_" in (ROOT / name).read_text(), (number, name)
