"""Thresholds are fractions of the lifetime, whether it is an hour or a year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tui.lifetime import RENEWAL_GRACE, Stage, Validity
from tui.lines import ASCII_GLYPHS, UNICODE_GLYPHS, Role
from tui.records import Severity

NOW = datetime(2026, 11, 23, 23, 15, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("lifetime", [timedelta(hours=1), timedelta(days=90), timedelta(days=3650)])
@pytest.mark.parametrize(
    ("left", "stage"),
    [
        (0.99, Stage.OK),
        (0.34, Stage.OK),
        (0.33, Stage.DUE),
        (0.11, Stage.DUE),
        (0.099, Stage.EXPIRING),
        (0.0, Stage.EXPIRED),
        (-0.5, Stage.EXPIRED),
    ],
)
def test_stage_by_the_fraction_left(lifetime: timedelta, left: float, stage: Stage) -> None:
    not_after = NOW + lifetime * left
    assert Validity(not_after - lifetime, not_after).stage(NOW) is stage


def test_a_planned_renewal_decides_before_the_fraction_does() -> None:
    start, end = NOW - timedelta(hours=15), NOW + timedelta(hours=9)
    planned_later = Validity(start, end, NOW + SECOND)
    just_now = Validity(start, end, NOW)
    overdue = Validity(start, end, NOW - RENEWAL_GRACE)
    assert [each.stage(NOW) for each in (planned_later, just_now, overdue)] == [Stage.OK, Stage.RENEWING, Stage.DUE]
    assert overdue.is_renewal_overdue(NOW)
    assert not just_now.is_renewal_overdue(NOW)


def test_what_is_not_known_or_not_yet_valid() -> None:
    assert Validity(None, None).stage(NOW) is Stage.UNKNOWN
    assert Validity(None, NOW + SECOND).stage(NOW) is Stage.OK
    assert Validity(NOW + SECOND, NOW + timedelta(days=1)).stage(NOW) is Stage.NOT_YET_VALID
    assert Validity(NOW, NOW).fraction_left(NOW) is None


def test_every_stage_has_a_word_a_sign_and_a_severity() -> None:
    for stage in Stage:
        for glyphs in (UNICODE_GLYPHS, ASCII_GLYPHS):
            assert stage.label(glyphs).split(" ", 1)[1] == stage.value
        assert (stage.severity is Severity.CRITICAL) == (stage.role is Role.CRITICAL)
        assert (stage.severity is Severity.WARNING) == (stage.role is Role.WARNING)
    assert [stage.rank for stage in Stage] == list(range(len(Stage)))
