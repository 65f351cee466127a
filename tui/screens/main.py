"""The tabs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.timer import Timer
from textual.widgets import ContentSwitcher, Input

from tlsidecar.api.words import EVENT_KINDS
from tui.keys import KeyHint
from tui.lines import Kind, Role, Span, gap
from tui.pages.chrome import TabLabel, tab_labels
from tui.pages.connecting import connecting_page
from tui.peers import Peer
from tui.plan import Interest
from tui.records import Connection, Json
from tui.screens.base import ConsoleScreen
from tui.screens.choice import Switches
from tui.sheet import Look, Sheet, Table, message_page
from tui.tabs import OVERVIEW, TABS
from tui.tabs.tab import Tab, TabState, Window
from tui.text import SafeText
from tui.widgets.bar import Bar
from tui.widgets.filter_bar import FilterBar
from tui.widgets.rows import Rows

_FILTER_REST_S = 0.15
"""Typing pauses this long before the sidecar is asked to filter."""


class MainScreen(ConsoleScreen):
    """The tabs, the filter and the sheet of the tab shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("escape", "clear", "Clear the filter"),
        Binding("s", "sort", "Sort by the next column"),
        Binding("S", "reverse", "Reverse the order"),
        Binding("w", "wide", "All columns"),
        Binding("f", "follow", "Follow the newest"),
        Binding("e", "kinds", "Kinds of events"),
        Binding("q", "app.quit", "Quit"),
        Binding("tab", "next_view(1)", "Next tab", priority=True),
        Binding("shift+tab", "next_view(-1)", "Previous tab", priority=True),
    ]

    DEFAULT_CSS = """
    MainScreen {
        #tabs { background: $panel; }
        ContentSwitcher { height: 1fr; }
        Rows { height: 1fr; scrollbar-gutter: stable; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._tab: Tab = OVERVIEW
        self._wide = False
        self._filter_rest: Timer | None = None

    def compose_body(self) -> ComposeResult:
        ascii_art = self.console.options.ascii_art
        yield Bar(id="tabs", ascii_art=ascii_art)
        yield FilterBar("words, and field:value: id:*/sa/web !listener:raw idle:>60s", ascii_art=ascii_art)
        with ContentSwitcher(initial=OVERVIEW.id):
            for tab in TABS:
                yield Rows(id=tab.id, ascii_art=ascii_art)

    def on_mount(self) -> None:
        self.rows.focus()
        self.console.start()

    @property
    def tab(self) -> Tab:
        return self._tab

    @property
    def state(self) -> TabState:
        """What the reader has set in the tab shown."""
        return self.console.monitor.tab(self._tab)

    @property
    def rows(self) -> Rows:
        """The sheet of the tab shown."""
        return self.query_one(f"#{self._tab.id}", Rows)

    @property
    def filter_bar(self) -> FilterBar:
        return self.query_one(FilterBar)

    @property
    def interest(self) -> Interest:
        """What the tab shown needs of its sidecar."""
        return self._tab.interest(self.state, Window(*self.rows.window))

    @property
    def hints(self) -> Sequence[KeyHint]:
        return self._tab.hints

    @property
    def note(self) -> SafeText:
        return self._tab.note(self.console.view.shown, self.state)

    @property
    def selected_connection(self) -> Connection | None:
        target = self.rows.selected
        page = self.console.view.shown.connections
        if target is None or target.kind is not Kind.CONNECTION or page is None:
            return None
        return next((each for each in page.connections if each.id == target.key), None)

    @property
    def selected_peer(self) -> Peer | None:
        target = self.rows.selected
        return None if target is None else Peer.under(self.console.view.shown, target)

    def exported(self) -> tuple[str, Json] | None:
        target = self.rows.selected
        return self._tab.exported(self.console.view.shown, None if target is None else target.key)

    def show_tab(self, tab: Tab) -> None:
        """Go to a tab."""
        if tab is not self._tab:
            self._tab = tab
            self.query_one(ContentSwitcher).current = tab.id
            self._show_filter(focus=False)
        self.set_focus(self.rows)
        self.console.interest_changed()
        self.console.repaint()

    def sidecar_changed(self) -> None:
        """Another sidecar is shown: from the top, with what was set for it."""
        self.rows.reset()
        self._show_filter(focus=False)

    def repaint(self) -> None:
        super().repaint()
        self._repaint_tabs()
        rows = self.rows
        look = self.look(rows.width, rows.size.height, wide=self._wide)
        rows.show(self._sheet(look), stale=self.console.view.is_stale)
        if self._tab.follows_events and self.state.follow and not self.console.view.is_paused:
            rows.action_bottom()

    def _repaint_tabs(self) -> None:
        status = self.console.view.shown.status
        held = [None if status is None else tab.held(status) for tab in TABS]
        told = [TabLabel(tab.name, tab.short or tab.name, number) for tab, number in zip(TABS, held, strict=True)]
        labels = tab_labels(told, self.size.width)
        parts: list[tuple[list[Span], str]] = []
        was_current = False
        for tab, label in zip(TABS, labels, strict=True):
            if tab is self._tab:
                spans = [Span(SafeText(f" {label} "), Role.CURRENT)]
            else:
                before = [] if was_current else [gap()]
                spans = [*before, Span(SafeText(label[:1]), Role.KEY), Span(SafeText(label[1:]), Role.MUTED)]
            was_current = tab is self._tab
            parts.append((spans, tab.name))
        self.query_one("#tabs", Bar).show_parts(parts)

    def _sheet(self, look: Look) -> Sheet:
        snapshot = self.console.view.shown
        if snapshot.status is None:
            return connecting_page(snapshot, self.console.view.monotonic, look)
        if self.console.view.is_paused and self._tab.is_unread(snapshot):
            words = SafeText("paused before this was read: p goes on")
            return message_page([Span(words, Role.NOTICE)], look)
        return self._tab.sheet(snapshot, self.console.view.found, look, self.state)

    def action_next_view(self, step: int) -> None:
        self.show_tab(TABS[(TABS.index(self._tab) + step) % len(TABS)])

    def action_wide(self) -> None:
        self._wide = not self._wide
        self.repaint()

    def action_follow(self) -> None:
        if self._tab.follows_events:
            self.state.follow = not self.state.follow
            self.repaint()

    def action_kinds(self) -> None:
        """Switched on and off until the reader leaves."""
        if not self._tab.follows_events:
            return
        state = self.state
        switches = Switches(SafeText("Events to show"), EVENT_KINDS, state.hidden)

        def left(_: str | None) -> None:
            if switches.off != state.hidden:
                state.hidden = switches.off
                self.console.kinds_changed()

        self.app.push_screen(switches, left)

    def action_sort(self) -> None:
        """By the next column that can be sorted by."""
        sorts = self._tab.sorts(self.state)
        if sorts:
            place = sorts.index(self.state.sort) if self.state.sort in sorts else -1
            self._sort_by(sorts[(place + 1) % len(sorts)])

    def action_reverse(self) -> None:
        if self._tab.sorts(self.state):
            self.state.descending = not self.state.descending
            self._ask_anew()

    def on_key(self, event: events.Key) -> None:
        """The tab's own keys; shift and a column's letter sort by it, once more reverses."""
        if event.character is None or not event.character.isalpha():
            return
        if self._tab.press(self.state, self.console.view.shown, event.character):
            event.stop()
            self._ask_anew()
            return
        sort = self._tab.sort_of(self.state, event.character)
        if sort is not None:
            event.stop()
            self._sort_by(sort)

    def _sort_by(self, sort: Hashable) -> None:
        self._tab.sort_by(self.state, sort)
        self._ask_anew()

    def _ask_anew(self) -> None:
        """Another order or filter: from the top, and now."""
        self.rows.reset()
        self.console.refresh_now()
        self.repaint()

    def action_filter(self) -> None:
        if self._tab.is_filtered:
            self._show_filter(focus=True)

    def action_clear(self) -> None:
        """Out of the filter: it is emptied and goes away. Without one, out of this sidecar."""
        is_typing = self.filter_bar.is_typed_in
        if not is_typing and self._tab.back(self.state):
            self._show_filter(focus=False)
            self._ask_anew()
            return
        if self.console.is_fleet and not self.state.typed and not is_typing:
            self.console.show_fleet()
            return
        if self.state.typed:
            self._set_filter("")
        self._show_filter(focus=False)
        self.set_focus(self.rows)

    def _show_filter(self, *, focus: bool) -> None:
        self.filter_bar.show(self.state.typed, self.state.mistake, focus=focus)

    def on_input_changed(self, event: Input.Changed) -> None:
        """What stands there now: the message may be older than what was typed since."""
        event.stop()
        if self._tab.is_filtered:
            self._set_filter(event.input.value)

    def _set_filter(self, text: str) -> None:
        changed = self._tab.set_filter(self.state, text)
        self.filter_bar.show_mistake(self.state.typed, self.state.mistake)
        if not changed:
            return
        self.rows.reset()
        if self._tab.is_filtered_there and self.console.options.automatic:
            if self._filter_rest is not None:
                self._filter_rest.stop()
            self._filter_rest = self.set_timer(_FILTER_REST_S, self.console.refresh_now)
        elif self._tab.asks_for_filter:
            self.console.refresh_now()
        self.repaint()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._set_filter(event.value)  # what was typed just before may not be told yet
        self._show_filter(focus=False)
        self.set_focus(self.rows)

    def on_bar_pressed(self, event: Bar.Pressed) -> None:
        if event.bar.id == "tabs":
            self.show_tab(next(tab for tab in TABS if tab.name == event.name))

    def on_rows_opened(self, event: Rows.Opened) -> None:
        if self._tab.drill(self.state, event.target):
            self._show_filter(focus=False)
            self._ask_anew()
        elif event.target.kind is not Kind.CHOICE:
            self.console.open_target(event.target)

    def on_rows_header_pressed(self, event: Rows.HeaderPressed) -> None:
        """Sort by the column; once more reverses."""
        sheet = event.rows.sheet
        column = sheet.column_at(event.cell) if isinstance(sheet, Table) else None
        if column is not None and column.sort is not None:
            self._sort_by(column.sort)

    def on_rows_moved(self, event: Rows.Moved) -> None:
        """Ask at once for what came into view; leave following when the reader scrolls up."""
        if event.rows is not self.rows or not event.rows.size:
            return  # of another tab, or not laid out yet: how much is in view is not known
        window = Window(*event.rows.window)
        if self._tab.lacks(self.console.view.shown, window):
            self.console.refresh_now()
        if self._tab.follows_events:
            count = event.rows.sheet.count
            self.state.follow = event.rows.cursor >= count - 1 and window.first + window.room >= count
        self._repaint_keys(self.look(self.size.width, self.size.height))
