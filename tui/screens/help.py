"""The keys and the colours, to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tui.keys import help_page
from tui.pages.fleet import FLEET_COLUMNS
from tui.screens.choice import Reading
from tui.sheet import Column, Page
from tui.tabs import TABS

_MOST_WIDTH = 78
_FRAME = 6


class Help(Reading):
    """All of them; with those of the list where there is one."""

    def __init__(self, is_fleet: bool, *, read_only: bool, replay: bool) -> None:
        super().__init__(Page(()))
        self._is_fleet = is_fleet
        self._read_only = read_only
        self._replay = replay

    def page(self, width: int) -> Page:
        sortable: dict[str, Sequence[Column[Any]]] = {tab.name: tab.columns for tab in TABS if tab.columns}
        if self._is_fleet:
            sortable = {"Sidecars": FLEET_COLUMNS, **sortable}
        room = min(_MOST_WIDTH, self.app.size.width - _FRAME)
        return help_page(self.console.glyphs, room, sortable, read_only=self._read_only, replay=self._replay)
