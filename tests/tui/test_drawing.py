"""When the screen is drawn, by a clock and timers of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from textual.geometry import Size
from ui_clock import StillClock

from tui.drawing import Drawing
from tui.pace import MOST_OCTETS_A_SECOND, OCTETS_A_CELL, SHORTEST_REPAINT_S


@dataclass
class Timer:
    at: float
    callback: Callable[[], None]
    is_stopped: bool = False

    def stop(self) -> None:
        self.is_stopped = True


class Canvas:
    """Draws so many cells each time, and goes through its timers when told to."""

    def __init__(self, clock: StillClock, cells: int) -> None:
        self.size = Size(120, 40)
        self.cells_drawn = 0
        self.times: list[float] = []  # of each drawing
        self.timers: list[Timer] = []
        self._clock = clock
        self._cells = cells
        self.drawing = Drawing(self, clock)

    def repaint(self) -> None:
        self.drawing.began()
        self.times.append(self._clock.seconds - 1000.0)
        self.cells_drawn += self._cells

    def set_timer(self, delay: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self._clock.seconds + delay, callback))
        return self.timers[-1]

    def until(self, seconds: float) -> None:
        """Let time pass."""
        while due := [timer for timer in self.timers if not timer.is_stopped and timer.at <= 1000.0 + seconds]:
            first = min(due, key=lambda timer: timer.at)
            self._clock.seconds = max(self._clock.seconds, first.at)
            first.stop()
            first.callback()
        self._clock.seconds = 1000.0 + seconds


def test_what_is_told_within_a_moment_is_drawn_together(clock: StillClock) -> None:
    canvas = Canvas(clock, cells=10)
    for _ in range(20):
        canvas.drawing.soon()
    canvas.until(1.0)
    assert canvas.times == [pytest.approx(SHORTEST_REPAINT_S)]


def test_a_drawing_at_once_does_what_was_planned(clock: StillClock) -> None:
    canvas = Canvas(clock, cells=10)
    canvas.drawing.soon()
    canvas.repaint()
    canvas.until(1.0)
    assert canvas.times == [0.0]
    canvas.drawing.soon()
    canvas.until(2.0)
    assert canvas.times == [0.0, pytest.approx(1.0 + SHORTEST_REPAINT_S)]


def test_a_slow_terminal_gets_the_next_one_when_it_is_through(clock: StillClock) -> None:
    canvas = Canvas(clock, cells=4800)
    through_s = 4800 * OCTETS_A_CELL / MOST_OCTETS_A_SECOND
    assert through_s > 1.0
    canvas.drawing.in_turn()
    canvas.until(1.0)
    canvas.drawing.in_turn()
    canvas.until(through_s - 0.01)
    assert canvas.times == [0.0]
    canvas.until(through_s + 0.01)
    assert canvas.times == [0.0, pytest.approx(through_s)]


def test_who_asked_is_not_kept_waiting(clock: StillClock) -> None:
    canvas = Canvas(clock, cells=4800)
    canvas.drawing.in_turn()
    canvas.drawing.asked()
    canvas.drawing.in_turn()
    assert canvas.times == [0.0, 0.0]


def test_by_hand_nothing_is_drawn_by_itself(clock: StillClock) -> None:
    canvas = Canvas(clock, cells=10)
    Drawing(canvas, clock, by_itself=False).soon()
    assert not canvas.timers
