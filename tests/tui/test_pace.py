"""How often the screen is drawn by itself."""

from __future__ import annotations

import pytest

from tui.pace import MOST_OCTETS_A_SECOND, OCTETS_A_CELL, Pace

SCREEN = 200 * 50


def test_the_first_drawing_and_one_that_sent_nothing_hold_up_nobody() -> None:
    pace = Pace()
    assert pace.wait_s(5.0, 1000, SCREEN) == 0.0
    pace.draws(5.0, 1000)
    assert pace.wait_s(5.0, 1000, SCREEN) == 0.0


@pytest.mark.parametrize("cells", [36 * 120, 46 * 200])
def test_what_a_drawing_sent_has_to_be_through_before_the_next(cells: int) -> None:
    pace = Pace()
    pace.draws(5.0, 0)
    takes_s = cells * OCTETS_A_CELL / MOST_OCTETS_A_SECOND
    assert pace.wait_s(5.0, cells, SCREEN) == pytest.approx(takes_s)
    assert pace.wait_s(5.0 + takes_s / 2, cells, SCREEN) == pytest.approx(takes_s / 2)
    assert pace.wait_s(6.0 + takes_s, cells, SCREEN) == 0.0


def test_another_screen_has_drawn_less() -> None:
    pace = Pace()
    pace.draws(5.0, 10_000)
    assert pace.wait_s(5.0, 10, SCREEN) == 0.0
    pace.draws(5.0, 10)
    assert pace.wait_s(5.0, 10_000_000, 80 * 24) == pytest.approx(80 * 24 * OCTETS_A_CELL / MOST_OCTETS_A_SECOND)


def test_the_answer_to_a_key_is_drawn_when_it_comes() -> None:
    pace = Pace()
    pace.draws(5.0, 0)
    pace.asked()
    assert pace.wait_s(5.0, 9_000, SCREEN) == 0.0
