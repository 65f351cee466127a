"""Text from elsewhere cannot steer, hide in or reorder the terminal."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import get_character_cell_size

from tui.text import (
    ELLIPSIS,
    SafeText,
    ascii_only,
    cell_width,
    common_beginning,
    crop,
    pad,
    safe_text,
    shorten,
    shorten_identity,
    shorten_middle,
    wrap,
)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("\x7f", r"\x7f"),
        ("a\r\nb\tc\x00", r"a\x0d\x0ab\x09c\x00"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("line\u2028para\u2029", r"line\u2028para\u2029"),
        ("no\xa0break\u3000wide", r"no\xa0break\u3000wide"),
        ("e\u0301", r"e\u0301"),
        ("\ud800", r"\ud800"),
        ("\ue000", r"\ue000"),
        ("\U000e0041", r"\U000e0041"),
        ("\U0001f1e9\U0001f1ea", r"\U0001f1e9\U0001f1ea"),
        ("[@click=app.quit]x[/]", "[@click=app.quit]x[/]"),
        ("café 表示 Ω", "café 表示 Ω"),
    ],
)
def test_what_a_terminal_obeys_hides_or_reorders_is_written_out(hostile: str, shown: str) -> None:
    assert safe_text(hostile) == shown


def test_what_is_not_a_text_is_shown_as_it_prints() -> None:
    assert safe_text(None) == "None"
    assert safe_text(["\x1b"]) == r"['\x1b']"


def test_a_long_text_is_cut_between_escapes() -> None:
    assert safe_text("x" * 600, 512) == "x" * 511 + ELLIPSIS
    assert safe_text("\x1b" * 10, 9) == r"\x1b\x1b" + ELLIPSIS
    assert safe_text("abc", 3) == "abc"


@given(st.text())
def test_safe_text_is_visible_and_safe_twice(text: str) -> None:
    safe = safe_text(text, 200)
    assert safe.isprintable()
    assert safe_text(safe, 400) == safe
    assert len(safe) <= 200


def test_every_character_is_written_out_or_as_wide_as_the_toolkit_thinks() -> None:
    """The columns rely on the width. Surprises of one side's newer Unicode tables are escaped or very rare. Of a
    million that are no characters, beyond the first plane, one in sixty is tried."""
    differing, kept = [], []
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if (code > 0xFFFF and code % 61 and not character.isprintable()) or safe_text(character) != character:
            continue
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            kept.append(hex(code))
        if cell_width(SafeText(character)) != get_character_cell_size(character):
            differing.append(hex(code))
    assert (differing, kept) == ([], [])


_safe = st.text().map(safe_text)


@given(_safe, st.integers(0, 40))
def test_cutting_never_exceeds_the_width(text: SafeText, width: int) -> None:
    for cut in (crop, shorten, shorten_middle, shorten_identity):
        assert cell_width(cut(text, width)) <= width
    assert cell_width(pad(text, width)) == width
    assert cell_width(pad(text, width, right=True)) == width


@given(_safe, st.integers(2, 40), st.none() | st.integers(1, 4))
def test_wrapping_keeps_the_width_and_loses_no_word(text: SafeText, width: int, limit: int | None) -> None:
    lines = wrap(text, width, limit)
    assert all(cell_width(line) <= width for line in lines)
    if limit is None:
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    else:
        assert len(lines) <= limit


def test_no_more_of_a_text_is_looked_at_than_is_shown() -> None:
    """A peer's name may have 8,192 characters, and each line of it is cut from what is left."""
    looked_at = 0

    class Counted(str):
        def __iter__(self) -> Iterator[str]:
            nonlocal looked_at
            for character in str(self):
                looked_at += 1
                yield character

    assert crop(SafeText(Counted("\u8868" * 8192)), 61) == "\u8868" * 30
    assert looked_at == 31
    assert len(wrap(SafeText("\u8868" * 8192), 61)) == 274


def test_wrapping_breaks_at_spaces() -> None:
    assert wrap(SafeText("the key does not belong"), 12) == ["the key does", "not belong"]
    assert wrap(SafeText("the key does not belong"), 12, 1) == ["the key doe…"]


def test_both_ends_of_a_name_survive() -> None:
    assert shorten_middle(SafeText("10.0.0.1:40001"), 9) == "10…:40001"
    spiffe = SafeText("spiffe://prod.example/ns/shop/sa/web")
    assert shorten_identity(spiffe, 40) == spiffe
    assert shorten_identity(spiffe, 29) == "prod.example/ns/shop/sa/web"
    assert shorten_identity(spiffe, 26) == "prod.example/…/shop/sa/web"
    assert shorten_identity(spiffe, 20) == "prod.example/…/web"
    assert shorten_identity(spiffe, 12) == "pro…p/sa/web"
    assert shorten_identity(SafeText("CN=Prod Issuing CA,O=Example"), 12) == "CN=Prod Iss…"


def test_what_several_begin_with_ends_at_a_slash() -> None:
    one, two = SafeText("spiffe://prod/ns/shop/sa/web"), SafeText("spiffe://prod/ns/shop/sa/worker")
    assert common_beginning([one, two, one]) == "spiffe://prod/ns/shop/sa/"
    assert common_beginning([one, one]) == ""
    assert common_beginning([one, SafeText("CN=backup")]) == ""
    assert common_beginning([]) == ""


def test_ascii_keeps_the_width() -> None:
    assert ascii_only(SafeText("a…表é3/∞")) == "a~???3/*"
