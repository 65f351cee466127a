"""What the keys of a replay do: time stands still or goes on, jumps, and goes faster."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from tui.monitor import Monitor
from tui.plan import Interest
from tui.records import Severity
from tui.replay.moments import seconds_of
from tui.replay.player import Player
from tui.screens.choice import Field, Window
from tui.text import SafeText, safe_text

_EXAMPLE = "18:30:05, +90s or -5m before the end"


class Console(Protocol):
    """What they need of the application; :class:`tui.app.Console` is it."""

    player: Player | None

    @property
    def monitor(self) -> Monitor: ...

    @property
    def monitors(self) -> Sequence[Monitor]: ...

    def interest(self, monitor: Monitor) -> Interest: ...

    def moment_changed(self) -> None: ...

    def repaint(self) -> None: ...

    async def push_screen_wait(self, screen: Window) -> str | None: ...

    def run_worker(
        self, work: Coroutine[Any, Any, Any], *, group: str, exclusive: bool, exit_on_error: bool
    ) -> object: ...

    def tell(self, words: SafeText, severity: Severity | None = None) -> None: ...


class ReplayKeys:
    """Only of a console that shows a recording."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @property
    def _player(self) -> Player:
        assert self._console.player is not None
        return self._console.player

    def pause(self) -> None:
        """Let time stand still, or go on."""
        playback = self._player.playback
        playback.pause(not playback.is_paused)

    def step(self, seconds: int) -> None:
        """So many seconds on, and stand still there; or back."""
        playback = self._player.playback
        playback.pause(True)
        self._seek(playback.t + seconds)

    def to_mark(self, direction: int) -> None:
        """To the next reload or problem, or the one before."""
        t = self._player.mark(direction, self._console.monitor)
        if t is None:
            where = "after this" if direction > 0 else "before this"
            self._console.tell(SafeText(f"no reload and no problem {where}"))
        else:
            self._seek(t)

    async def to_typed(self) -> None:
        """To a moment that is typed, as after ``--at``."""
        recording = self._player.playback.recording
        typed = await self._console.push_screen_wait(Field(SafeText("To which moment?"), _EXAMPLE))
        if typed is None:
            return
        try:
            t = seconds_of(typed, recording)
        except ValueError as error:
            self._console.tell(safe_text(str(error)), Severity.CRITICAL)
        else:
            self._seek(t)

    def faster(self, steps: int) -> None:
        """The next speed, or the one before."""
        self._player.playback.faster(steps)
        self._console.repaint()

    def _seek(self, t: float) -> None:
        self._console.run_worker(self._seek_to(t), group="seek", exclusive=True, exit_on_error=False)

    async def _seek_to(self, t: float) -> None:
        await self._player.seek(t, self._console.monitors, self._console.interest)
        self._console.moment_changed()
