"""Curves on a grid of terminal cells, each of two by four dots (braille), or of one sign where there is only ASCII.

A curve is a line, or an area from the ground up, hatched or full: what it is can be seen without colours. Where several
meet in a cell, the last one gives it its role.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import groupby

from tui.lines import Role, Span
from tui.text import SafeText

DOTS_ACROSS = 2
DOTS_DOWN = 4

_BRAILLE = 0x2800
_BITS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))  # by column, from the bottom up (Unicode, U+2800)


class Stroke(Enum):
    """How a curve is drawn."""

    LINE = auto()
    HATCHED = auto()
    FULL = auto()

    def sample(self, *, braille: bool) -> SafeText:
        """What it looks like, for a legend."""
        if braille:
            return SafeText({Stroke.LINE: "⠒", Stroke.HATCHED: "⢕", Stroke.FULL: "⣿"}[self])
        return SafeText({Stroke.LINE: "-", Stroke.HATCHED: ":", Stroke.FULL: "#"}[self])


@dataclass(frozen=True, slots=True)
class Curve:
    """One value for each column of dots, None where there is none."""

    values: Sequence[float | None]
    stroke: Stroke
    role: Role


@dataclass(slots=True)
class _Cell:
    dots: int = 0
    role: Role = Role.TEXT
    stroke: Stroke = Stroke.LINE


class _Grid:
    def __init__(self, width: int, height: int) -> None:
        self.cells = [[_Cell() for _ in range(width)] for _ in range(height)]
        self._height = height

    def set(self, x: int, y: int, curve: Curve) -> None:
        """The dot ``x`` columns from the left and ``y`` rows from the bottom."""
        cell = self.cells[self._height - 1 - y // DOTS_DOWN][x // DOTS_ACROSS]
        cell.dots |= _BITS[x % DOTS_ACROSS][y % DOTS_DOWN]
        cell.role, cell.stroke = curve.role, curve.stroke


def plot(
    curves: Sequence[Curve], width: int, height: int, top: float, marks: Mapping[int, Role], *, braille: bool
) -> list[list[Span]]:
    """``height`` rows of ``width`` cells, the highest first; ``top`` is the value at the upper edge. ``marks`` are
    columns of cells with a line through what is empty in them."""
    grid = _Grid(width, height)
    for curve in curves:
        _draw(curve, grid, width * DOTS_ACROSS, height * DOTS_DOWN, top)
    return [_row(cells, marks, braille=braille) for cells in grid.cells]


def _draw(curve: Curve, grid: _Grid, columns: int, rows: int, top: float) -> None:
    before: int | None = None
    for x, value in enumerate(curve.values[:columns]):
        if value is None:
            before = None
            continue
        level = _level(value, rows, top)
        if curve.stroke is Stroke.LINE:
            low, high = (level, level) if before is None else (min(before, level), max(before, level))
            # What lies between two columns is climbed half in each: a step looks like one.
            for y in range(low + 1 if before == low else low, high + 1 if before != high else high):
                grid.set(x, y, curve)
            grid.set(x, level, curve)
        elif value > 0:
            for y in range(level + 1):
                if curve.stroke is Stroke.FULL or y == level or (x + y) % 2 == 0:
                    grid.set(x, y, curve)
        before = level


def _level(value: float, rows: int, top: float) -> int:
    """The row of dots for a value; anything above nothing is above the ground."""
    if value <= 0 or top <= 0:
        return 0
    return max(1, round(min(1.0, value / top) * (rows - 1)))


def _row(cells: Sequence[_Cell], marks: Mapping[int, Role], *, braille: bool) -> list[Span]:
    signs: list[tuple[str, Role]] = []
    for x, cell in enumerate(cells):
        if cell.dots:
            signs.append((chr(_BRAILLE | cell.dots) if braille else _ascii(cell), cell.role))
        elif x in marks:
            signs.append(("┊" if braille else ".", marks[x]))
        else:
            signs.append((" ", Role.TEXT))
    return [
        Span(SafeText("".join(sign for sign, _ in run)), role)
        for role, run in ((role, list(run)) for role, run in groupby(signs, key=lambda sign: sign[1]))
    ]


def _ascii(cell: _Cell) -> str:
    if cell.stroke is not Stroke.LINE:
        return str(cell.stroke.sample(braille=False))
    rows = [bool(cell.dots & (_BITS[0][y] | _BITS[1][y])) for y in range(DOTS_DOWN)]
    if sum(rows) > 2:
        return "|"
    return "_" if rows[0] else "'" if rows[3] else "-"


_ROUND = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


def round_top(highest: float, base: int = 10) -> float:
    """The next round number: some of 1 to 10 times a power of ten, for bytes (``base`` 1024) times one of 1024, too."""
    if not 0 < highest < math.inf:
        return 1.0
    unit = 1.0
    while base > 10 and highest >= unit * 1000:
        unit *= base
    scale = unit * 10.0 ** math.floor(math.log10(highest / unit))
    return next((scale * step for step in _ROUND if highest <= scale * step), highest)
