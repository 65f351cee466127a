"""What a request for the history asks for: since when, and in which steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tlsidecar.admin.history_views import asked
from tlsidecar.admin.messages import ApiError

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TWO_HOURS_S = 7200


@pytest.mark.parametrize(
    ("query", "ago_s", "step_s"),
    [
        ({}, TWO_HOURS_S, 60),
        ({"step": "1s"}, 120, 1),
        ({"step": "10s"}, TWO_HOURS_S, 10),
        ({"step": "1500ms"}, 120, 2),
        ({"since": "1m"}, 60, 1),
        ({"since": "2m"}, 120, 1),
        ({"since": "121s"}, 121, 10),
        ({"since": "10m"}, 600, 10),
        ({"since": "30m"}, 1800, 10),
        ({"since": "31m"}, 1860, 60),
        ({"since": "48h"}, TWO_HOURS_S, 60),
        ({"since": "2026-11-23T11:59:30Z"}, 30, 1),
        ({"since": "2026-11-23T12:58:00 01:00"}, 120, 1),
        ({"since": "1970-01-01T00:00:00Z"}, TWO_HOURS_S, 60),
        ({"since": "5m", "step": "2h"}, 300, 7200),
    ],
)
def test_what_is_left_out_fits_what_is_said(query: dict[str, str], ago_s: float, step_s: int) -> None:
    since, step = asked(query, NOW)
    assert (NOW - since, step) == (timedelta(seconds=ago_s), step_s)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"since": "yesterday"}, "since is a time"),
        ({"since": ""}, "since is a time"),
        ({"since": "0s"}, "since is longer ago than 0s"),
        ({"since": "2026-11-23T12:00:00Z"}, "since is not in the past"),
        ({"since": "2027-01-01T00:00:00Z"}, "since is not in the past"),
        ({"step": "often"}, "step is a duration, as 10s"),
        ({"step": "0s"}, "step is a duration from 1s to 2h"),
        ({"step": "999ms"}, "step is a duration from 1s to 2h"),
        ({"step": "121m"}, "step is a duration from 1s to 2h"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(query: dict[str, str], says: str) -> None:
    with pytest.raises(ApiError, match=says) as refused:
        asked(query, NOW)
    assert refused.value.status == 400
