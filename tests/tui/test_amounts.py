"""Durations, sizes and rates keep their width, so that columns stand still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui import amounts
from tui.text import SafeText

NOW = datetime(2026, 11, 23, 23, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, " 00m 00s"),
        (750, " 12m 30s"),
        (4 * 3600 + 12 * 60, " 04h 12m"),
        (6 * 86400 + 4 * 3600, " 06d 04h"),
        (123 * 86400, "123d 00h"),
        (10 * 365 * 86400, "10y 000d"),
        (-750, "-12m 30s"),
        (-123 * 86400, "   -123d"),
        (1e18, "   9999y"),
    ],
)
def test_countdown(seconds: float, shown: str) -> None:
    assert amounts.countdown(seconds) == shown


@given(st.floats(-1e12, 1e12))
def test_a_countdown_always_has_the_same_width(seconds: float) -> None:
    assert len(amounts.countdown(seconds)) == amounts.COUNTDOWN_WIDTH


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s"), (12.9, "12s"), (60, "1m 00s"), (250, "4m 10s"), (7500, "2h 05m"), (190_800, "2d 05h")],
)
def test_duration(seconds: float, shown: str) -> None:
    assert amounts.duration(seconds) == shown
    assert amounts.roughly(seconds) == shown.split()[0]


def test_what_is_not_known_is_a_dash() -> None:
    assert amounts.until(None, NOW).strip() == "-"
    assert amounts.age(None, NOW) == "-"
    assert amounts.utc(None) == "-"
    assert amounts.clock_time(None) == "-"
    assert amounts.per_minute(None) == "-"
    assert amounts.byte_rate(None) == "-"
    assert amounts.latency(0) == "-"


def test_moments() -> None:
    assert amounts.until(NOW + timedelta(hours=1), NOW) == " 01h 00m"
    assert amounts.age(NOW - timedelta(seconds=9), NOW) == "9s"
    assert amounts.utc(NOW) == "2026-11-23 23:15:00Z"
    assert amounts.clock_time(NOW) == "23:15:00Z"


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0"), (9999, "9999"), (10_000, "10.0k"), (123_456, "123k"), (1.5e6, "1.5M")]
)
def test_count(number: float, shown: str) -> None:
    assert amounts.count(number) == shown


@pytest.mark.parametrize(
    ("octets", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.0K"), (1536, "1.5K"), (1 << 20, "1.0M"), (150 << 20, "150M")],
)
def test_size(octets: float, shown: str) -> None:
    assert amounts.size(octets) == shown


@given(st.integers(0, 2**63 - 1))
def test_sizes_and_counts_fit_their_columns(number: int) -> None:
    assert len(amounts.size(number)) <= amounts.SIZE_WIDTH
    assert len(amounts.count(number)) <= 5


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0004, "0.4ms"), (0.0025, "2.5ms"), (0.01, "10ms"), (0.9994, "999ms"), (2.5, "2.5s")]
)
def test_latency(seconds: float, shown: str) -> None:
    assert amounts.latency(seconds) == shown


def test_rates() -> None:
    assert amounts.per_minute(0.25) == "0.2"
    assert amounts.per_minute(1234) == "1234"
    assert amounts.byte_rate(2048) == "2.0 KiB/s"
    assert amounts.byte_rate(12) == "12 B/s"
    assert amounts.byte_rate(None) == amounts.octets(None) == "-"


def test_sparkline_is_as_wide_as_asked_and_full_at_the_top() -> None:
    assert amounts.sparkline((), 4, " 12") == "    "
    assert amounts.sparkline((0.0, 0.0), 4, " 12") == "    "
    assert amounts.sparkline((0.0, 1.0, 50.0, 100.0), 3, " 12") == "112"
    assert amounts.grouped(12345) == SafeText("12,345")
