"""The list of several sidecars as the reader has arranged it: rows, order, filter, marks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from tlsidecar.api.filter import FilterError, parse
from tui.clock import Clock
from tui.monitor import Monitor
from tui.pages.fleet import FLEET_COLUMNS, LARGEST_FIRST, FleetSort, arranged
from tui.pages.fleet_filter import FLEET_FIELDS
from tui.pages.fleet_row import FleetRow
from tui.roster import Roster
from tui.sight import Sight


def fleet_row(monitor: Monitor, monotonic: float) -> FleetRow:
    """A sidecar as it is known now."""
    endpoint = monitor.client.endpoint
    return FleetRow(endpoint.name, endpoint.label, Sight.of(monitor.model.snapshot(monotonic, brief=True)), monotonic)


class Fleet:
    """What the list shows. Rows are made anew only of sidecars that told something, since there may be hundreds."""

    def __init__(self, roster: Roster, clock: Clock) -> None:
        self._roster = roster
        self._clock = clock
        self._rows: dict[Monitor, tuple[object, FleetRow]] = {}
        self.rows: Sequence[FleetRow] = ()  # all of them, as they were when last drawn
        self.is_complete = False  # each has answered, or failed to
        self.shown: Sequence[FleetRow] = ()  # filtered and in order
        self.filter = ""  # in force
        self.typed = ""  # as it stands in the field; what cannot be read is not in force
        self.mistake: FilterError | None = None  # in what is typed
        self.shows_rollover = False
        self.sort: FleetSort = FleetSort.WORST
        self.descending = False
        self.marked: set[str] = set()

    def take(self, monotonic: float) -> None:
        """The present of all sidecars."""
        before = self._rows
        self._rows = {monitor: self._row(monitor, before.get(monitor), monotonic) for monitor in self._roster.monitors}
        self.marked &= {monitor.name for monitor in self._rows}
        self.rows = [row for _, row in self._rows.values()]
        self.is_complete = not any(row.is_awaited for row in self.rows)
        self.arrange()

    def _row(
        self, monitor: Monitor, before: tuple[object, FleetRow] | None, monotonic: float
    ) -> tuple[object, FleetRow]:
        key = (monitor.model.link, monitor.model.updates, monitor.model.certificates_at, monitor.client.endpoint)
        if before is not None and before[0] == key:
            return key, replace(before[1], monotonic=monotonic)
        return key, fleet_row(monitor, monotonic)

    def arrange(self) -> None:
        """Filter, order and mark what was taken."""
        rows = [replace(row, is_marked=row.name in self.marked) for row in self.rows]
        self.shown = arranged(rows, self.filter, self.sort, self.descending, self._clock.now())

    def set_filter(self, text: str) -> bool:
        """What is typed; whether another filter is in force now. One that cannot be read leaves the last good one."""
        self.typed, self.mistake = text, None
        try:
            parse(text, FLEET_FIELDS)
        except FilterError as error:
            self.mistake = error
            return False
        changed, self.filter = text.strip() != self.filter, text.strip()
        return changed

    def sort_by(self, sort: Hashable) -> None:
        """By this; once more turns it round."""
        chosen = FleetSort(str(sort))
        self.descending = not self.descending if chosen is self.sort else chosen in LARGEST_FIRST
        self.sort = chosen

    def sort_by_next(self) -> None:
        """By the next column that can be sorted by."""
        sorts = [FleetSort(str(column.sort)) for column in FLEET_COLUMNS if column.sort is not None]
        following = sorts[(sorts.index(self.sort) + 1) % len(sorts)]
        self.sort, self.descending = following, following in LARGEST_FIRST

    def mark(self, name: str) -> None:
        """Mark one, or take its mark away."""
        self.marked ^= {name}

    def mark_all(self) -> None:
        """Mark all that are shown; where all are marked already, none."""
        shown = {row.name for row in self.shown}
        self.marked = self.marked - shown if shown <= self.marked else self.marked | shown

    def monitor(self, name: str) -> Monitor | None:
        """None for one that is no longer there."""
        return next((monitor for monitor in self._roster.monitors if monitor.name == name), None)

    def chosen(self, cursor: str | None) -> list[Monitor]:
        """Those an action is for: all that are marked, else the one under the cursor."""
        names = self.marked or ({cursor} if cursor is not None else set())
        return [monitor for monitor in self._roster.monitors if monitor.name in names]
