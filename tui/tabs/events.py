"""What happens, as it happens."""

from __future__ import annotations

from collections.abc import Sequence

from tlsidecar.api.filter_fields import EVENT_FIELDS
from tui.keys import ENTER, FILTER, FOLLOW, KINDS
from tui.model import Snapshot
from tui.pages.events import events_table
from tui.records import Json, Problem
from tui.sheet import Look, Sheet
from tui.tabs.tab import Tab, TabState
from tui.text import SafeText

HIDDEN_AT_FIRST = frozenset({"opened", "closed"})
"""Problems and changes are what is looked for; who comes and goes is looked at when it is asked for."""


class Events(Tab):
    """As they come."""

    name = "Events"
    hints = (ENTER, FILTER, KINDS, FOLLOW)
    vocabulary = EVENT_FIELDS
    follows_events = True

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        return events_table(snapshot, look, state.filter, state.hidden)

    def fresh_state(self) -> TabState:
        return TabState(hidden=HIDDEN_AT_FIRST)

    def note(self, snapshot: Snapshot, state: TabState) -> SafeText:
        left_out = f"without {', '.join(sorted(state.hidden))}, " if state.hidden else ""
        return SafeText(f"{left_out}following" if state.follow else f"{left_out}not following (f)")

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        event = snapshot.event(key)
        return None if event is None else (f"event-{event.seq}", event.raw)
