"""The refusal log: one party's refusals together, numbered, bounded, and nothing that matters displaced by noise."""

from __future__ import annotations

from tlsidecar.observe.refusals import KEPT_EXAMPLES, KEPT_GROUPS, KEPT_TEXT_CHARACTERS, RefusalLog
from tlsidecar.outcomes import Reason, Refusal, Side, Stage


def refusal(**fields: object) -> Refusal:
    return Refusal(
        **{
            "at": 1.0,
            "listener": "web",
            "peer_address": "10.0.0.9:40000",
            "side": Side.LOCAL,
            "stage": Stage.AUTHORIZE,
            "reason": Reason.NOT_ALLOWED,
            **fields,
        }  # type: ignore[arg-type] - the tests name only fields that there are
    )


def stranger(number: int) -> Refusal:
    return refusal(stage=Stage.VERIFY, reason=Reason.UNKNOWN_CA, subject=f"CN=scanner-{number}")


def test_newest_come_first_with_their_numbers() -> None:
    log = RefusalLog()
    for serial in ("0a", "0b", "0c"):
        log.record(refusal(serial=serial))
    assert [(number, kept.serial) for number, kept in log.newest(2)] == [(3, "0c"), (2, "0b")]
    assert log.total == 3


def test_one_party_for_one_reason_is_one_group() -> None:
    log = RefusalLog()
    for number in range(3):
        log.record(refusal(identity="a", at=10.0 + number, peer_address=f"10.0.0.9:{number}"))
    log.record(refusal(identity="a", reason=Reason.ROUTE_DENIED, rule="/admin/*"))
    log.record(refusal(identity="b"))
    found = [(group.key.who, group.key.reason, group.count) for group in log.groups()]
    assert found == [("b", "not_allowed", 1), ("a", "route_denied", 1), ("a", "not_allowed", 3)]
    assert (log.groups()[-1].first_at, log.groups()[-1].last_at) == (10.0, 12.0)


def test_a_stranger_without_a_certificate_is_known_by_the_address_without_its_port() -> None:
    log = RefusalLog()
    for address in ("10.0.0.9:1", "10.0.0.9:2", "[fd00::9]:1", "[fd00::9]:2", "unix", "unix"):
        log.record(refusal(stage=Stage.HANDSHAKE, reason=Reason.NO_CERTIFICATE, peer_address=address))
    assert {group.key.who: group.count for group in log.groups()} == {"10.0.0.9": 2, "fd00::9": 2, "unix": 2}


def test_what_is_not_kept_is_still_counted() -> None:
    log = RefusalLog()
    for _ in range(100):
        log.record(refusal(identity="a"))
    assert log.total == log.groups()[0].count == 100
    assert [number for number, _ in log.newest(1000)] == list(range(100, 100 - KEPT_EXAMPLES, -1))


def test_strangers_displace_neither_who_is_known_nor_a_stranger_who_comes_again() -> None:
    log = RefusalLog()
    log.record(refusal(identity="known"))
    for _ in range(2):
        log.record(stranger(-1))
    for number in range(10 * KEPT_GROUPS):
        log.record(stranger(number))
    kept = {group.key.who: group.count for group in log.groups()}
    assert kept["known"] == 1
    assert kept["CN=scanner--1"] == 2
    assert len(kept) == 1 + KEPT_GROUPS
    assert log.total == 10 * KEPT_GROUPS + 3


def test_those_who_come_often_are_bounded_too() -> None:
    log = RefusalLog(kept_groups=3)
    for number in range(5):
        for _ in range(2):
            log.record(stranger(number))
    assert [group.key.who for group in log.groups()] == ["CN=scanner-4", "CN=scanner-3", "CN=scanner-2"]


def test_overlong_text_from_a_peer_is_cut_and_short_text_is_not() -> None:
    log = RefusalLog()
    log.record(refusal(subject="CN=" + "x" * 70_000, target="/short"))
    _, kept = log.newest(1)[0]
    assert len(kept.subject) == KEPT_TEXT_CHARACTERS
    assert kept.subject.endswith("x…")
    assert kept.target == "/short"
