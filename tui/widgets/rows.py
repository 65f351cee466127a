"""The one widget that shows a sheet: it draws only the lines that are visible, keeps a cursor on what can be selected,
and keeps the cursor on the same thing when the lines around it change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollBarRender
from textual.strip import Strip

from tui.lines import Line, Role, Target, literal
from tui.sheet import Page, Sheet
from tui.widgets.painter import COMPONENT_CLASSES, ROLE_CSS, ground, painted, role_styles

_UNKNOWN_LINE = Line((literal(" …", Role.MUTED),))


class AsciiScrollBar(ScrollBarRender):
    """A scroll bar of whole cells: no block characters."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


class Rows(ScrollView, can_focus=True):
    """A scrolled, selectable view of a :class:`~tui.sheet.Sheet`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {*COMPONENT_CLASSES, "rows--cursor", "rows--header"}
    ALLOW_SELECT = False
    DEFAULT_CSS = (
        """
Rows {
    background: $background;
    color: $foreground;
    scrollbar-size-vertical: 1;
    scrollbar-size-horizontal: 1;
    overflow-x: auto;
    overflow-y: auto;
    .rows--cursor { background: $primary 35%; text-style: none; }
    .rows--header { background: $surface; }
    &:nocolor .rows--cursor { text-style: reverse; }
    &:ansi .rows--cursor { text-style: reverse; }
"""
        + ROLE_CSS
        + "}"
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown,space", "page(1)", "Page down", show=False),
        Binding("home,g", "top", "First", show=False),
        Binding("end,G", "bottom", "Last", show=False),
        Binding("left", "sideways(-8)", "Left", show=False),
        Binding("right", "sideways(8)", "Right", show=False),
        Binding("enter", "open", "Open", show=False),
    ]

    @dataclass
    class Opened(Message):
        """Enter, or a second click, on a line."""

        rows: Rows
        target: Target

    @dataclass
    class HeaderPressed(Message):
        """A click on the header, ``cell`` cells from its left edge."""

        rows: Rows
        cell: int

    @dataclass
    class Resized(Message):
        """There is another width to fill: a scroll bar came or went, or the terminal changed."""

        rows: Rows

    @dataclass
    class Moved(Message):
        """Other lines are visible, or the cursor is elsewhere."""

        rows: Rows

    def __init__(self, *, id: str | None = None, ascii_art: bool = False) -> None:
        super().__init__(id=id)
        self.sheet: Sheet = Page(())
        self.cursor = 0
        self.cells_drawn = 0  # ever
        self._target: Target | None = None  # what the cursor is on, if the reader put it there
        self._was_moved = False
        self._stale = False
        self._ascii_art = ascii_art
        self._style_key: object = None
        self._styles: dict[tuple[bool, bool], tuple[dict[Role, Style], Style]] = {}

    def on_mount(self) -> None:
        if self._ascii_art:
            for bar in (self.vertical_scrollbar, self.horizontal_scrollbar):
                bar.renderer = AsciiScrollBar  # type: ignore[misc]  # documented for one bar as for all

    def show(self, sheet: Sheet, *, stale: bool = False) -> None:
        """Draw ``sheet``; the cursor stays on the thing it was on while that is there."""
        drawn, before_them = self._visible(), (self.sheet.header is None, self.cursor, self._stale, self.scroll_offset)
        self.sheet = sheet
        self._stale = stale
        self.virtual_size = Size(sheet.width, sheet.count + self._header_height)
        before = self.cursor
        found = None if self._target is None else sheet.find(self._target, before)
        # Until the reader has moved, the cursor stays at the top, whatever comes in there.
        self.cursor = self._nearest(0 if not self._was_moved else before if found is None else found)
        if self._was_moved and self._target is None:
            self._target = self.selected  # put on a line that was not known yet
        if found is not None and found != before:
            # What is under the cursor moved: the view moves along, so that it stays where the eye is.
            self._jump(y=max(0, self.scroll_offset.y + found - before))
        if before_them == (self.sheet.header is None, self.cursor, self._stale, self.scroll_offset):
            self._refresh_changed(drawn)
        else:
            self.refresh()

    def _visible(self) -> list[Line | None]:
        """The lines in view, the header first."""
        first, room = self.window
        header = self.sheet.header
        lines = [self.sheet.line(index) for index in range(first, first + room)]
        return lines if header is None else [header, *lines]

    def _refresh_changed(self, drawn: list[Line | None]) -> None:
        """Only these lines go to the terminal again: what stays the same is most of a screen, second for second."""
        now = self._visible()
        if len(now) != len(drawn):
            self.refresh()
            return
        for y, (line, before) in enumerate(zip(now, drawn, strict=True)):
            if line != before:
                self.refresh(Region(0, y, self.size.width, 1))

    @property
    def selected(self) -> Target | None:
        """What the cursor is on."""
        entry = self.sheet.line(self.cursor)
        return None if entry is None else entry.target

    @property
    def window(self) -> tuple[int, int]:
        """The first visible line and how many lines there is room for."""
        return self.scroll_offset.y, max(1, self.size.height - self._header_height)

    def select(self, target: Target) -> None:
        """Put the cursor on ``target`` now, or as soon as it is shown."""
        self._target = target
        self._was_moved = True
        found = self.sheet.find(target, self.cursor)
        if found is not None:
            self._move_to(found)

    def reset(self) -> None:
        """To the top, on nothing in particular."""
        self._target = None
        self._was_moved = False
        self.cursor = self._nearest(0)
        self._jump(0, 0)
        self.refresh()

    @property
    def _header_height(self) -> int:
        return 0 if self.sheet.header is None else 1

    def _nearest(self, index: int) -> int:
        """The selectable line nearest to ``index``: there, else below, else above."""
        index = max(0, min(index, self.sheet.count - 1))
        if self.sheet.is_selectable(index):
            return index
        below = range(index + 1, self.sheet.count)
        above = range(index - 1, -1, -1)
        return next((each for each in (*below, *above) if self.sheet.is_selectable(each)), index)

    def _move_to(self, index: int) -> None:
        self.cursor = self._nearest(index)
        self._target = self.selected
        self._was_moved = True
        first, room = self.window
        if self.cursor < first:
            self._jump(y=self.cursor)
        elif self.cursor >= first + room:
            self._jump(y=self.cursor - room + 1)
        self.refresh()
        self.post_message(self.Moved(self))

    def _jump(self, x: int | None = None, y: int | None = None) -> None:
        """Scroll at once. Forced, for the scroll bar of lines that have just come is not there yet."""
        self.scroll_to(x, y, animate=False, force=True)

    @property
    def width(self) -> int:
        """Cells to draw on: the scroll bar's column is not among them."""
        return self.scrollable_content_region.width

    def action_move(self, step: int) -> None:
        """To the next selectable line that way; where there is none in sight, scroll."""
        ahead = range(self.cursor + step, self.sheet.count if step > 0 else -1, step)
        following = next((index for index in ahead if self.sheet.is_selectable(index)), None)
        first, room = self.window
        if following is None or not first - 1 <= following <= first + room:
            self.scroll_relative(y=step, animate=False)
            if following is None:
                return
            if not first <= following < first + room:
                return
        self._move_to(following)

    def action_page(self, step: int) -> None:
        _, room = self.window
        self._move_to(self.cursor + step * room)
        if not any(self.sheet.is_selectable(index) for index in range(self.sheet.count)[:200]):
            self.scroll_relative(y=step * room, animate=False)

    def action_top(self) -> None:
        self._move_to(0)
        self._jump(y=0)

    def action_bottom(self) -> None:
        self._move_to(self.sheet.count - 1)
        self._jump(y=self.sheet.count)

    def action_sideways(self, step: int) -> None:
        self.scroll_relative(x=step, animate=False)

    def action_open(self) -> None:
        if self.selected is not None:
            self.post_message(self.Opened(self, self.selected))

    def on_click(self, event: events.Click) -> None:
        if event.y < self._header_height:
            self.post_message(self.HeaderPressed(self, event.x + self.scroll_offset.x))
            return
        index = self.scroll_offset.y + event.y - self._header_height
        if not self.sheet.is_selectable(index):
            return
        if index == self.cursor:
            self.action_open()
        else:
            self._move_to(index)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Moved(self))

    def on_resize(self) -> None:
        self.post_message(self.Resized(self))

    def render_line(self, y: int) -> Strip:
        self.cells_drawn += self.width
        header = self.sheet.header
        if header is not None and y == 0:
            styles, fill = self._role_styles(is_header=True, is_cursor=False)
            return self._cropped(header, styles, fill)
        index = self.scroll_offset.y + y - self._header_height
        is_cursor = index == self.cursor and self.has_focus and self.sheet.is_selectable(index)
        styles, fill = self._role_styles(is_header=False, is_cursor=is_cursor)
        if index >= self.sheet.count:
            return Strip.blank(self.width, fill)
        return self._cropped(self.sheet.line(index) or _UNKNOWN_LINE, styles, fill)

    def _cropped(self, shown: Line, styles: dict[Role, Style], fill: Style) -> Strip:
        left = self.scroll_offset.x
        width = self.width
        full = painted(shown.spans, styles, max(self.virtual_size.width, left + width), fill, ascii_art=self._ascii_art)
        return full.crop(left, left + width)

    def _role_styles(self, *, is_header: bool, is_cursor: bool) -> tuple[dict[Role, Style], Style]:
        key = (self._stale, self.app.theme, self.app.no_color, self.rich_style)
        if key != self._style_key:
            self._style_key, self._styles = key, {}
        kind = (is_header, is_cursor)
        if kind not in self._styles:
            fill = self.rich_style
            if is_header:
                fill += ground(self.get_component_rich_style("rows--header"))
            if is_cursor:
                fill += ground(self.get_component_rich_style("rows--cursor"))
            if self._stale:
                fill += Style(dim=True)
            self._styles[kind] = (role_styles(self, fill), fill)
        return self._styles[kind]
