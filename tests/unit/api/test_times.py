"""Times there and back, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tlsidecar.api.times import moment, timestamp

AT = datetime(2030, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    assert timestamp(AT) == "2030-01-02T03:04:05.678Z"
    assert timestamp(AT.astimezone(timezone(timedelta(hours=5, minutes=30)))) == "2030-01-02T03:04:05.678Z"
    assert timestamp(1.5) == "1970-01-01T00:00:01.500Z"
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"
    assert timestamp(None) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2030-01-02T03:04:05.678900Z", AT),
        ("2030-01-02T08:34:05.678900+05:30", AT),
        ("2030-01-02T03:04:05", None),  # whose time?
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:59", None),  # before the first year
        ("", None),
        (None, None),
        (1893553445, None),
    ],
)
def test_a_time_is_read_where_it_is_one(text: object, at: datetime | None) -> None:
    assert moment(text) == at
