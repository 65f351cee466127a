"""When the screen is drawn: in its turn once a second, soon after something was told, at once for a key, and never
faster than the terminal takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from textual.geometry import Size

from tui.clock import Clock
from tui.pace import SHORTEST_REPAINT_S, Pace


class Planned(Protocol):
    """A drawing that is due later."""

    def stop(self) -> None: ...


class Canvas(Protocol):
    """What is drawn, and who keeps the timers; :class:`tui.app.Console` is it."""

    @property
    def size(self) -> Size: ...

    @property
    def cells_drawn(self) -> int:
        """Ever, on the screen in front."""
        ...

    def repaint(self) -> None: ...

    def set_timer(self, delay: float, callback: Callable[[], None]) -> Planned: ...


class Drawing:
    """``clock`` is the machine's: in a replay, too, the terminal takes its time. Not ``by_itself``, it is only drawn
    when somebody says so."""

    def __init__(self, canvas: Canvas, clock: Clock, *, by_itself: bool = True) -> None:
        self._canvas = canvas
        self._by_itself = by_itself
        self._clock = clock
        self._pace = Pace()
        self._planned: Planned | None = None

    def began(self) -> None:
        """The screen is being drawn: what was planned for later is done with."""
        if self._planned is not None:
            self._planned.stop()
            self._planned = None
        self._pace.draws(self._clock.monotonic(), self._canvas.cells_drawn)

    def asked(self) -> None:
        """Somebody waits for an answer: it is drawn when it comes."""
        self._pace.asked()

    def soon(self) -> None:
        """Something was told: draw it, together with what else is told meanwhile."""
        if self._by_itself and self._planned is None:
            self._planned = self._canvas.set_timer(max(SHORTEST_REPAINT_S, self._rest_s), self._when_due)

    def in_turn(self) -> None:
        """Draw now, or later where the terminal still has enough to do."""
        if self._rest_s > 0:
            self.soon()
        else:
            self._canvas.repaint()

    def _when_due(self) -> None:
        """What was drawn last may have been on its way to the terminal when this was planned, and not counted yet."""
        self._planned = None
        self.in_turn()

    @property
    def _rest_s(self) -> float:
        return self._pace.wait_s(self._clock.monotonic(), self._canvas.cells_drawn, self._canvas.size.area)
