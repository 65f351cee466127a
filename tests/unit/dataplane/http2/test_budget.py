"""A budget is spent at once, fills up with time, and never above its burst."""

from __future__ import annotations

import pytest

from tlsidecar.dataplane.http2.budget import Budget
from tlsidecar.dataplane.http2.errors import Flood


def spend_all(budget: Budget, now: float) -> int:
    """How often one may, at ``now``."""
    for spent in range(1000):
        try:
            budget.spend(now)
        except Flood:
            return spent
    raise AssertionError("without an end")


def test_the_burst_then_the_rate() -> None:
    assert spend_all(Budget(20, 10, "PINGs", 0.0), 0.0) == 20
    assert spend_all(Budget(20, 10, "PINGs", 0.0), 1.0) == 30


def test_a_pause_however_long_is_worth_no_more_than_a_burst() -> None:
    assert spend_all(Budget(5, 10, "PINGs", 0.0), 3600.0) == 11  # with the one that finds it empty
    spent = Budget(5, 10, "PINGs", 0.0)
    for _ in range(5):
        spent.spend(0.0)
    assert spend_all(spent, 3600.0) == 6


def test_who_keeps_to_the_rate_never_meets_its_end() -> None:
    budget = Budget(5, 10, "PINGs", 0.0)
    for tick in range(1000):
        budget.spend(tick / 10)


def test_the_flood_says_of_what() -> None:
    budget = Budget(0, 0, "PINGs", 0.0)
    with pytest.raises(Flood, match="too many PINGs"):
        budget.spend(0.0)
