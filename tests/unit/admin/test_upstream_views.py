"""What several workers hold of one upstream is one row."""

from __future__ import annotations

import pytest

from tlsidecar.admin.views import _upstreams
from tlsidecar.dataplane.snapshot import UpstreamRecord


def _record(*, healthy: bool, at: float, checked: bool | None = None, error: str = "") -> UpstreamRecord:
    return UpstreamRecord("s:1", healthy, 1, 2, 3, last_error=error, tried_at=at, checked=checked)


def test_who_tried_last_decides() -> None:
    [row] = _upstreams([_record(healthy=False, at=1.0, error="refused"), _record(healthy=True, at=2.0)])
    assert (row.healthy, row.last_error, row.active, row.idle, row.failures) == (True, "", 2, 4, 6)


@pytest.mark.parametrize("at", [1.0, 3.0])
def test_a_failing_check_decides_as_it_does_for_readiness(at: float) -> None:
    passing = _record(healthy=True, at=2.0, checked=True)
    failing = _record(healthy=False, at=at, checked=False, error="not serving")
    for records in ([passing, failing], [failing, passing]):
        [row] = _upstreams(records)
        assert (row.healthy, row.last_error, row.checked) == (False, "not serving", None)
