"""What ``--follow`` shows: a transcript of looks at a list."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest

from tlsidecar.cli import follow
from tlsidecar.cli.follow import Row, news


class Over(Exception):
    """There are no more looks."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow.time, "sleep", lambda _: None)


def shown(*looks: Sequence[Row], at_first: int, key: str, stamp: str) -> list[Row]:
    """All that is shown until the last of the looks is over."""
    left = iter(looks)

    def look() -> Sequence[Row]:
        found = next(left, None)
        if found is None:
            raise Over
        return found

    rows: list[Row] = []
    with contextlib.suppress(Over):
        for row in news(look, at_first, lambda row: row.get(key), lambda row: int(row[stamp])):
            rows += [row]
    return rows


def numbered(*numbers: int) -> list[Row]:
    return [{"seq": number} for number in numbers]


def numbers_of(*looks: Sequence[Row], at_first: int) -> list[int]:
    return [row["seq"] for row in shown(*looks, at_first=at_first, key="", stamp="seq")]


def test_the_newest_of_the_first_look_then_what_is_new_oldest_first() -> None:
    looks = (numbered(5, 4, 3, 2, 1), numbered(5, 4, 3), numbered(8, 7, 6, 5))
    assert numbers_of(*looks, at_first=2) == [4, 5, 6, 7, 8]


def test_what_the_first_look_left_out_does_not_come_later() -> None:
    assert numbers_of(numbered(3, 2, 1), numbered(3, 2, 1), at_first=1) == [3]


def test_a_group_comes_again_when_it_has_grown() -> None:
    def rows(**counts: int) -> list[Row]:
        return [{"reason": name, "count": count} for name, count in counts.items()]

    looks = (rows(refused=2, timeout=1), rows(refused=2, timeout=3), rows(refused=2, timeout=3))
    seen = shown(*looks, at_first=10, key="reason", stamp="count")
    assert [(row["reason"], row["count"]) for row in seen] == [("timeout", 1), ("refused", 2), ("timeout", 3)]
