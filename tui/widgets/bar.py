"""One row of spans; parts of it may be pressed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.lines import Span
from tui.text import cell_width
from tui.widgets.painter import COMPONENT_CLASSES, ROLE_CSS, painted, role_styles


class Bar(Widget):
    """A row at the top or the bottom of the screen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(COMPONENT_CLASSES)
    DEFAULT_CSS = f"Bar {{ height: 1; width: 1fr; {ROLE_CSS} }}"
    ALLOW_SELECT = False

    @dataclass
    class Pressed(Message):
        """A part was clicked."""

        bar: Bar
        name: str

    def __init__(self, *, id: str | None = None, ascii_art: bool = False) -> None:
        super().__init__(id=id)
        self._parts: Sequence[tuple[Sequence[Span], str]] = ()
        self._ascii_art = ascii_art
        self._stale = False

    def show(self, spans: Sequence[Span], *, stale: bool = False) -> None:
        """Draw these, none of which can be pressed; dimmed where they tell what is not so any more, perhaps."""
        if stale != self._stale:
            self._stale = stale
            self.refresh()
        self.show_parts([(spans, "")])

    def show_parts(self, parts: Sequence[tuple[Sequence[Span], str]]) -> None:
        """Draw parts, each with the name that :class:`Pressed` tells; an empty name cannot be pressed."""
        if parts != self._parts:
            self._parts = parts
            self.refresh()

    def render_line(self, y: int) -> Strip:
        base = self.rich_style + Style(dim=True) if self._stale else self.rich_style
        styles = role_styles(self, base)
        spans = [span for part, _ in self._parts for span in part]
        return painted(spans, styles, self.size.width, base, ascii_art=self._ascii_art)

    def on_click(self, event: events.Click) -> None:
        right_edge = 0
        for spans, name in self._parts:
            right_edge += sum(cell_width(span.text) for span in spans)
            if event.x < right_edge:
                if name:
                    self.post_message(self.Pressed(self, name))
                return
