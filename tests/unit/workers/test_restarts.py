"""When a worker that ended is started again."""

from __future__ import annotations

from tlsidecar.workers.restarts import FIRST_DELAY_S, LOOP_ENDS, LOOP_WINDOW_S, SLOW_DELAY_S, WELL_AFTER_S, Restarts


def test_a_single_end_is_mended_at_once() -> None:
    restarts = Restarts()
    assert restarts.ended(100.0, lived_s=50.0) == 0
    assert restarts.ended(200.0, lived_s=1.0) == 0
    assert restarts.total == 2
    assert not restarts.is_looping


def test_one_that_does_not_stay_up_waits_longer_each_time_then_long() -> None:
    restarts = Restarts()
    delays = [restarts.ended(100.0 + number, lived_s=0.5) for number in range(LOOP_ENDS)]
    assert delays == [0, FIRST_DELAY_S, FIRST_DELAY_S * 2, FIRST_DELAY_S * 4, SLOW_DELAY_S]
    assert restarts.is_looping


def test_a_while_up_begins_anew() -> None:
    restarts = Restarts()
    for number in range(LOOP_ENDS):
        restarts.ended(100.0 + number, lived_s=0.5)
    restarts.well()
    assert not restarts.is_looping
    assert restarts.ended(200.0, lived_s=WELL_AFTER_S) == 0
    assert restarts.ended(201.0, lived_s=0.1) == 0


def test_ends_far_apart_are_no_loop() -> None:
    restarts = Restarts()
    for number in range(2 * LOOP_ENDS):
        restarts.ended(number * (LOOP_WINDOW_S / (LOOP_ENDS - 1) + 1), lived_s=0.5)
    assert not restarts.is_looping
    assert restarts.total == 2 * LOOP_ENDS


def test_many_killed_after_long_lives_are_no_loop() -> None:
    """Somebody kills it again and again; each time it had come up well."""
    restarts = Restarts()
    assert [restarts.ended(100.0 + number, lived_s=WELL_AFTER_S) for number in range(9)] == [0] * 9
    assert not restarts.is_looping
