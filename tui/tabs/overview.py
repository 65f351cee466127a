"""The overview: what is wrong, what failed and who is refused, what expires next, whether traffic flows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tui.keys import ENTER
from tui.lines import BLANK
from tui.model import Snapshot
from tui.pages.overview import overview
from tui.pages.traffic import traffic_page, traffic_past
from tui.plan import Ask, Interest
from tui.records import Problem
from tui.sheet import Look, Page, Sheet
from tui.tabs.tab import Tab, TabState, Window

_ROOM_FOR_CHARTS = (110, 30)
"""Cells and lines from which on the charts of the traffic are looked for room for, below everything else."""

_LEAST_CHARTS = 10
"""Lines that they need."""


class Overview(Tab):
    """What needs a person, and on large screens the charts of traffic."""

    name = "Overview"
    needs = frozenset({Ask.CERTIFICATES, Ask.REFUSALS, Ask.FAILURES})
    hints = (ENTER,)

    def __init__(self) -> None:
        self._drawn: tuple[object, object, Page] = (None, None, Page(()))

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        page = overview(snapshot, found, look)
        left = look.height - page.count - 1
        past = traffic_past(snapshot, "")
        width, height = _ROOM_FOR_CHARTS
        if past is None or look.width < width or look.height < height or left < _LEAST_CHARTS:
            return page
        key = (look.width, left, look.glyphs)
        if self._drawn[0] is not past or self._drawn[1] != key:
            self._drawn = (past, key, traffic_page(snapshot, replace(look, height=left), ""))
        return Page([*page.lines, BLANK, *self._drawn[2].lines[:left]])

    def interest(self, state: TabState, window: Window) -> Interest:
        """The history, too, where there is room for it."""
        has_room = window.room >= _ROOM_FOR_CHARTS[1]
        return Interest(needs=self.needs | {Ask.HISTORY} if has_room else self.needs)
