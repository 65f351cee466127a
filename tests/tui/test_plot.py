"""Curves on cells: where they are, what they look like without colours, and round scales."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.lines import Role
from tui.plot import Curve, Stroke, plot, round_top


def drawn(*curves: Curve, width: int = 4, height: int = 2, top: float = 8.0, braille: bool = True) -> list[str]:
    rows = plot(curves, width, height, top, {}, braille=braille)
    return ["".join(span.text for span in row) for row in rows]


def line(*values: float | None) -> Curve:
    return Curve(values, Stroke.LINE, Role.KEY)


def test_a_line_lies_where_its_values_are() -> None:
    assert drawn(line(*[0.0] * 8)) == ["    ", "⣀⣀⣀⣀"]
    assert drawn(line(*[8.0] * 8)) == ["⠉⠉⠉⠉", "    "]
    assert drawn(line(*[99.0] * 8)) == ["⠉⠉⠉⠉", "    "]


def test_a_line_climbs_without_gaps() -> None:
    assert drawn(line(0.0, 0.0, 0.0, 0.0, 8.0, 8.0, 8.0, 8.0)) == ["  ⡏⠉", "⣀⣀⠇ "]


def test_what_is_not_known_is_not_drawn() -> None:
    assert drawn(line(None, None, None, None, 8.0, 8.0, None, None)) == ["  ⠉ ", "    "]
    assert drawn(Curve([0.0] * 8, Stroke.FULL, Role.CRITICAL)) == ["    ", "    "]


def test_anything_above_nothing_is_seen() -> None:
    assert drawn(line(*[0.0001] * 8)) == ["    ", "⠤⠤⠤⠤"]
    assert drawn(Curve([0.0001] * 8, Stroke.FULL, Role.CRITICAL)) == ["    ", "⣤⣤⣤⣤"]


def test_areas_differ_without_colours() -> None:
    full = drawn(Curve([8.0] * 8, Stroke.FULL, Role.CRITICAL))
    hatched = drawn(Curve([8.0] * 8, Stroke.HATCHED, Role.WARNING))
    assert full == ["⣿⣿⣿⣿", "⣿⣿⣿⣿"]
    assert hatched != full
    assert drawn(Curve([8.0] * 8, Stroke.FULL, Role.CRITICAL), braille=False) == ["####", "####"]
    assert drawn(Curve([8.0] * 8, Stroke.HATCHED, Role.WARNING), braille=False) == ["::::", "::::"]


def test_lines_in_ascii() -> None:
    assert drawn(line(0.0, 0.0, 0.0, 0.0, 8.0, 8.0, 8.0, 8.0), braille=False) == ["  |'", "__| "]


def test_a_mark_goes_through_what_is_empty() -> None:
    rows = plot([line(*[0.0] * 4)], 2, 2, 1.0, {1: Role.CRITICAL}, braille=True)
    assert [[(span.text, span.role) for span in row] for row in rows] == [
        [(" ", Role.TEXT), ("┊", Role.CRITICAL)],
        [("⣀⣀", Role.KEY)],
    ]


@pytest.mark.parametrize(
    ("highest", "base", "top"),
    [
        (0.0, 10, 1.0),
        (float("inf"), 10, 1.0),
        (0.0147, 10, 0.015),
        (24.3, 10, 25.0),
        (100.0, 10, 100.0),
        (14_400, 1024, 15 * 1024),
        (999, 1024, 1000),
        (1_200_000, 1024, 1.2 * 1024**2),
    ],
)
def test_scales_are_round(highest: float, base: int, top: float) -> None:
    assert round_top(highest, base) == pytest.approx(top)


@given(st.floats(0, 1e300), st.sampled_from([10, 1024]))
def test_a_scale_holds_its_highest(highest: float, base: int) -> None:
    assert round_top(highest, base) >= highest


@given(
    st.lists(st.none() | st.floats(0, allow_nan=False), max_size=40),
    st.integers(1, 12),
    st.integers(1, 5),
    st.sampled_from(Stroke),
    st.booleans(),
)
def test_whatever_there_is_fits(
    values: list[float | None], width: int, height: int, stroke: Stroke, braille: bool
) -> None:
    rows = drawn(Curve(values, stroke, Role.TEXT), width=width, height=height, top=7.0, braille=braille)
    assert [len(row) for row in rows] == [width] * height
    assert braille or all(row.isascii() for row in rows)
