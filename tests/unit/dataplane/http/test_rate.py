"""Bounds on how often and how many at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.dataplane.http.rate import InFlight, TokenBuckets, usual_burst


def test_a_burst_and_then_the_rate() -> None:
    buckets = TokenBuckets(rate=2.0, burst=3)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b", 0.0), "one key's use is not another's"
    assert buckets.retry_after_s("a", 0.0) == 1
    assert [buckets.take("a", 0.5), buckets.take("a", 0.5), buckets.take("a", 1.0)] == [True, False, True]
    assert [buckets.take("a", 100.0) for _ in range(4)] == [True, True, True, False]


def test_a_client_that_asks_often_has_its_bucket_at_hand() -> None:
    buckets = TokenBuckets(rate=0.5, burst=2)
    one, same, other = buckets.bucket("a"), buckets.bucket("a"), buckets.bucket("b")
    assert [one.take(0.0), same.take(0.0), one.take(0.0), other.take(0.0)] == [True, True, False, True]
    assert same.retry_after_s(0.0) == 2
    assert one.take(2.0)


@pytest.mark.parametrize(("rate", "burst"), [(0.01, 1), (1.0, 1), (2.5, 3), (100.0, 100)])
def test_where_nothing_is_said_what_comes_in_a_second_may_come_at_once(rate: float, burst: int) -> None:
    assert usual_burst(rate) == burst
    buckets = TokenBuckets(rate)
    assert [buckets.take("a", 0.0) for _ in range(burst + 1)] == [True] * burst + [False]


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
