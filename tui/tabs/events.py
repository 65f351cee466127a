"""What happens, as it happens."""

from __future__ import annotations

from collections.abc import Sequence

from tlsidecar.api.filter_fields import EVENT_FIELDS
from tui.keys import ENTER, FILTER, FOLLOW
from tui.model import Snapshot
from tui.pages.events import events_table
from tui.records import Json, Problem
from tui.sheet import Look, Sheet
from tui.tabs.tab import Tab, TabState
from tui.text import SafeText


class Events(Tab):
    name = "Events"
    hints = (ENTER, FILTER, FOLLOW)
    vocabulary = EVENT_FIELDS
    follows_events = True

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        return events_table(snapshot, look, state.filter)

    def note(self, snapshot: Snapshot, state: TabState) -> SafeText:
        return SafeText("following") if state.follow else SafeText("not following (f)")

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        return next(((f"event-{each.seq}", each.raw) for each in snapshot.events if each.seq == key), None)
