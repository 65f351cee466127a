"""Problems of what we show and whom we trust, at the edges of lives."""

from __future__ import annotations

import weakref
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from unit.certs import forge
from unit.control.world import at

from certs.material import Material
from certs.sources.crl_downloads import Failing
from tlsidecar.control.interface import Attempt, Generation, IdentityState, Outcome, Severity, Trigger
from tlsidecar.control.problems import certificates
from tlsidecar.control.problems.facts import Facts, Found

NOW = forge.NOW
HOUR = timedelta(hours=1)
ROOT = forge.authority("Root", starts=NOW - 1000 * HOUR, ends=NOW + 9000 * HOUR)
MIDDLE = forge.authority("Middle", ROOT, starts=NOW - 1000 * HOUR, ends=NOW + 1000 * HOUR)
LEAF = forge.leaf(MIDDLE, dns=["web.test"], starts=NOW, ends=NOW + 30 * HOUR)
REFUSED = Attempt(at(60), Trigger.TIMER, Outcome.REFUSED, "expired", "tls.crt: too late")


def own(material: Material | None = None, **more: object) -> IdentityState:
    """An identity with a leaf of thirty hours from :data:`NOW`."""
    in_use = material or forge.material(LEAF, MIDDLE, trust=[ROOT])
    return IdentityState("default", Generation(1, in_use, NOW), **more)  # type: ignore[arg-type] - its own fields


def renewed(*, due: float, late: float, **more: object) -> IdentityState:
    """The same from a source that renews, by hours from :data:`NOW`."""
    times = {"next_renewal_at": NOW + due * HOUR, "renewal_overdue_at": NOW + late * HOUR}
    return own(renews=True, **times, **more)


def found(judgement: object, identity: IdentityState, now: datetime = NOW) -> list[Found]:
    return list(judgement(Facts(now, [identity])))  # type: ignore[operator] - one of the judgements


@pytest.mark.parametrize(
    ("after", "code", "since"),
    [
        (-1 * HOUR, "certificate_not_yet_valid", -1 * HOUR),
        (0 * HOUR, "", None),
        (19.99 * HOUR, "", None),
        (20 * HOUR, "certificate_due", 20 * HOUR),
        (26.99 * HOUR, "certificate_due", 20 * HOUR),
        (27 * HOUR, "certificate_expiring", 27 * HOUR),
        (29.99 * HOUR, "certificate_expiring", 27 * HOUR),
        (30 * HOUR, "certificate_expired", 30 * HOUR),
        (99 * HOUR, "certificate_expired", 30 * HOUR),
    ],
)
def test_what_somebody_else_renews_turns_at_a_third_a_tenth_and_the_end(
    after: timedelta, code: str, since: timedelta | None
) -> None:
    told = found(certificates.own_certificate, own(), NOW + after)
    assert [each.code for each in told] == ([code] if code else [])
    if since is not None:
        assert abs(told[0].since - (NOW + since)) < timedelta(seconds=1), "when it began, and not when it was seen"


@pytest.mark.parametrize(
    ("hours", "failures", "own_codes", "renewal_codes"),
    [
        (19, 0, [], []),
        (21, 0, [], []),  # due, and not late yet
        (22.5, 0, [], ["renewal_overdue"]),
        (21, 1, [], ["renewal_failing"]),
        (22.5, 3, [], ["renewal_failing"]),
        (28, 0, ["certificate_expiring"], ["renewal_overdue"]),
        (28, 1, ["certificate_expiring"], ["renewal_failing"]),
        (31, 0, ["certificate_expired"], ["renewal_overdue"]),
    ],
)
def test_what_its_source_renews_is_an_alarm_only_when_that_fails(
    hours: float, failures: int, own_codes: list[str], renewal_codes: list[str]
) -> None:
    identity, now = renewed(due=20, late=22, renewal_failures=failures), NOW + hours * HOUR
    assert [each.code for each in found(certificates.own_certificate, identity, now)] == own_codes
    assert [each.code for each in found(certificates.renewal, identity, now)] == renewal_codes


@pytest.mark.parametrize(("failures", "times"), [(1, "once"), (2, "2 times in a row")])
def test_a_renewal_that_fails_says_since_when_and_when_it_is_tried_again(failures: int, times: str) -> None:
    identity = renewed(due=21, late=22, renewal_failures=failures, refused_since=at(5))
    (told,) = found(certificates.renewal, identity, NOW + HOUR)
    assert told.message == f"renewing our certificate failed {times}; it is tried again at 2026-11-24T09:00:00Z"
    assert (told.since, told.subject) == (at(5), "web.test")


def test_each_ca_is_told_once_though_it_stands_in_chain_and_trust() -> None:
    both = own(forge.material(LEAF, MIDDLE, trust=[ROOT, MIDDLE]))
    (told,) = found(certificates.authorities, both, NOW + 1000 * HOUR)
    assert (told.severity, told.code, told.subject) == (Severity.CRITICAL, "authority_expired", "CN=Middle")
    (told,) = found(certificates.authorities, both, NOW + 800 * HOUR)
    assert (told.severity, told.code, told.since) == (Severity.WARNING, "authority_expiring", NOW + 800 * HOUR)
    assert found(certificates.authorities, both, NOW + 799 * HOUR) == []


def with_lists(*lists: object, soft: bool = False) -> IdentityState:
    return own(replace(forge.material(LEAF, MIDDLE, trust=[ROOT]), crls=tuple(lists)), soft_crl=soft)  # type: ignore[arg-type] - lists


@pytest.mark.parametrize(
    ("soft", "severity", "what"),
    [
        (False, Severity.CRITICAL, "every peer it covers is refused"),
        (True, Severity.WARNING, "is ignored (crl_policy = soft)"),
    ],
)
def test_a_list_out_of_date_says_what_that_costs(soft: bool, severity: Severity, what: str) -> None:
    crl = forge.revocations(MIDDLE, this_update=NOW - 9 * HOUR, next_update=NOW + HOUR)
    identity = with_lists(crl, soft=soft)
    assert found(certificates.revocation_lists, identity, NOW - timedelta(seconds=1)) == []
    (told,) = found(certificates.revocation_lists, identity, NOW)
    assert (told.severity, told.code, told.since) == (Severity.WARNING, "crl_expiring", NOW)
    (told,) = found(certificates.revocation_lists, identity, NOW + HOUR)
    assert (told.severity, told.code, told.subject) == (severity, "crl_expired", "CN=Middle")
    assert told.message.endswith(what)


def test_an_old_list_beside_a_newer_one_of_its_issuer_is_nobodys_problem() -> None:
    old = forge.revocations(MIDDLE, this_update=NOW - 9 * HOUR, next_update=NOW - HOUR)
    new = forge.revocations(MIDDLE, this_update=NOW - HOUR, next_update=NOW + 9 * HOUR)
    others = forge.revocations(ROOT, this_update=NOW - 9 * HOUR, next_update=NOW - HOUR)
    assert found(certificates.revocation_lists, with_lists(old, new)) == []
    (told,) = found(certificates.revocation_lists, with_lists(new, others))
    assert told.subject == "CN=Root"


def test_a_list_whose_life_has_no_length_is_over_or_not() -> None:
    crl = forge.revocations(MIDDLE, this_update=NOW, next_update=NOW)
    assert found(certificates.revocation_lists, with_lists(crl), NOW - timedelta(seconds=1)) == []
    (told,) = found(certificates.revocation_lists, with_lists(crl), NOW)
    assert told.code == "crl_expired"


def test_each_address_that_has_no_list_is_told() -> None:
    failing = {"http://a.test/": Failing("404", at(1)), "http://b.test/": Failing("timed out", at(2))}
    told = found(certificates.crl_downloads, own(crls_failing=failing), at(60))
    assert [(each.subject, each.since) for each in told] == [("http://a.test/", at(1)), ("http://b.test/", at(2))]
    assert "http://a.test/ cannot be had: 404; the one that is kept goes on being used" in told[0].message


def test_a_refusal_stands_since_its_first_time() -> None:
    (told,) = found(certificates.refused, own(refusal=REFUSED, refused_since=at(7)), at(90))
    assert (told.severity, told.since, told.subject) == (Severity.CRITICAL, at(7), "expired")
    assert told.message.endswith(": tls.crt: too late")
    (first,) = found(certificates.refused, IdentityState("default", refusal=REFUSED), at(90))
    assert first.since == at(90)


@pytest.mark.parametrize(
    ("starts", "is_newer"), [(NOW + HOUR, True), (NOW, False), (NOW - HOUR, False)], ids=["newer", "same", "older"]
)
def test_only_what_begins_later_is_newer(starts: datetime, is_newer: bool) -> None:
    other = forge.leaf(MIDDLE, dns=["web.test"], starts=starts, ends=starts + 30 * HOUR).read
    identity = own(refusal=REFUSED, refused_since=at(7), rejected=other)
    assert [each.code for each in found(certificates.newer_at_hand, identity)] == ["newer_at_hand"] * is_newer
    assert found(certificates.newer_at_hand, own(rejected=other)) == [], "it was taken"


def test_whoever_is_trusted_by_federation_vouches_for_us_too() -> None:
    """A SPIFFE bundle of another trust domain: our chain may lead there."""
    elsewhere = forge.authority("Elsewhere")
    alone = forge.material(LEAF, MIDDLE, trust=[elsewhere])
    (told,) = found(certificates.trust, own(alone))
    assert (told.severity, told.code, told.subject, told.since) == (Severity.NOTICE, "trust_mismatch", "CN=Root", NOW)
    assert found(certificates.trust, own(replace(alone, federated={"other.test": (ROOT.read,)}))) == []
    assert found(certificates.trust, own(forge.material(LEAF, trust=[MIDDLE]))) == []


def test_before_there_is_anything_nothing_of_it_is_wrong() -> None:
    nothing = IdentityState("default")
    for judgement in (
        certificates.own_certificate,
        certificates.renewal,
        certificates.authorities,
        certificates.revocation_lists,
        certificates.newer_at_hand,
        certificates.trust,
    ):
        assert found(judgement, nothing) == []


def test_what_was_judged_is_not_kept_for_it() -> None:
    """With it went the private keys and the revocation lists of the last sixteen generations."""
    root = forge.authority()
    material = forge.material(forge.leaf(root), trust=[root])
    assert certificates._leads_to_trust(material)
    assert certificates._leads_to_trust(material)
    kept = weakref.ref(material)
    del material
    assert kept() is None
