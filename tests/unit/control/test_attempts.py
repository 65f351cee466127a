"""The time line of attempts."""

from __future__ import annotations

from unit.control.world import at

from tlsidecar.control.attempts import AttemptLog
from tlsidecar.control.interface import Attempt, Outcome, Trigger


def attempt(second: float, outcome: Outcome, reason: str = "") -> Attempt:
    return Attempt(at(second), Trigger.ADMIN, outcome, reason)


def test_the_newest_come_first_and_are_bounded_while_all_are_counted() -> None:
    log = AttemptLog(kept=3)
    assert log.last is None
    for second in range(5):
        log.record(attempt(second, Outcome.APPLIED))
    assert [each.at for each in log.newest(2)] == [at(4), at(3)]
    assert len(log.newest()) == 3
    assert log.counts.by_outcome == {("applied", ""): 5}


def test_attempts_that_changed_nothing_do_not_push_out_what_happened() -> None:
    log = AttemptLog(kept=3)
    log.record(attempt(0, Outcome.APPLIED))
    for second in range(1, 100):
        log.record(attempt(second, Outcome.UNCHANGED))
    assert [(each.outcome, each.at) for each in log.newest()] == [(Outcome.UNCHANGED, at(99)), (Outcome.APPLIED, at(0))]


def test_a_refusal_stands_until_its_kind_is_mended() -> None:
    log = AttemptLog()
    log.record(attempt(0, Outcome.APPLIED))
    assert (log.refusal, log.refused_since) == (None, None)
    log.record(attempt(1, Outcome.REFUSED, "missing_file"))
    log.record(attempt(2, Outcome.REFUSED, "key_mismatch"))
    assert log.refused_since == at(1)
    assert log.refusal == attempt(2, Outcome.REFUSED, "key_mismatch")
    assert log.counts.last_success_at == at(0).timestamp()
    log.record(attempt(3, Outcome.REFUSED, "acme_failed"), renewal=True)
    log.record(attempt(4, Outcome.UNCHANGED))
    log.settle(renewal=False)
    assert log.refused_since == at(3)
    assert log.refusal == attempt(3, Outcome.REFUSED, "acme_failed")
    log.record(attempt(5, Outcome.REFUSED, "missing_file"))
    assert log.refused_since == at(3)
    assert log.refusal == attempt(5, Outcome.REFUSED, "missing_file")
    log.settle(renewal=True)
    log.settle(renewal=False)
    assert (log.refusal, log.refused_since) == (None, None)
