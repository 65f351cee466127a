"""The refusal log: the newest, numbered, bounded in number and in size."""

from __future__ import annotations

from tlsidecar.observe.refusals import KEPT_TEXT_CHARACTERS, RefusalLog
from tlsidecar.outcomes import Reason, Refusal, Side, Stage


def refusal(**fields: object) -> Refusal:
    return Refusal(
        at=1.0,
        listener="web",
        peer_address="10.0.0.9:40000",
        side=Side.LOCAL,
        stage=Stage.AUTHORIZE,
        reason=Reason.NOT_ALLOWED,
        **fields,  # type: ignore[arg-type] - the tests name only text fields
    )


def test_newest_come_first_with_their_numbers() -> None:
    log = RefusalLog()
    for serial in ("0a", "0b", "0c"):
        log.record(refusal(serial=serial))
    assert [(number, kept.serial) for number, kept in log.newest(2)] == [(3, "0c"), (2, "0b")]
    assert log.total == 3


def test_only_the_capacity_is_kept_but_all_are_counted() -> None:
    log = RefusalLog(capacity=2)
    numbers = [log.record(refusal(serial=str(number))) for number in range(5)]
    assert numbers == [1, 2, 3, 4, 5]
    assert [(number, kept.serial) for number, kept in log.newest()] == [(5, "4"), (4, "3")]
    assert log.total == 5


def test_overlong_text_from_a_peer_is_cut_and_short_text_is_not() -> None:
    log = RefusalLog()
    log.record(refusal(subject="CN=" + "x" * 70_000, target="/short"))
    _, kept = log.newest(1)[0]
    assert len(kept.subject) == KEPT_TEXT_CHARACTERS
    assert kept.subject.endswith("x…")
    assert kept.target == "/short"
