"""What the traffic was like: charts of the last minute, quarter of an hour or two hours."""

from __future__ import annotations

from collections.abc import Sequence

from tui.keys import LISTENER, SPAN
from tui.model import Snapshot
from tui.pages.traffic import traffic_note, traffic_page, traffic_past
from tui.past import SPANS
from tui.plan import Ask, Interest
from tui.records import Json, Problem
from tui.sheet import Look, Page, Sheet
from tui.tabs.tab import Tab, TabState, Window
from tui.text import SafeText


class Traffic(Tab):
    """Charts of the history."""

    name = "Traffic"
    short = "Flow"
    needs = frozenset({Ask.HISTORY})
    hints = (SPAN, LISTENER)

    def __init__(self) -> None:
        self._drawn: tuple[object, object, Sheet] = (None, None, Page(()))

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        """Drawn anew where there is something new, not each second: it is the largest of all."""
        listener = self._listener(snapshot, state)
        past = traffic_past(snapshot, state.span)
        key = (look.width, look.height, look.glyphs, state.span, listener)
        if past is None or self._drawn[0] is not past or self._drawn[1] != key:
            self._drawn = (past, key, traffic_page(snapshot, look, state.span, listener))
        return self._drawn[2]

    def is_unread(self, snapshot: Snapshot) -> bool:
        return not snapshot.pasts and "history" not in snapshot.troubles

    def note(self, snapshot: Snapshot, state: TabState) -> SafeText:
        return traffic_note(snapshot, state.span)

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        return snapshot.whole("history")

    def interest(self, state: TabState, window: Window) -> Interest:
        return Interest(needs=self.needs, span=state.span)

    def press(self, state: TabState, snapshot: Snapshot, key: str) -> bool:
        """``t`` and ``T``: the next span, the one before; the first is all there is. ``l`` and ``L``: the listeners."""
        names = [] if snapshot.status is None else [each.name for each in snapshot.status.listeners]
        step = 1 if key.islower() else -1
        match key.lower():
            case "t":
                state.span = _after(["", *(span.name for span in SPANS)], state.span, step)
            case "l":
                state.listener = _after(["", *names], self._listener(snapshot, state), step)
            case _:
                return False
        return True

    def _listener(self, snapshot: Snapshot, state: TabState) -> str:
        """The one chosen, while there is such a one."""
        listeners = () if snapshot.status is None else snapshot.status.listeners
        return state.listener if any(each.name == state.listener for each in listeners) else ""


def _after(choices: Sequence[str], chosen: str, step: int) -> str:
    return choices[(choices.index(chosen) + step) % len(choices)]
