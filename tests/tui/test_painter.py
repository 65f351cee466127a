"""The last door before the terminal."""

from __future__ import annotations

from rich.style import Style

from tui.lines import Role, Span
from tui.text import SafeText
from tui.widgets.painter import painted

_STYLES = {role: Style() for role in Role}


def test_even_what_was_never_made_safe_leaves_as_visible_text_of_the_width_asked_for() -> None:
    unsafe = Span(SafeText("a\x1b]0;x\x07\u202e[red]"))
    strip = painted([unsafe], _STYLES, 60, Style(), ascii_art=False)
    assert strip.text.rstrip() == r"a\x1b]0;x\x07\u202e[red]"
    assert strip.cell_length == 60


def test_a_wide_character_at_the_edge_is_not_half_drawn() -> None:
    strip = painted([Span(SafeText("表示表"))], _STYLES, 5, Style(), ascii_art=False)
    assert (strip.text, strip.cell_length) == ("表示 ", 5)
    assert painted([Span(SafeText("表示…"))], _STYLES, 5, Style(), ascii_art=True).text == "????~"
