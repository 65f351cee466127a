"""Thresholds are fractions of the lifetime, whether it is an hour or a year."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tui.lifetime import RENEWAL_GRACE, LifetimeStage, Validity
from tui.lines import ASCII_GLYPHS, UNICODE_GLYPHS, Role
from tui.records import Severity

NOW = datetime(2026, 11, 23, 23, 15, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("lifetime", [timedelta(hours=1), timedelta(days=90), timedelta(days=3650)])
@pytest.mark.parametrize(
    ("left", "stage"),
    [
        (0.99, LifetimeStage.OK),
        (0.34, LifetimeStage.OK),
        (0.33, LifetimeStage.DUE),
        (0.11, LifetimeStage.DUE),
        (0.099, LifetimeStage.EXPIRING),
        (0.0, LifetimeStage.EXPIRED),
        (-0.5, LifetimeStage.EXPIRED),
    ],
)
def test_stage_by_the_fraction_left(lifetime: timedelta, left: float, stage: LifetimeStage) -> None:
    not_after = NOW + lifetime * left
    assert Validity(not_after - lifetime, not_after).stage(NOW) is stage


def test_a_planned_renewal_decides_before_the_fraction_does() -> None:
    start, end = NOW - timedelta(hours=15), NOW + timedelta(hours=9)
    planned_later = Validity(start, end, NOW + SECOND)
    just_now = Validity(start, end, NOW)
    overdue = Validity(start, end, NOW - RENEWAL_GRACE)
    assert [each.stage(NOW) for each in (planned_later, just_now, overdue)] == [
        LifetimeStage.OK,
        LifetimeStage.RENEWING,
        LifetimeStage.DUE,
    ]
    assert overdue.is_renewal_overdue(NOW)
    assert not just_now.is_renewal_overdue(NOW)


def test_what_the_sidecar_says_of_a_renewal_decides_at_any_length_of_life() -> None:
    """A certificate of a minute is backdated by five: a sixth of its life is left when it is new."""
    start, planned, late, end = (NOW + SECOND * each for each in (-300, 40, 46, 60))
    own = Validity(start, end, planned, late)
    seconds = {0: "ok", 39: "ok", 40: "renewing", 45: "renewing", 46: "expiring", 60: "expired"}
    assert {at: own.stage(NOW + SECOND * at).value for at in seconds} == seconds
    failing = replace(own, renewal_failures=1)
    assert failing.stage(NOW + SECOND * 30).value == "expiring"
    early = replace(failing, not_before=NOW, not_after=NOW + SECOND * 60)
    assert early.stage(NOW + SECOND * 41).value == "renewing"


def test_what_is_not_known_or_not_yet_valid() -> None:
    assert Validity(None, None).stage(NOW) is LifetimeStage.UNKNOWN
    assert Validity(None, NOW + SECOND).stage(NOW) is LifetimeStage.OK
    assert Validity(NOW + SECOND, NOW + timedelta(days=1)).stage(NOW) is LifetimeStage.NOT_YET_VALID
    assert Validity(NOW, NOW).fraction_left(NOW) is None


def test_every_stage_has_a_word_a_sign_and_a_severity() -> None:
    for stage in LifetimeStage:
        for glyphs in (UNICODE_GLYPHS, ASCII_GLYPHS):
            assert stage.label(glyphs).split(" ", 1)[1] == stage.value
        assert (stage.severity is Severity.CRITICAL) == (stage.role is Role.CRITICAL)
        assert (stage.severity is Severity.WARNING) == (stage.role is Role.WARNING)
    assert [stage.rank for stage in LifetimeStage] == list(range(len(LifetimeStage)))
