"""Who is connected: filtered, sorted and cut by the sidecar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from tlsidecar.api.filter_fields import CONNECTION_FIELDS
from tlsidecar.api.words import CONNECTION_GROUPS
from tui.keys import ENTER, FILTER, GROUP, SORT
from tui.lines import Kind, Target
from tui.model import ConnectionQuery, GroupSort, Snapshot, Sort
from tui.pages.connections import CONNECTION_COLUMNS, connections_note, connections_table
from tui.pages.groups import GROUP_COLUMNS, groups_note, groups_table
from tui.plan import Ask, Interest
from tui.records import Json, Problem, Status
from tui.sheet import Column, Look, Sheet
from tui.tabs.tab import Tab, TabState, Window
from tui.text import SafeText

_LEAST_WINDOW = 50
_MOST_WINDOW = 1000


class Connections(Tab):
    """Those open now, in pages: the sidecar sorts and filters them."""

    name = "Connections"
    short = "Conns"
    needs = frozenset({Ask.CONNECTIONS})
    hints = (ENTER, FILTER, SORT, GROUP)
    columns = CONNECTION_COLUMNS
    first_sort = Sort.OPENED
    largest_first = frozenset(GroupSort) - {GroupSort.KEY} | frozenset(
        {Sort.OPENED, Sort.BYTES_IN, Sort.BYTES_OUT, Sort.REQUESTS, Sort.IDLE, Sort.ID, Sort.GENERATION}
    )
    vocabulary = CONNECTION_FIELDS
    is_filtered_there = True

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        return groups_table(snapshot, look) if state.group else connections_table(snapshot, look)

    def columns_of(self, state: TabState) -> Sequence[Column[Any]]:
        return GROUP_COLUMNS if state.group else CONNECTION_COLUMNS

    def is_unread(self, snapshot: Snapshot) -> bool:
        return snapshot.connections is None

    def note(self, snapshot: Snapshot, state: TabState) -> SafeText:
        return groups_note(snapshot, state.group) if state.group else connections_note(snapshot)

    def held(self, status: Status) -> int | None:
        return status.totals.connections_active

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        row = snapshot.raw_row("connections", "connections", "id", key)
        if row is None and snapshot.connections_query.group:
            return snapshot.whole("connections")
        return None if row is None else (f"connection-{key}", row)

    def interest(self, state: TabState, window: Window) -> Interest:
        """The window that is visible, with one screen more each way."""
        query = ConnectionQuery(
            filter=state.filter,
            sort=GroupSort(str(state.sort)) if state.group else Sort(str(state.sort)),
            descending=state.descending,
            offset=max(0, window.first - window.room),
            limit=max(_LEAST_WINDOW, min(_MOST_WINDOW, 3 * window.room)),
            group=state.group,
        )
        return Interest(needs=self.needs, connections=query)

    def lacks(self, snapshot: Snapshot, window: Window) -> bool:
        page = snapshot.connections
        if page is None or not page.matched:
            return False
        rows, count = page.connections or page.groups, page.groups_matched or page.matched
        last = min(window.first + window.room, count)
        return window.first < page.offset or last > page.offset + len(rows)

    def press(self, state: TabState, snapshot: Snapshot, key: str) -> bool:
        """``b``: counted together by one thing after another, and again each by itself."""
        if key != "b":
            return False
        choices = ("", *CONNECTION_GROUPS)
        state.group = choices[(choices.index(state.group) + 1) % len(choices)]
        if state.sort not in self.sorts(state):
            state.sort, state.descending = (GroupSort.CONNECTIONS if state.group else self.first_sort), True
        return True

    def drill(self, state: TabState, target: Target) -> bool:
        """Into a group: its connections, by its filter beside the one that is there."""
        if target.kind is not Kind.GROUP:
            return False
        state.outer = replace(state)
        state.group, state.sort, state.descending = "", self.first_sort, True
        self.set_filter(state, f"{state.filter} {target.key}".strip())
        return True

    def back(self, state: TabState) -> bool:
        outer = state.outer
        if outer is None:
            return False
        for each in fields(outer):
            setattr(state, each.name, getattr(outer, each.name))
        return True
