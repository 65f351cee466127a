"""News in the corner of the screen, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from tui.records import Severity
from tui.text import SafeText, ascii_only, shorten

CSS = """
    Toast { max-width: 76; }
    /* One toast at a time, the newest: a pile of them would hide what is being confirmed. */
    ToastHolder { display: none; }
    ToastHolder:last-child { display: block; }
    Console.-ascii Toast, Console.-ascii Toast.-information, Console.-ascii Toast.-warning,
    Console.-ascii Toast.-error { border: none; }
"""

_GOOD_S = 5.0
_BAD_S = 15.0
"""Seconds that good and bad news stay; the bad come to light again when the good ones told after them are gone."""

_MOST_CELLS = 600
"""A toast that holds all of a long error covers what it is about; the log has the whole of it."""

_Level = Literal["information", "warning", "error"]

_LEVELS: Mapping[Severity | None, _Level] = {
    None: "information",
    Severity.NOTICE: "information",
    Severity.WARNING: "warning",
    Severity.CRITICAL: "error",
}


class Wall(Protocol):
    """Where they are put up; :class:`tui.app.Console` is it."""

    def notify(self, message: str, *, severity: _Level, timeout: float, markup: bool) -> None: ...


def toast(wall: Wall, words: SafeText, severity: Severity | None, *, ascii_art: bool) -> None:
    """Put it up; ``severity`` is None for good news."""
    words = shorten(words, _MOST_CELLS)
    wall.notify(
        ascii_only(words) if ascii_art else words,
        severity=_LEVELS[severity],
        timeout=_GOOD_S if severity is None else _BAD_S,
        markup=False,
    )
