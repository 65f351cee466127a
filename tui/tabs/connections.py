"""Who is connected: filtered, sorted and cut by the sidecar."""

from __future__ import annotations

from collections.abc import Sequence

from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tui.keys import ENTER, FILTER, SORT
from tui.model import ConnectionQuery, Snapshot, Sort
from tui.pages.connections import CONNECTION_COLUMNS, connections_note, connections_table
from tui.plan import Ask, Interest
from tui.records import Json, Problem, Status
from tui.sheet import Look, Sheet
from tui.tabs.tab import Tab, TabState, Window
from tui.text import SafeText

_LEAST_WINDOW = 50
_MOST_WINDOW = 1000


class Connections(Tab):
    name = "Connections"
    short = "Conns"
    needs = frozenset({Ask.CONNECTIONS})
    hints = (ENTER, FILTER, SORT)
    columns = CONNECTION_COLUMNS
    first_sort = Sort.OPENED
    largest_first = frozenset(
        {Sort.OPENED, Sort.BYTES_IN, Sort.BYTES_OUT, Sort.REQUESTS, Sort.IDLE, Sort.ID, Sort.GENERATION}
    )
    vocabulary = CONNECTION_FIELDS
    is_filtered_there = True

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        return connections_table(snapshot, look)

    def is_unread(self, snapshot: Snapshot) -> bool:
        return snapshot.connections is None

    def note(self, snapshot: Snapshot, state: TabState) -> SafeText:
        return connections_note(snapshot)

    def held(self, status: Status) -> int | None:
        return status.totals.connections_active

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        row = snapshot.raw_row("connections", "connections", "id", key)
        return None if row is None else (f"connection-{key}", row)

    def interest(self, state: TabState, window: Window) -> Interest:
        """The window that is visible, with one screen more each way."""
        query = ConnectionQuery(
            filter=state.filter,
            sort=Sort(str(state.sort)),
            descending=state.descending,
            offset=max(0, window.first - window.room),
            limit=max(_LEAST_WINDOW, min(_MOST_WINDOW, 3 * window.room)),
        )
        return Interest(needs=self.needs, connections=query)

    def lacks(self, snapshot: Snapshot, window: Window) -> bool:
        page = snapshot.connections
        if page is None or not page.matched:
            return False
        last = min(window.first + window.room, page.matched)
        return window.first < page.offset or last > page.offset + len(page.connections)
