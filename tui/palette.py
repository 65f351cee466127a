"""What the command palette offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from textual.app import SystemCommand

from tui.options import Options
from tui.tabs import TABS


class Commands(Protocol):
    """Who carries them out; :class:`tui.app.Console` is it."""

    options: Options

    @property
    def is_fleet(self) -> bool: ...

    def action_view(self, number: int) -> None: ...

    def action_actions(self) -> None: ...

    def action_sidecars(self) -> None: ...

    def action_pause(self) -> None: ...

    def action_refresh_now(self) -> None: ...

    def action_help(self) -> None: ...

    def action_change_theme(self) -> None: ...

    def action_quit(self) -> object: ...


def system_commands(app: Commands) -> Iterator[SystemCommand]:
    """What the command palette offers."""
    for number, tab in enumerate(TABS, 1):
        yield SystemCommand(tab.name, f"Go to tab {number}", lambda number=number: app.action_view(number))
    if not app.options.read_only:
        yield SystemCommand("Actions", "Reload, rotate, drain, close, deny, log level", app.action_actions)
    if app.is_fleet:
        yield SystemCommand("Sidecars", "All sidecars, worst first", app.action_sidecars)
    yield SystemCommand("Pause or resume", "Hold the view", app.action_pause)
    yield SystemCommand("Refresh", "Ask the sidecar now", app.action_refresh_now)
    yield SystemCommand("Help", "Keys and colours", app.action_help)
    yield SystemCommand("Theme", "Change the colours", app.action_change_theme)
    yield SystemCommand("Quit", "Leave the console; the sidecar goes on", app.action_quit)
