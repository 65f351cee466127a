"""What the sidecar runs by."""

from __future__ import annotations

from collections.abc import Sequence

from tui.model import Snapshot
from tui.pages.config import config_page
from tui.records import Problem
from tui.sheet import Look, Sheet
from tui.tabs.tab import Tab, TabState


class Config(Tab):
    """What the process runs with."""

    name = "Config"
    short = "Conf"

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        return config_page(snapshot, look)
