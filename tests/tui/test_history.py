"""Rates are differences of totals; unknown is not zero."""

from __future__ import annotations

from ui_world import healthy

from tui.history import History, Rates
from tui.records import Status, decoded


def _status(**totals: int) -> Status:
    world = healthy()
    for counters in (world.status["totals"], world.status["listeners"][0]):
        counters.update({"bytes_in": 0, "bytes_out": 0, "handshakes_failed": 0, "connections_total": 0, **totals})
    return decoded(Status, world.document("status"))


def test_one_sample_says_nothing() -> None:
    history = History()
    history.add(10.0, _status())
    assert history.rates() == Rates()
    assert not history.rates().is_known


def test_per_minute_and_per_second() -> None:
    history = History()
    for second in range(31):
        history.add(
            float(second), _status(connections_total=second * 2, handshakes_failed=second, bytes_in=second * 100)
        )
    rates = history.rates()
    assert rates.connections_per_minute == 120.0
    assert rates.failures_per_minute == 60.0
    assert rates.bytes_in_per_s == 100.0
    assert rates.bytes_out_per_s == 0.0
    assert rates.is_flowing
    assert history.rates("web").bytes_in_per_s == 100.0
    assert history.rates("payments").bytes_in_per_s == 0.0


def test_the_last_minute_only() -> None:
    history = History()
    history.add(0.0, _status(connections_total=0))
    for second in range(60, 181):
        history.add(float(second), _status(connections_total=1000))
    assert history.rates().connections_per_minute == 0.0
    assert len(history.samples) <= 62


def test_a_stop_shows_within_seconds() -> None:
    history = History()
    for second in range(60):
        history.add(float(second), _status(bytes_in=min(second, 40) * 1000))
    assert not history.rates().is_flowing
    assert history.last_traffic_at == 40.0
    assert len(history.traffic) == 59


def test_samples_further_apart_than_the_window_still_give_a_rate() -> None:
    history = History()
    history.add(0.0, _status(bytes_in=0))
    history.add(100.0, _status(bytes_in=1000))
    assert history.rates().bytes_in_per_s == 10.0


def test_a_counter_that_fell_is_no_negative_rate() -> None:
    history = History()
    history.add(0.0, _status(bytes_in=1000))
    history.add(1.0, _status(bytes_in=10))
    assert history.rates().bytes_in_per_s == 0.0
    assert list(history.traffic) == [0.0]
    history.clear()
    assert history.rates() == Rates()


def test_what_is_counted_a_minute_is_the_sidecars_until_a_minute_was_watched() -> None:
    """A console that was opened seconds ago has not seen what it is asked about first."""
    world, history = healthy(), History()
    told = Rates(connections_per_minute=7.0, failures_per_minute=1.0, refusals_per_minute=2.0, bytes_in_per_s=1.0)
    for second in range(0, 71, 10):
        history.add(100.0 + second, decoded(Status, world.document("status")))
        world.advance(10, connections=1)
        filled = history.rates().filled(told, whole_minute=history.spans_a_minute)
        if second < 60:
            assert (filled.connections_per_minute, filled.refusals_per_minute) == (7.0, 2.0)
        else:
            assert (filled.connections_per_minute, filled.refusals_per_minute) == (6.0, 0.0)
    assert history.rates().filled(None).refusals_per_minute == 0.0
