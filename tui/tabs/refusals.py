"""Who was turned away, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tlsidecar.api.filter_fields import REFUSAL_FIELDS
from tui.keys import ENTER, FILTER, GROUP, SORT
from tui.model import Snapshot
from tui.pages.arrange import LARGEST_FIRST, ListSort
from tui.pages.refusals import PARTY_COLUMNS, REFUSAL_COLUMNS, parties_table, refusals_note, refusals_table
from tui.plan import MAX_REFUSALS, OVERVIEW_REFUSALS, Ask, Interest
from tui.records import Json, Problem, Status
from tui.sheet import Column, Look, Sheet
from tui.tabs.tab import Tab, TabState, Window
from tui.text import SafeText


class Refusals(Tab):
    """Who was turned away and why, by party or each."""

    name = "Refusals"
    needs = frozenset({Ask.REFUSALS})
    hints = (ENTER, FILTER, SORT, GROUP)
    columns = PARTY_COLUMNS
    first_sort = ListSort.AT
    largest_first = LARGEST_FIRST
    vocabulary = REFUSAL_FIELDS
    asks_for_filter = True

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        table = refusals_table if state.each else parties_table
        return table(snapshot, look, state.filter, ListSort(str(state.sort)), state.descending)

    def columns_of(self, state: TabState) -> Sequence[Column[Any]]:
        return REFUSAL_COLUMNS if state.each else PARTY_COLUMNS

    def press(self, state: TabState, snapshot: Snapshot, key: str) -> bool:
        """``b``: by party and reason, or each by itself."""
        if key != "b":
            return False
        state.each = not state.each
        if state.sort not in self.sorts(state):
            state.sort, state.descending = self.first_sort, True
        return True

    def is_unread(self, snapshot: Snapshot) -> bool:
        return snapshot.refusals is None

    def note(self, snapshot: Snapshot, state: TabState) -> SafeText:
        return refusals_note(snapshot, each=state.each)

    def held(self, status: Status) -> int | None:
        return status.totals.refusals_total

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        row = snapshot.raw_row("refusals", "refusals", "seq", key)
        return snapshot.whole("refusals") if row is None else (f"refusal-{key}", row)

    def interest(self, state: TabState, window: Window) -> Interest:
        """As many as are looked at; all of them while they are filtered or sorted otherwise than by time."""
        if state.filter or state.sort is not ListSort.AT or not state.descending:
            return Interest(needs=self.needs, refusals_limit=MAX_REFUSALS)
        wanted = OVERVIEW_REFUSALS
        while wanted < window.first + 2 * window.room:
            wanted *= 2
        return Interest(needs=self.needs, refusals_limit=min(MAX_REFUSALS, wanted))
