"""News in the corner: good ones go soon, bad ones stay, and none is obeyed or covers everything."""

from __future__ import annotations

from typing import Any

import pytest
from ui_world import HOSTILE

from tui.records import Severity
from tui.text import SafeText, cell_width, safe_text
from tui.toasts import toast


class Wall:
    def __init__(self) -> None:
        self.shown: list[tuple[str, dict[str, Any]]] = []

    def notify(self, message: str, **options: Any) -> None:
        self.shown.append((message, options))


@pytest.mark.parametrize(
    ("severity", "level", "stays_s"),
    [
        (None, "information", 5.0),
        (Severity.NOTICE, "information", 15.0),
        (Severity.WARNING, "warning", 15.0),
        (Severity.CRITICAL, "error", 15.0),
    ],
)
def test_bad_news_stay_longer(severity: Severity | None, level: str, stays_s: float) -> None:
    wall = Wall()
    toast(wall, SafeText("generation 4 is in use"), severity, ascii_art=False)
    assert wall.shown == [("generation 4 is in use", {"severity": level, "timeout": stays_s, "markup": False})]


@pytest.mark.parametrize("ascii_art", [False, True])
def test_whatever_a_peer_is_called_is_shown_and_fits(ascii_art: bool) -> None:
    wall = Wall()
    for text in (*HOSTILE, "\u8868" * 5000, "because " * 2000):
        toast(wall, safe_text(text, 20_000), Severity.CRITICAL, ascii_art=ascii_art)
    for shown, options in wall.shown:
        assert shown.isprintable()
        assert cell_width(SafeText(shown)) <= 600
        assert shown.isascii() or not ascii_art
        assert options["markup"] is False
