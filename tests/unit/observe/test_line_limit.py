"""Log lines of one cause: a burst, then one now and then, and every line that was left out is in somebody's count."""

from __future__ import annotations

from collections.abc import Callable

from tlsidecar.observe.line_limit import BURST_LINES, EVERY_S, KEPT_CAUSES, LineLimit


class World:
    """A clock that is moved by hand, with what was put off."""

    def __init__(self) -> None:
        self.at = 0.0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.written: list[int] = []
        self.flushed: list[int] = []
        self.limit = LineLimit(now=lambda: self.at, later=self._later)

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        self.due.append((self.at + delay_s, call))

    def line(self, cause: object = "cause") -> None:
        left_out = self.limit.admit(cause, self.flushed.append)  # type: ignore[arg-type] - any object here has a hash
        if left_out is not None:
            self.written.append(left_out)

    def sleep(self, seconds: float) -> None:
        self.at += seconds
        due, self.due = self.due, []
        for at, call in due:
            if at <= self.at:
                call()
            else:
                self.due.append((at, call))


def test_a_few_lines_are_all_written() -> None:
    world = World()
    for _ in range(BURST_LINES):
        world.line()
    assert (world.written, world.due) == ([0] * BURST_LINES, [])


def test_a_flood_is_a_burst_and_a_count_at_its_end() -> None:
    world = World()
    for _ in range(1000):
        world.line()
    assert world.written == [0] * BURST_LINES
    world.sleep(EVERY_S)
    assert world.flushed == [1000 - BURST_LINES]
    world.sleep(EVERY_S)
    assert len(world.flushed) == 1


def test_no_line_is_lost_from_the_counts() -> None:
    world = World()
    for number in range(500):
        world.line()
        if number % 7 == 0:
            world.sleep(1.0)
    world.sleep(EVERY_S)
    assert len(world.written) + sum(world.written) + sum(world.flushed) == 500


def test_one_cause_does_not_silence_another() -> None:
    world = World()
    for _ in range(100):
        world.line("noise")
    world.line("news")
    assert len(world.written) == BURST_LINES + 1


def test_causes_are_bounded() -> None:
    world = World()
    for number in range(3 * KEPT_CAUSES):
        world.line(number)
    assert len(world.limit._causes) <= KEPT_CAUSES
