"""Which of the screens that lie on one another is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from textual.screen import Screen

from tui.screens.base import ConsoleScreen
from tui.screens.detail import DetailScreen
from tui.screens.fleet import FleetScreen
from tui.widgets.rows import Rows


class Pile(Protocol):
    """Who has the screens, the lowest first; :class:`tui.app.Console` is it."""

    @property
    def screen_stack(self) -> Sequence[Screen[Any]]: ...

    def pop_screen(self) -> object: ...


class Stack:
    """The tabs lie at the bottom; on them the list of sidecars, or details one upon another; windows on top."""

    def __init__(self, pile: Pile) -> None:
        self._pile = pile

    @property
    def front(self) -> ConsoleScreen | None:
        """The full screen shown, beneath whatever window."""
        return next((screen for screen in self._downwards if isinstance(screen, ConsoleScreen)), None)

    @property
    def list(self) -> FleetScreen | None:
        """The list of sidecars, while it is shown."""
        return next((screen for screen in self._downwards if isinstance(screen, FleetScreen)), None)

    @property
    def detail(self) -> DetailScreen | None:
        """The newest detail, while it is shown."""
        return next((screen for screen in self._downwards if isinstance(screen, DetailScreen)), None)

    def leave_details(self) -> None:
        """Down to what they lie on."""
        while isinstance(self._pile.screen_stack[-1], DetailScreen):
            self._pile.pop_screen()

    @property
    def cells_drawn(self) -> int:
        """By the screen in front, ever."""
        front = self.front
        return 0 if front is None else sum(rows.cells_drawn for rows in front.query(Rows))

    @property
    def _downwards(self) -> Sequence[Screen[Any]]:
        return self._pile.screen_stack[::-1]
