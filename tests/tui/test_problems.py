"""What is wrong and in which order: the sidecar's own judgement, and what only a watcher knows. None hides another."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from ui_world import NOW, World, healthy, stamp

from tui.model import Model, Snapshot
from tui.problems import problems, worst_severity
from tui.records import Severity
from tui.text import SafeText


def _snapshot(world: World, *, ahead: timedelta = timedelta(0), lost: bool = False) -> Snapshot:
    model = Model(SafeText("/run/admin.sock"))
    model.take_status(world.document("status"), 100.0, world.now - ahead, 0.0)
    if lost:
        model.lose(SafeText("nobody listens"), 101.0)
    return model.snapshot(101.0)


def _said(severity: str, code: str, subject: str = "") -> dict[str, object]:
    return {"severity": severity, "code": code, "message": code, "since": stamp(NOW), "subject": subject, "advice": "x"}


def test_a_healthy_sidecar_has_no_problem() -> None:
    found = problems(_snapshot(healthy()))
    assert (found, worst_severity(found)) == ([], None)


def test_the_sidecars_own_words_advice_and_subject_are_shown_as_they_are() -> None:
    world = healthy()
    world.status["problems"] = [_said("critical", "reload_refused", "tls.key")]
    (problem,) = problems(_snapshot(world))
    assert (problem.code, problem.subject, problem.advice, problem.since) == ("reload_refused", "tls.key", "x", NOW)


def test_a_lost_socket_and_a_wrong_clock_are_added() -> None:
    found = problems(_snapshot(healthy(), ahead=timedelta(seconds=90), lost=True))
    assert [problem.code for problem in found] == ["admin_socket", "clock_skew"]
    assert "1m" in found[1].message
    assert "ahead of" in found[1].message


_CODES = ("clock_jumped", "clock_skew", "worker_failing", "worker_lag", "certificate_due", "certificate_expired")


@given(st.lists(st.tuples(st.sampled_from(list(Severity)), st.sampled_from(_CODES), st.sampled_from("abc"))))
def test_no_problem_hides_another_and_the_worst_come_first(said: list[tuple[Severity, str, str]]) -> None:
    world = healthy()
    world.status["problems"] = [_said(severity.value, code, subject) for severity, code, subject in said]
    found = problems(_snapshot(world, ahead=timedelta(hours=1), lost=True))
    assert len(found) == len(said) + 2
    assert [problem.severity.rank for problem in found] == sorted(problem.severity.rank for problem in found)
    assert worst_severity(found) is Severity.CRITICAL
