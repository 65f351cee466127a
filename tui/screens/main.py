"""The six tabs."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.timer import Timer
from textual.widgets import ContentSwitcher, Input

from tui.lines import Kind, Role, Span, Target, gap, literal
from tui.model import ConnectionQuery, Snapshot, Sort
from tui.pages.arrange import RefusalSort
from tui.pages.certificates import certificates_page
from tui.pages.chrome import tab_labels
from tui.pages.config import config_page
from tui.pages.connecting import connecting_page
from tui.pages.connections import CONNECTION_COLUMNS, connections_note, connections_table
from tui.pages.events import events_table
from tui.pages.overview import overview
from tui.pages.refusals import REFUSAL_COLUMNS, refusals_note, refusals_table
from tui.plan import MAX_REFUSALS, OVERVIEW_REFUSALS, View
from tui.records import Connection, Json
from tui.screens.base import ConsoleScreen
from tui.sheet import Look, Sheet, message_page
from tui.text import EMPTY, SafeText
from tui.widgets.bar import Bar
from tui.widgets.rows import Rows

_FILTERED = (View.CONNECTIONS, View.CERTIFICATES, View.REFUSALS, View.EVENTS)
_FILTER_REST_S = 0.15
"""Typing pauses this long before the sidecar is asked to filter."""

_LARGEST_FIRST = frozenset(
    {Sort.OPENED, Sort.BYTES_IN, Sort.BYTES_OUT, Sort.REQUESTS, Sort.IDLE, Sort.ID, Sort.GENERATION}
)

_LEAST_WINDOW = 50
_MOST_WINDOW = 1000


class MainScreen(ConsoleScreen):
    """The tabs, the filter and the sheet of the tab shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter"),
        Binding("escape", "clear", "Clear the filter"),
        Binding("s", "sort", "Sort by the next column"),
        Binding("S", "reverse", "Reverse the order"),
        Binding("w", "wide", "All columns"),
        Binding("f", "follow", "Follow the newest"),
        Binding("q", "app.quit", "Quit"),
        Binding("tab", "next_view(1)", "Next tab", priority=True),
        Binding("shift+tab", "next_view(-1)", "Previous tab", priority=True),
    ]

    DEFAULT_CSS = """
    MainScreen {
        #tabs { background: $panel; }
        #filter-row { display: none; height: 1; background: $surface; }
        #filter-row.-shown { display: block; }
        #filter-label { width: 9; background: $surface; }
        #filter { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
        ContentSwitcher { height: 1fr; }
        Rows { height: 1fr; scrollbar-gutter: stable; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._view = View.OVERVIEW
        self._wide = False
        self._follow = True
        self._filters = dict.fromkeys(_FILTERED, "")
        self._connection_sort = Sort.OPENED
        self._connection_descending = True
        self._refusal_sort = RefusalSort.AT
        self._refusal_descending = True
        self._filter_rest: Timer | None = None

    def compose_body(self) -> ComposeResult:
        ascii_art = self.console.options.ascii_art
        yield Bar(id="tabs", ascii_art=ascii_art)
        with Horizontal(id="filter-row"):
            yield Bar(id="filter-label", ascii_art=ascii_art)
            filter_input = Input(
                placeholder="words that have to occur", id="filter", compact=True, select_on_focus=False
            )
            filter_input.cursor_blink = False
            yield filter_input
        with ContentSwitcher(initial=_id(View.OVERVIEW)):
            for view in View:
                yield Rows(id=_id(view), ascii_art=ascii_art)

    def on_mount(self) -> None:
        self.rows.focus()
        self.query_one("#filter-label", Bar).show([gap(), literal("filter:", Role.KEY), gap()])
        self.console.start()

    @property
    def view(self) -> View:
        return self._view

    @property
    def rows(self) -> Rows:
        """The sheet of the tab shown."""
        return self.query_one(f"#{_id(self._view)}", Rows)

    @property
    def connections_query(self) -> ConnectionQuery:
        """The window on the connections that is visible, with one screen more each way."""
        first, room = self.query_one(f"#{_id(View.CONNECTIONS)}", Rows).window
        return ConnectionQuery(
            filter=self._filters[View.CONNECTIONS],
            sort=self._connection_sort,
            descending=self._connection_descending,
            offset=max(0, first - room),
            limit=max(_LEAST_WINDOW, min(_MOST_WINDOW, 3 * room)),
        )

    @property
    def refusals_limit(self) -> int:
        """As many refusals as are looked at; all of them while they are filtered or sorted otherwise than by time."""
        if self._filters[View.REFUSALS] or self._refusal_sort is not RefusalSort.AT or not self._refusal_descending:
            return MAX_REFUSALS
        first, room = self.query_one(f"#{_id(View.REFUSALS)}", Rows).window
        wanted = OVERVIEW_REFUSALS
        while wanted < first + 2 * room:
            wanted *= 2
        return min(MAX_REFUSALS, wanted)

    @property
    def note(self) -> SafeText:
        snapshot = self.console.shown
        match self._view:
            case View.CONNECTIONS:
                return connections_note(snapshot)
            case View.REFUSALS:
                return refusals_note(snapshot)
            case View.EVENTS:
                return SafeText("following") if self._follow else SafeText("not following (f)")
            case _:
                return EMPTY

    @property
    def selected_connection(self) -> Connection | None:
        target = self.rows.selected
        page = self.console.shown.connections
        if self._view is not View.CONNECTIONS or target is None or page is None:
            return None
        return next((each for each in page.connections if each.id == target.key), None)

    def exported(self) -> tuple[str, Json] | None:
        snapshot = self.console.shown
        target = self.rows.selected
        key = None if target is None else target.key
        match self._view:
            case View.OVERVIEW | View.CONFIG:
                return snapshot.whole("status")
            case View.CERTIFICATES:
                return snapshot.whole("certificates")
            case View.CONNECTIONS:
                row = snapshot.raw_row("connections", "connections", "id", key)
                return None if row is None else (f"connection-{key}", row)
            case View.REFUSALS:
                row = snapshot.raw_row("refusals", "refusals", "seq", key)
                return None if row is None else (f"refusal-{key}", row)
            case View.EVENTS:
                return next(((f"event-{each.seq}", each.raw) for each in snapshot.events if each.seq == key), None)

    def show_view(self, view: View) -> None:
        """Go to a tab."""
        if view is not self._view:
            self._view = view
            self.query_one(ContentSwitcher).current = _id(view)
            self._show_filter(focus=False)
        self.rows.focus()
        self.console.interest_changed()
        self.console.repaint()

    def show_target(self, view: View, target: Target) -> None:
        """Go to a tab and put the cursor on something there."""
        self.show_view(view)
        self.rows.select(target)

    def repaint(self) -> None:
        super().repaint()
        self._repaint_tabs()
        rows = self.rows
        look = self.look(rows.width, rows.size.height, wide=self._wide)
        rows.show(self._sheet(look), stale=self.console.is_stale)
        if self._view is View.EVENTS and self._follow and not self.console.is_paused:
            rows.action_bottom()

    def _repaint_tabs(self) -> None:
        labels = tab_labels(self.console.shown, self.size.width)
        parts: list[tuple[list[Span], str]] = []
        was_current = False
        for view, label in zip(View, labels, strict=True):
            if view is self._view:
                spans = [Span(SafeText(f" {label} "), Role.CURRENT)]
            else:
                before = [] if was_current else [gap()]
                spans = [*before, Span(SafeText(label[:1]), Role.KEY), Span(SafeText(label[1:]), Role.MUTED)]
            was_current = view is self._view
            parts.append((spans, view.name))
        self.query_one("#tabs", Bar).show_parts(parts)

    def _sheet(self, look: Look) -> Sheet:
        snapshot = self.console.shown
        if snapshot.status is None:
            return connecting_page(snapshot, self.console.monotonic, look)
        if self.console.is_paused and self._is_unread(snapshot):
            words = SafeText("paused before this was read: p goes on")
            return message_page([Span(words, Role.NOTICE)], look)
        wanted = self._filters.get(self._view, "")
        match self._view:
            case View.OVERVIEW:
                return overview(snapshot, self.console.found, look)
            case View.CONNECTIONS:
                sheet: Sheet = connections_table(snapshot, look)
            case View.CERTIFICATES:
                sheet = certificates_page(snapshot, look, wanted)
            case View.REFUSALS:
                sheet = refusals_table(snapshot, look, wanted, self._refusal_sort, self._refusal_descending)
            case View.EVENTS:
                sheet = events_table(snapshot, look, wanted)
            case View.CONFIG:
                return config_page(snapshot, look)
        return sheet

    def _is_unread(self, snapshot: Snapshot) -> bool:
        match self._view:
            case View.CONNECTIONS:
                return snapshot.connections is None
            case View.CERTIFICATES:
                return snapshot.certificates is None
            case View.REFUSALS:
                return snapshot.refusals is None
            case _:
                return False

    def action_next_view(self, step: int) -> None:
        views = list(View)
        self.show_view(views[(views.index(self._view) + step) % len(views)])

    def action_wide(self) -> None:
        self._wide = not self._wide
        self.repaint()

    def action_follow(self) -> None:
        if self._view is View.EVENTS:
            self._follow = not self._follow
            self.repaint()

    def action_sort(self) -> None:
        """By the next column that can be sorted by."""
        match self._view:
            case View.CONNECTIONS:
                sorts = [column.sort for column in CONNECTION_COLUMNS if isinstance(column.sort, Sort)]
                self._sort_connections(sorts[(sorts.index(self._connection_sort) + 1) % len(sorts)])
            case View.REFUSALS:
                keys = [column.sort for column in REFUSAL_COLUMNS if isinstance(column.sort, RefusalSort)]
                self._sort_refusals(keys[(keys.index(self._refusal_sort) + 1) % len(keys)])

    def action_reverse(self) -> None:
        match self._view:
            case View.CONNECTIONS:
                self._connection_descending = not self._connection_descending
                self._ask_anew()
            case View.REFUSALS:
                self._refusal_descending = not self._refusal_descending
                self._ask_anew()

    def on_key(self, event: events.Key) -> None:
        """Shift and a column's letter sort by it; once more reverses."""
        if event.character is None or not event.character.isupper():
            return
        if self._view is View.CONNECTIONS:
            for column in CONNECTION_COLUMNS:
                if column.letter == event.character and isinstance(column.sort, Sort):
                    event.stop()
                    self._sort_connections(column.sort)
        elif self._view is View.REFUSALS:
            for refusal_column in REFUSAL_COLUMNS:
                if refusal_column.letter == event.character and isinstance(refusal_column.sort, RefusalSort):
                    event.stop()
                    self._sort_refusals(refusal_column.sort)

    def _sort_connections(self, sort: Sort) -> None:
        is_same = sort is self._connection_sort
        self._connection_descending = not self._connection_descending if is_same else sort in _LARGEST_FIRST
        self._connection_sort = sort
        self._ask_anew()

    def _sort_refusals(self, sort: RefusalSort) -> None:
        is_same = sort is self._refusal_sort
        self._refusal_descending = not self._refusal_descending if is_same else sort is RefusalSort.AT
        self._refusal_sort = sort
        self._ask_anew()

    def _ask_anew(self) -> None:
        """Another order or filter: from the top, and now."""
        self.rows.reset()
        self.console.refresh_now()
        self.repaint()

    def action_filter(self) -> None:
        if self._view in _FILTERED:
            self._show_filter(focus=True)

    def action_clear(self) -> None:
        """Out of the filter: it is emptied and goes away."""
        filter_input = self.query_one("#filter", Input)
        if self._filters.get(self._view):
            filter_input.value = ""
            self._set_filter("")
        self._show_filter(focus=False)
        self.rows.focus()

    def _show_filter(self, *, focus: bool) -> None:
        filter_input = self.query_one("#filter", Input)
        text = self._filters.get(self._view, "")
        with self.prevent(Input.Changed):
            filter_input.value = text
        self.query_one("#filter-row").set_class(focus or bool(text), "-shown")
        if focus:
            filter_input.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._view in _FILTERED:
            self._set_filter(event.value.strip())

    def _set_filter(self, text: str) -> None:
        if text == self._filters[self._view]:
            return
        self._filters[self._view] = text
        self.rows.reset()
        if self._view is View.CONNECTIONS and self.console.options.automatic:
            if self._filter_rest is not None:
                self._filter_rest.stop()
            self._filter_rest = self.set_timer(_FILTER_REST_S, self.console.refresh_now)
        elif self._view is View.REFUSALS:
            self.console.refresh_now()
        self.repaint()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._show_filter(focus=False)
        self.rows.focus()

    def on_bar_pressed(self, event: Bar.Pressed) -> None:
        if event.bar.id == "tabs":
            self.show_view(View[event.name])

    def on_rows_opened(self, event: Rows.Opened) -> None:
        if event.target.kind is not Kind.CHOICE:
            self.console.open_target(event.target)

    def on_rows_moved(self, event: Rows.Moved) -> None:
        """Ask at once for what came into view; leave following when the reader scrolls up."""
        if event.rows is not self.rows:
            return
        first, room = event.rows.window
        if self._view is View.CONNECTIONS:
            page = self.console.shown.connections
            if page is not None and page.matched:
                last = min(first + room, page.matched)
                if first < page.offset or last > page.offset + len(page.connections):
                    self.console.refresh_now()
        elif self._view is View.EVENTS:
            count = event.rows.sheet.count
            self._follow = event.rows.cursor >= count - 1 and first + room >= count
        self._repaint_keys(self.look(self.size.width, self.size.height))


def _id(view: View) -> str:
    return f"view-{view.name.lower()}"
