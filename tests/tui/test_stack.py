"""Which of the screens that lie on one another is looked at, and what the screens may ask of their application."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from textual.screen import Screen
from ui_clock import StillClock

from tui.app import Console
from tui.fleet import Fleet
from tui.lines import Kind, Target
from tui.options import Options
from tui.reach.targets import local
from tui.roster import Roster
from tui.screens.choice import Menu
from tui.screens.detail import DetailScreen
from tui.screens.fleet import FleetScreen
from tui.screens.host import Host
from tui.screens.main import MainScreen
from tui.screens.stack import Stack
from tui.text import SafeText


class Pile:
    def __init__(self, *screens: Screen[Any]) -> None:
        self.screen_stack = list(screens)

    def pop_screen(self) -> None:
        self.screen_stack.pop()


def _window() -> Menu:
    return Menu(SafeText("Actions"), [])


def _list(clock: StillClock) -> FleetScreen:
    roster = Roster([local(Path("/nowhere/a.sock"))], False, clock, random.Random(1))
    return FleetScreen(Fleet(roster, clock), at="")


def test_windows_lie_over_what_is_looked_at() -> None:
    main, detail = MainScreen(), DetailScreen(Target(Kind.LISTENER, "web"))
    for screens, front in (([main], main), ([main, _window()], main), ([main, detail, _window(), _window()], detail)):
        stack = Stack(Pile(*screens))
        assert stack.front is front
        assert stack.detail is (detail if detail in screens else None)
        assert stack.list is None


def test_nothing_is_looked_at_before_there_is_a_screen() -> None:
    for pile in (Pile(), Pile(Screen())):
        stack = Stack(pile)
        assert (stack.front, stack.list, stack.detail, stack.cells_drawn) == (None, None, None, 0)


def test_the_list_is_looked_at_while_it_lies_there(clock: StillClock) -> None:
    main, listed = MainScreen(), _list(clock)
    pile = Pile(main, listed, _window())
    assert Stack(pile).list is listed
    assert Stack(pile).front is listed
    pile.pop_screen()
    pile.pop_screen()
    assert Stack(pile).list is None


def test_details_are_left_down_to_what_they_lie_on() -> None:
    main = MainScreen()
    pile = Pile(main, *(DetailScreen(Target(Kind.REFUSAL, number)) for number in range(3)))
    Stack(pile).leave_details()
    assert pile.screen_stack == [main]
    window = _window()
    pile = Pile(main, DetailScreen(Target(Kind.REFUSAL, 1)), window)
    Stack(pile).leave_details()
    assert pile.screen_stack[-1] is window, "what is asked there is asked still"


def test_the_console_has_all_that_its_screens_ask_of_it() -> None:
    """They take it for a Host without a type checker's word."""
    console = Console(Options((local(Path("/nowhere/a.sock")),), automatic=False), StillClock())
    asked = {*Host.__annotations__, *(name for name in vars(Host) if not name.startswith("_"))}
    assert len(asked) > 15
    assert [name for name in sorted(asked) if not hasattr(console, name)] == []
