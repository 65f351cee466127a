"""The overview: what is wrong, what failed and who is refused, what expires next, whether traffic flows."""

from __future__ import annotations

from collections.abc import Sequence

from tui.keys import ENTER
from tui.model import Snapshot
from tui.pages.overview import overview
from tui.plan import Ask
from tui.records import Problem
from tui.sheet import Look, Sheet
from tui.tabs.tab import Tab, TabState


class Overview(Tab):
    name = "Overview"
    needs = frozenset({Ask.CERTIFICATES, Ask.REFUSALS, Ask.FAILURES})
    hints = (ENTER,)

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        return overview(snapshot, found, look)
