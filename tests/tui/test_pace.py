"""How often the screen is drawn by itself."""

from __future__ import annotations

import pytest

from tui.pace import MOST_OCTETS_A_SECOND, OCTETS_A_CELL, Pace


def test_the_first_drawing_and_one_that_sent_nothing_hold_up_nobody() -> None:
    pace = Pace()
    assert pace.wait_s(5.0, 1000) == 0.0
    pace.draws(5.0, 1000)
    assert pace.wait_s(5.0, 1000) == 0.0


@pytest.mark.parametrize("cells", [36 * 120, 46 * 200])
def test_what_a_drawing_sent_has_to_be_through_before_the_next(cells: int) -> None:
    pace = Pace()
    pace.draws(5.0, 0)
    takes_s = cells * OCTETS_A_CELL / MOST_OCTETS_A_SECOND
    assert pace.wait_s(5.0, cells) == pytest.approx(takes_s)
    assert pace.wait_s(5.0 + takes_s / 2, cells) == pytest.approx(takes_s / 2)
    assert pace.wait_s(6.0 + takes_s, cells) == 0.0


def test_another_screen_has_drawn_less() -> None:
    pace = Pace()
    pace.draws(5.0, 10_000)
    assert pace.wait_s(5.0, 10) == 0.0
