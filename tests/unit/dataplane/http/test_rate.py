"""Bounds on how often and how many at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.dataplane.http.rate import InFlight, TokenBuckets


def test_a_burst_and_then_the_rate() -> None:
    buckets = TokenBuckets(rate=2.0, burst=3)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b", 0.0), "one key's use is not another's"
    assert buckets.retry_after_s("a", 0.0) == 1
    assert [buckets.take("a", 0.5), buckets.take("a", 0.5), buckets.take("a", 1.0)] == [True, False, True]
    assert [buckets.take("a", 100.0) for _ in range(4)] == [True, True, True, False]


@given(rate=st.floats(0.1, 50), burst=st.integers(1, 20), steps=st.lists(st.floats(-1.0, 2.0), min_size=1, max_size=60))
def test_never_more_than_the_burst_and_the_rate_together(rate: float, burst: int, steps: list[float]) -> None:
    buckets = TokenBuckets(rate, burst)
    now = latest = taken = 0.0
    for step in steps:
        now = max(0.0, now + step)  # a clock that steps back gives nothing
        latest = max(latest, now)
        taken += buckets.take("a", now)
        assert taken <= burst + rate * latest + 1e-6
    assert buckets.retry_after_s("a", latest) >= 1


def test_a_wait_that_was_told_is_long_enough() -> None:
    buckets = TokenBuckets(rate=0.3, burst=1)
    assert buckets.take("a", 0.0)
    assert buckets.take("a", buckets.retry_after_s("a", 0.0))


def test_the_keys_that_are_remembered_are_bounded() -> None:
    buckets = TokenBuckets(rate=1.0, capacity=100)
    for number in range(1000):
        assert buckets.take(number, 0.0)
        assert len(buckets) <= 100
    assert not buckets.take(999, 0.0)
    assert buckets.take(0, 0.0), "it was forgotten, which lets it through"


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"rate": 1.0, "burst": 0}, {"rate": 1.0, "capacity": 0}])
def test_bounds_are_above_zero(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above zero"):
        TokenBuckets(**wrong)  # type: ignore[arg-type]


def test_how_many_at_once() -> None:
    places = InFlight(2)
    assert [places.enter(), places.enter(), places.enter()] == [True, True, False]
    places.leave()
    assert (places.enter(), places.count) == (True, 2)
    assert all(InFlight(None).enter() for _ in range(10))
