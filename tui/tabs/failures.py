"""What could not be done, and is nobody's guilt who asked."""

from __future__ import annotations

from collections.abc import Sequence

from tlsidecar.api.filter_fields import FAILURE_FIELDS
from tui.keys import ENTER, FILTER, SORT
from tui.model import Snapshot
from tui.pages.arrange import LARGEST_FIRST, ListSort
from tui.pages.failures import FAILURE_COLUMNS, failures_note, failures_table
from tui.plan import Ask, Interest
from tui.records import Json, Problem
from tui.sheet import Look, Sheet
from tui.tabs.tab import Tab, TabState, Window
from tui.text import SafeText


class Failures(Tab):
    """Exchanges that no peer is to blame for, in groups."""

    name = "Failures"
    short = "Fails"
    needs = frozenset({Ask.FAILURES})
    hints = (ENTER, FILTER, SORT)
    columns = FAILURE_COLUMNS
    first_sort = ListSort.AT
    largest_first = LARGEST_FIRST
    vocabulary = FAILURE_FIELDS

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        return failures_table(snapshot, look, state.filter, ListSort(str(state.sort)), state.descending)

    def is_unread(self, snapshot: Snapshot) -> bool:
        return snapshot.failures is None

    def note(self, snapshot: Snapshot, state: TabState) -> SafeText:
        return failures_note(snapshot)

    def interest(self, state: TabState, window: Window) -> Interest:
        return Interest(needs=self.needs, lists_failures=True)

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        return snapshot.whole("failures")
