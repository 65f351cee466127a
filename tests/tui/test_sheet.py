"""Columns fit the room there is; the least important give way first."""

from __future__ import annotations

from ui_world import NOW

from tui.lines import UNICODE_GLYPHS, Kind, Role, Span, Target, cropped, gap, line, literal, spread
from tui.sheet import Column, Look, Page, Table, field_lines, header_line, layout, message_page, row_line
from tui.text import SafeText


def _column(label: str, width: int, **options: object) -> Column[str]:
    return Column(label, width, lambda item, look: Span(SafeText(item)), **options)  # type: ignore[arg-type]


COLUMNS = (
    _column("A", 4, sort="a"),
    _column("B", 6, share=1, wish=10),
    _column("C", 4, rank=1, right=True),
    _column("D", 4, rank=4),
)


def _widths(width: int, *, wide: bool = False) -> dict[str, int]:
    return {column.label: given for column, given in layout(COLUMNS, width, wide=wide)}


def test_columns_give_way_by_rank_and_shares_take_the_rest() -> None:
    assert _widths(25) == {"A": 4, "B": 10, "C": 4, "D": 4}
    assert _widths(24) == {"A": 4, "B": 14, "C": 4}  # D would have taken what B wishes for
    assert _widths(16) == {"A": 4, "B": 6, "C": 4}
    assert _widths(15) == {"A": 4, "B": 10}
    assert _widths(3) == {"A": 4, "B": 6}
    assert _widths(5, wide=True) == {"A": 4, "B": 6, "C": 4, "D": 4}


def test_lines_are_as_wide_as_their_columns() -> None:
    placed = layout(COLUMNS, 30)
    look = Look(NOW, 30)
    assert header_line(placed, UNICODE_GLYPHS, "a", True).plain == "A↓   B                  C D   "
    assert row_line(placed, "some text that is long", look).plain == "som… some text that… som… som…"
    assert row_line(placed, "x", look, indent=2).width == 32


def test_the_arrow_of_a_mirrored_column_turns_round() -> None:
    placed = layout((_column("AGE", 6, sort="at", mirrored=True),), 6)
    assert header_line(placed, UNICODE_GLYPHS, "at", True).plain == "AGE↑  "


def test_a_table_knows_only_its_window() -> None:
    table = Table(COLUMNS, ["x", "y"], Look(NOW, 30), Kind.EVENT, lambda item: item, offset=10, total=1000)
    assert table.count == 1000
    assert table.line(9) is None
    assert table.line(12) is None
    shown = table.line(11)
    assert shown is not None
    assert shown.target == Target(Kind.EVENT, "y")
    assert table.find(Target(Kind.EVENT, "y")) == 11
    assert table.find(Target(Kind.EVENT, "z")) is None
    assert table.find(Target(Kind.REFUSAL, "y")) is None
    assert table.is_selectable(999)
    assert not table.is_selectable(1000)
    assert table.width == 0
    wide = Table(COLUMNS, ["x"], Look(NOW, 5, wide=True), Kind.EVENT, lambda item: item)
    assert (wide.width, wide.count) == (21, 1)


def test_a_page_selects_what_has_a_target() -> None:
    target = Target(Kind.PROBLEM, "k")
    page = Page([line(literal("heading")), line(SafeText("problem"), target=target)])
    assert [page.is_selectable(index) for index in (-1, 0, 1, 2)] == [False, False, True, False]
    assert page.find(target) == 1
    assert page.find(Target(Kind.PROBLEM, "other")) is None
    assert page.line(5) is None


def test_of_what_stands_in_several_places_the_nearest_is_found() -> None:
    """A CA that two identities trust; events of before and after a restart: the cursor stays where it is."""
    ca = Target(Kind.CERTIFICATE, "a1")
    page = Page([line(literal(str(number)), target=ca if number % 4 == 1 else None) for number in range(12)])
    assert [page.find(ca, near) for near in (0, 2, 4, 5, 8, 11)] == [1, 1, 5, 5, 9, 9]
    table = Table(COLUMNS, list("xyxyx"), Look(NOW, 30), Kind.EVENT, lambda item: item, offset=100)
    assert [table.find(Target(Kind.EVENT, "x"), near) for near in (0, 102, 104, 500)] == [100, 102, 104, 104]


def test_fields_and_messages_wrap() -> None:
    look = Look(NOW, 40)
    lines = field_lines("source", SafeText("files: /etc/tls/tls.crt and more"), look)
    assert [each.plain for each in lines] == [
        " source           files: /etc/tls/tls.c",
        "                  rt and more",
    ]
    assert field_lines("empty", SafeText(""), look)[0].plain.endswith(" -")
    assert all(each.width <= 40 for each in message_page([literal("a word " * 20)], look).lines)


def test_spreading_keeps_the_right_side() -> None:
    spans = spread([literal("left " * 10)], [literal("RIGHT", Role.KEY)], 20)
    assert "".join(span.text for span in spans) == "left left left RIGHT"
    assert sum(len(span.text) for span in cropped([literal("abc"), gap(), literal("def")], 5)) == 5
