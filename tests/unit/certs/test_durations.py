"""Durations as people write and read them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from certs.durations import duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("24h", 86400), ("7d", 604800), ("1h30m", 5400), (" 1d12h ", 129600), ("1.5h", 5400)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", " ", "5", "h", "5x", "-5m", "0s", "5 m", "\u0665m", "9999999999d", "999999999d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|too long|no unit|longer than zero"):
        parse_duration(text)


def test_durations_for_people() -> None:
    shown = [duration_text(timedelta(seconds=seconds)) for seconds in (0, 59, 3600, 90061, -65)]
    assert shown == ["0s", "59s", "1h", "1d 1h", "-1m 5s"]
