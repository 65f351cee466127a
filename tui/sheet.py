"""A sheet is what one view shows: numbered lines, some of which can be selected. A :class:`Page` has its lines made
beforehand; a :class:`Table` makes a line when it is drawn, and knows only a window of its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from tui.amounts import UNKNOWN
from tui.lines import BLANK, UNICODE_GLYPHS, Glyphs, Kind, Line, Role, Span, Target, gap, line, spread
from tui.text import ELLIPSIS, EMPTY, SafeText, cell_width, common_beginning, pad, shorten, shorten_middle, wrap


@dataclass(frozen=True, slots=True)
class Look:
    """What a view is drawn with: the moment it shows, the room it has and the signs it may use."""

    now: datetime
    width: int = 80
    height: int = 24
    wide: bool = False  # every column, scrolled sideways where they do not fit
    glyphs: Glyphs = UNICODE_GLYPHS
    present: datetime | None = None  # where that is another moment: what is shown is not fresh


class Sheet(Protocol):
    """Lines to scroll over, made one by one when they are shown. It knows no toolkit."""

    @property
    def header(self) -> Line | None:
        """The line that stays at the top."""
        ...

    @property
    def count(self) -> int: ...

    @property
    def width(self) -> int:
        """Cells to scroll sideways over; 0 where everything is made to fit."""
        ...

    def line(self, index: int) -> Line | None:
        """None where the line is not known yet."""
        ...

    def is_selectable(self, index: int) -> bool: ...

    def find(self, target: Target, near: int = 0) -> int | None:
        """Where ``target`` is, if it is known; of several places the one nearest to ``near``."""
        ...


def _nearest(places: Iterable[int], near: int) -> int | None:
    return min(places, key=lambda place: abs(place - near), default=None)


@dataclass(frozen=True, slots=True)
class Page:
    """Lines made beforehand."""

    lines: Sequence[Line]
    header: Line | None = None

    @property
    def count(self) -> int:
        return len(self.lines)

    @property
    def width(self) -> int:
        return 0

    def line(self, index: int) -> Line | None:
        return self.lines[index] if 0 <= index < len(self.lines) else None

    def is_selectable(self, index: int) -> bool:
        return 0 <= index < len(self.lines) and self.lines[index].target is not None

    def find(self, target: Target, near: int = 0) -> int | None:
        return _nearest((index for index, entry in enumerate(self.lines) if entry.target == target), near)


T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Column(Generic[T_contra]):
    """One column. ``rank`` 0 is always there; the higher it is, the sooner the column gives way. A ``share`` above 0
    takes that part of the room that is left, up to ``most`` cells; ``width`` is then the least it needs, and ``wish``
    what it should have before columns ranked above :data:`COMFORT_RANK` get room.
    ``mirrored`` turns the sort arrow round: an age falls while the moment it is counted from rises."""

    label: str
    width: int
    cell: Callable[[T_contra, Look], Span]
    right: bool = False
    rank: int = 0
    share: int = 0
    wish: int = 0
    most: int = 200
    shorten: Callable[[SafeText, int], SafeText] = shorten
    sort: Hashable = None
    mirrored: bool = False
    letter: str = ""  # shift and this letter sort by it
    aside: SafeText = EMPTY  # behind the label
    factored: bool = False  # what all cells begin with stands once, in the header, where they do not fit


GAP = 1

_WORTH_FACTORING = 8
"""Cells: what all begin with is left out of each where it is at least so long, and the header has room for as much."""

COMFORT_RANK = 3


def layout(columns: Sequence[Column[T]], width: int, *, wide: bool = False) -> list[tuple[Column[T], int]]:
    """The columns that fit ``width`` cells, and the width each gets. ``wide`` keeps them all."""
    kept = list(columns)

    def needed(*, wished: bool = False) -> int:
        widths = (max(column.width, column.wish) if wished else column.width for column in kept)
        return sum(widths) + GAP * (len(kept) - 1)

    while not wide:
        least = max(kept, key=lambda column: column.rank)
        if least.rank == 0 or needed(wished=least.rank > COMFORT_RANK) <= width:
            break
        kept.remove(least)
    spare = max(0, width - needed())
    shares = sum(column.share for column in kept)
    widths = [
        min(column.most, column.width + spare * column.share // shares) if column.share else column.width
        for column in kept
    ]
    return list(zip(kept, widths, strict=True))


def header_line(
    placed: Sequence[tuple[Column[T], int]], glyphs: Glyphs, sort: Hashable = None, descending: bool = False
) -> Line:
    """The labels; the one sorted by carries an arrow."""
    spans: list[Span] = []
    for column, width in placed:
        is_sorted = column.sort is not None and column.sort == sort
        falls = descending is not column.mirrored
        arrow = (glyphs.descending if falls else glyphs.ascending) if is_sorted else ""
        label = SafeText(column.label + arrow + (f" {column.aside}" if column.aside else ""))
        spans += [Span(pad(label, width, right=column.right), Role.KEY if is_sorted else Role.HEADING), gap(GAP)]
    return Line(tuple(spans[:-1]))


def row_line(
    placed: Sequence[tuple[Column[T], int]], item: T, look: Look, target: Target | None = None, indent: int = 0
) -> Line:
    """One item's cells, each in its column's width."""
    spans: list[Span] = [gap(indent)] if indent else []
    for column, width in placed:
        cell = column.cell(item, look)
        text = pad(column.shorten(cell.text, width), width, right=column.right)
        spans += [Span(text, cell.role), gap(GAP)]
    return Line(tuple(spans[:-1]), target)


@dataclass(frozen=True, slots=True)
class Table(Generic[T]):
    """A window of rows, ``items`` being those from ``offset`` on, of ``count``."""

    columns: Sequence[Column[T]]
    items: Sequence[T]
    look: Look
    kind: Kind
    key: Callable[[T], int | str]
    offset: int = 0
    total: int | None = None
    sort: Hashable = None
    descending: bool = False
    placed: Sequence[tuple[Column[T], int]] = field(init=False)
    header: Line | None = field(init=False)

    def __post_init__(self) -> None:
        placed = layout(self.columns, self.look.width, wide=self.look.wide)
        placed = [(self._factored(each, width) if each.factored else each, width) for each, width in placed]
        object.__setattr__(self, "placed", placed)
        object.__setattr__(self, "header", header_line(placed, self.look.glyphs, self.sort, self.descending))

    def _factored(self, column: Column[T], width: int) -> Column[T]:
        """The column without what all its cells begin with, where one of them would have to be shortened."""
        texts = [column.cell(item, self.look).text for item in self.items]
        if all(cell_width(text) <= width for text in texts):
            return column
        beginning = common_beginning(texts)
        room = width - cell_width(SafeText(column.label)) - 2  # a gap, and the arrow of the sort
        if len(beginning) < _WORTH_FACTORING or room < _WORTH_FACTORING:
            return column

        def cell(item: T, look: Look) -> Span:
            whole = column.cell(item, look)
            return replace(whole, text=SafeText(ELLIPSIS + whole.text[len(beginning) :]))

        aside = shorten_middle(SafeText(beginning + ELLIPSIS), room)
        return replace(column, aside=aside, cell=cell, shorten=shorten_middle)

    def column_at(self, cell: int) -> Column[T] | None:
        """The column that this cell of the header is in, or that the gap before it leads to."""
        right_edge = 0
        for column, width in self.placed:
            right_edge += width + GAP
            if cell < right_edge:
                return column
        return None

    @property
    def count(self) -> int:
        return len(self.items) if self.total is None else self.total

    @property
    def width(self) -> int:
        return sum(width for _, width in self.placed) + GAP * (len(self.placed) - 1) if self.look.wide else 0

    def line(self, index: int) -> Line | None:
        if not 0 <= index - self.offset < len(self.items):
            return None
        item = self.items[index - self.offset]
        return row_line(self.placed, item, self.look, Target(self.kind, self.key(item)))

    def is_selectable(self, index: int) -> bool:
        return 0 <= index < self.count

    def find(self, target: Target, near: int = 0) -> int | None:
        if target.kind is not self.kind:
            return None
        places = (index for index, item in enumerate(self.items, self.offset) if self.key(item) == target.key)
        return _nearest(places, near)


LABEL_WIDTH = 16


def field_lines(label: str, value: SafeText, look: Look, role: Role = Role.TEXT) -> list[Line]:
    """A label and its value, the value over as many lines as it needs."""
    from_left = LABEL_WIDTH + 2
    lines: list[Line] = []
    for text in wrap(value or UNKNOWN, max(8, look.width - from_left - 1)):
        name = shorten(SafeText("" if lines else label), LABEL_WIDTH)
        lines.append(line(gap(), Span(pad(name, LABEL_WIDTH), Role.MUTED), gap(), Span(text, role)))
    return lines


TWO_COLUMNS = 150
"""Cells from which on a page of sections stands in two columns."""


def in_columns(make: Callable[[Look], Page], look: Look) -> Page:
    """A page made for this room: where it is wide, the sections in two columns of about the same height. What can be
    selected stays one below the other."""
    if look.width < TWO_COLUMNS:
        return make(look)
    half = (look.width - GAP) // 2
    page = make(replace(look, width=half))
    sections = _sections(page.lines)
    if len(sections) < 2 or any(each.target for each in page.lines):
        return make(look)
    left: list[Line] = []
    for place, section in enumerate(sections):
        if place and 2 * (len(left) + len(section) // 2) > len(page.lines):
            break
        left += [*([BLANK] if left else []), *section]
        rest = sections[place + 1 :]
    right = [each for section in rest for each in (BLANK, *section)][1:]
    height = max(len(left), len(right))
    pairs = zip(left + [BLANK] * (height - len(left)), right + [BLANK] * (height - len(right)), strict=True)
    return Page([Line((*spread(one.spans, (), half), gap(GAP), *other.spans)) for one, other in pairs], page.header)


def _sections(lines: Sequence[Line]) -> list[list[Line]]:
    """The lines between blank ones."""
    sections: list[list[Line]] = [[]]
    for each in lines:
        if each == BLANK:
            sections.append([])
        else:
            sections[-1].append(each)
    return [section for section in sections if section]


def message_page(texts: Sequence[Span], look: Look) -> Page:
    """A few words in place of a view: nothing here, not reachable, nothing matches."""
    lines = [BLANK]
    for text in texts:
        lines += [line(gap(2), Span(part, text.role)) for part in wrap(text.text, max(8, look.width - 4))]
    return Page(lines)
