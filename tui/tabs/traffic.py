"""What the traffic was like: charts of the last minute, quarter of an hour or two hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from tui.keys import BY, NEXT, SPAN
from tui.model import Snapshot
from tui.pages.traffic import traffic_note, traffic_page, traffic_past
from tui.past import SPANS, By, Whose, choices
from tui.plan import Ask, Interest
from tui.records import Json, Problem
from tui.sheet import Look, Page, Sheet
from tui.tabs.tab import Tab, TabState, Window
from tui.text import SafeText

T = TypeVar("T")


class Traffic(Tab):
    """Charts of the history."""

    name = "Traffic"
    short = "Flow"
    needs = frozenset({Ask.HISTORY})
    hints = (SPAN, BY, NEXT)

    def __init__(self) -> None:
        self._drawn: tuple[object, object, Sheet] = (None, None, Page(()))

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        """Drawn anew where there is something new, not each second: it is the largest of all."""
        past = traffic_past(snapshot, state.span)
        key = (look.width, look.height, look.glyphs, state.span, state.whose)
        if past is None or self._drawn[0] is not past or self._drawn[1] != key:
            self._drawn = (past, key, traffic_page(snapshot, look, state.span, state.whose))
        return self._drawn[2]

    def is_unread(self, snapshot: Snapshot) -> bool:
        return not snapshot.pasts and "history" not in snapshot.troubles

    def note(self, snapshot: Snapshot, state: TabState) -> SafeText:
        return traffic_note(snapshot, state.span)

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        return snapshot.whole("history")

    def interest(self, state: TabState, window: Window) -> Interest:
        return Interest(needs=self.needs, span=state.span, whose=state.whose)

    def press(self, state: TabState, snapshot: Snapshot, key: str) -> bool:
        """``t`` and ``T``: the next span, the one before; the first is all there is. ``b`` and ``B``: charts of
        listeners, upstreams or identities; ``l`` and ``L``: the next of them."""
        step = 1 if key.islower() else -1
        match key.lower():
            case "t":
                state.span = _after(["", *(span.name for span in SPANS)], state.span, step)
            case "b":
                state.whose = Whose(_after(list(By), state.whose.by, step))
            case "l":
                past = traffic_past(snapshot, state.span)
                known = [] if past is None else [key for key, _ in choices(past, state.whose.by)]
                state.whose = replace(state.whose, key=_after(["", *known], state.whose.key, step))
            case _:
                return False
        return True


def _after(choices: Sequence[T], chosen: T, step: int) -> T:
    """The first, where the one chosen is not there any more."""
    return choices[(choices.index(chosen) + step) % len(choices)] if chosen in choices else choices[0]
