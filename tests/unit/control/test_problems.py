"""What is wrong, judged from facts: one problem for each subject, ranked, with its advice, and none hides another."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from unit.certs import forge
from unit.control.world import Issuer, at, snapshot, upstream

from certs.material import Material
from certs.revocation import write_crls
from tlsidecar.control.guard import Defect
from tlsidecar.control.interface import (
    Attempt,
    ConfigurationState,
    Generation,
    IdentityState,
    Outcome,
    Problem,
    Trigger,
)
from tlsidecar.control.outages import Outage
from tlsidecar.control.problems import JUDGEMENTS, Facts, Problems
from tlsidecar.control.problems.advice import ADVICE
from tlsidecar.dataplane.snapshot import ListenerCounters
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.outcomes import Reason, Refusal, Side, Stage

DAY = timedelta(hours=24)
NOW = forge.NOW


def judge(facts: Facts) -> list[Problem]:
    defects: list[str] = []
    found = Problems(lambda name, error: defects.append(f"{name}: {error!r}")).judge(facts)
    assert defects == []
    assert all(problem.advice for problem in found)
    return found


def codes(facts: Facts) -> list[tuple[str, str]]:
    return [(problem.severity.value, problem.code) for problem in judge(facts)]


def changed(facts: Facts, now: datetime | None = None, **changes: object) -> Facts:
    """The same at another time, with something else about our only identity."""
    (own,) = facts.identities
    return Facts(now or facts.now, [replace(own, **changes)])  # type: ignore[arg-type] - its own fields


def generation_of(facts: Facts) -> Generation:
    (own,) = facts.identities
    assert own.generation is not None
    return own.generation


@pytest.fixture
def clock() -> forge.ManualClock:
    return forge.ManualClock()


@pytest.fixture
def issuer(tmp_path: Path, clock: forge.ManualClock) -> Issuer:
    return Issuer(tmp_path, clock)


@pytest.fixture
def files(issuer: Issuer) -> Facts:
    """Material of a day's life from a source that somebody else renews."""
    return Facts(NOW, [IdentityState("default", Generation(1, issuer.material(DAY), NOW))])


@pytest.fixture
def authority(files: Facts) -> Facts:
    """The same from a source that renews after sixteen hours."""
    due = NOW + timedelta(hours=16)
    return changed(files, renews=True, next_renewal_at=due, renewal_overdue_at=due + timedelta(minutes=1))


def test_nothing_is_wrong_with_nothing() -> None:
    assert judge(Facts(NOW)) == []


def test_every_judgement_has_its_advice_and_every_advice_its_judgement() -> None:
    source = "".join(path.read_text() for path in Path(JUDGEMENTS[0].__code__.co_filename).parent.glob("*.py"))
    for code in ADVICE:
        named = f'"{code}",' in source or f'f"{{what}}_{code.partition("_")[2]}"' in source
        assert named, code


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (0, []),
        (15, []),
        (17, [("warning", "certificate_due")]),
        (22, [("critical", "certificate_expiring")]),
        (25, [("critical", "certificate_expired")]),
    ],
)
def test_files_are_warned_about_by_fractions_of_their_life(
    files: Facts, hours: int, expected: list[tuple[str, str]]
) -> None:
    facts = replace(files, now=NOW + timedelta(hours=hours))
    assert codes(facts) == expected
    for problem in judge(facts):
        assert "renew" not in problem.message


@pytest.mark.parametrize(
    ("hours", "due", "failures", "expected"),
    [
        (17, 18, 0, []),  # a third of its backdated life is left, and it is not due yet
        (17, 16, 0, [("warning", "renewal_overdue")]),
        (17, 18, 2, [("warning", "renewal_failing")]),
        (23, 23.5, 0, []),
        (23, 23.5, 9, [("critical", "certificate_expiring"), ("warning", "renewal_failing")]),
        (25, 25, 9, [("critical", "certificate_expired"), ("warning", "renewal_failing")]),
    ],
)
def test_what_its_source_renews_is_judged_by_when_it_will(
    authority: Facts, hours: float, due: float, failures: int, expected: list[tuple[str, str]]
) -> None:
    facts = changed(
        authority,
        now=NOW + timedelta(hours=hours),
        next_renewal_at=NOW + timedelta(hours=due),
        renewal_overdue_at=NOW + timedelta(hours=due, minutes=1),
        renewal_failures=failures,
    )
    assert codes(facts) == expected


def test_a_certificate_of_the_future(files: Facts) -> None:
    assert codes(replace(files, now=NOW - timedelta(hours=1))) == [("warning", "certificate_not_yet_valid")]


def test_each_ca_that_ends_has_its_own_line(files: Facts) -> None:
    material = generation_of(files).material
    ends = material.chain[0].not_valid_after_utc
    found = [each for each in judge(replace(files, now=ends)) if each.code == "authority_expired"]
    assert len(found) == 1
    assert "Intermediate" in found[0].subject
    root = material.trust[0].not_valid_after_utc
    found = [each for each in judge(replace(files, now=root)) if each.code == "authority_expired"]
    assert len({each.subject for each in found}) == 2


def test_the_cas_of_other_trust_domains_end_with_a_line_of_their_own_too(files: Facts) -> None:
    partner = forge.authority("Partner Root", starts=NOW - DAY, ends=NOW + DAY)
    material = replace(generation_of(files).material, federated={"partner.example": (partner.read,)})
    for now, code in ((NOW + DAY * 0.95, "authority_expiring"), (NOW + DAY, "authority_expired")):
        facts = changed(files, now, generation=Generation(1, material, NOW))
        assert [each.subject for each in judge(facts) if each.code == code] == ["CN=Partner Root"]


def test_revocation_lists_that_end(issuer: Issuer, clock: forge.ManualClock) -> None:
    write_crls(issuer.authority)
    facts = Facts(NOW, [IdentityState("default", Generation(1, issuer.material(DAY * 300), NOW))])
    ends = min(crl.next_update_utc for crl in generation_of(facts).material.crls if crl.next_update_utc is not None)
    wrong = {code for _, code in codes(replace(facts, now=ends - timedelta(minutes=1)))}
    assert wrong == {"crl_expiring"}
    assert ("critical", "crl_expired") in codes(replace(facts, now=ends))
    assert ("warning", "crl_expired") in codes(changed(facts, now=ends, soft_crl=True))


def test_refused_material_since_its_first_refusal() -> None:
    attempt = Attempt(at(60), Trigger.FILE_CHANGE, Outcome.REFUSED, "key_mismatch", "tls.key")
    (problem,) = judge(Facts(at(90), [IdentityState("default", refusal=attempt, refused_since=at(0))]))
    assert (problem.code, problem.since, problem.subject) == ("reload_refused", at(0), "key_mismatch")


def test_a_newer_certificate_that_is_refused_is_said_and_an_older_one_is_not(issuer: Issuer, files: Facts) -> None:
    attempt = Attempt(at(60), Trigger.FILE_CHANGE, Outcome.REFUSED, "wrong_purpose", "clientAuth is missing")
    issuer.clock.advance(timedelta(hours=1))
    newer = issuer.material(DAY).leaf
    facts = changed(files, refusal=attempt, refused_since=at(60), rejected=newer)
    found = {each.code: each for each in judge(facts)}
    assert found.keys() == {"reload_refused", "newer_at_hand"}
    assert "clientAuth is missing" in found["newer_at_hand"].message
    old = changed(
        facts,
        now=at(7200),
        generation=Generation(1, issuer.material(DAY), NOW),
        rejected=generation_of(files).material.leaf,
    )
    assert [each.code for each in judge(old)] == ["reload_refused"]


def test_each_of_several_identities_has_its_own_problems(files: Facts) -> None:
    (own,) = files.identities
    several = [replace(own, name="public"), replace(own, name="mesh", renews=True, next_renewal_at=at(23 * 3600))]
    found = judge(Facts(NOW + timedelta(hours=22), several))
    assert [(each.code, each.subject) for each in found] == [("certificate_expiring", "public: localhost")]
    assert found[0].message.startswith("identity public: our certificate expires")
    found = judge(Facts(NOW + timedelta(hours=25), several))
    assert [each.subject for each in found if each.code == "certificate_expired"] == [
        "public: localhost",
        "mesh: localhost",
    ]


def test_an_identity_that_cannot_be_judged_hides_no_others(files: Facts) -> None:
    (own,) = files.identities
    broken = replace(own, name="broken", generation=Generation(1, cast("Material", None), NOW))
    defects: list[str] = []
    facts = Facts(NOW + timedelta(hours=25), [broken, replace(own, name="sound")])
    found = Problems(lambda name, _error: defects.append(name)).judge(facts)
    assert ("certificate_expired", "sound: localhost") in [(each.code, each.subject) for each in found]
    assert "judging own certificate" in defects


def test_our_own_chain_that_leads_elsewhere_is_mentioned(tmp_path: Path, files: Facts) -> None:
    other = Issuer(tmp_path / "other", forge.ManualClock()).material()
    mixed = replace(generation_of(files).material, trust=other.trust)
    assert codes(changed(files, generation=Generation(1, mixed, NOW))) == [("notice", "trust_mismatch")]


def test_an_outage_says_what_where_why_since_when_and_what_it_costs() -> None:
    outage = Outage("web", at(0), 37, "requests", (upstream(up=False),))
    (problem,) = judge(Facts(at(90), outages=[outage], snapshots=[snapshot(None, upstream(up=False))]))
    assert (problem.severity, problem.code, problem.subject, problem.since) == (
        "critical",
        "upstream_down",
        "web",
        at(0),
    )
    for wanted in ("127.0.0.1:8080", "Connection refused", "37 requests failed", "12:00:00Z"):
        assert wanted in problem.message


def test_most_requests_failing_names_the_reason() -> None:
    outage = Outage("web", at(0), 60, "requests", (), 60, 90, "upstream_timeout")
    (problem,) = judge(Facts(at(90), outages=[outage]))
    assert problem.code == "requests_failing"
    assert "60 of its last 90 requests" in problem.message
    assert Reason.UPSTREAM_TIMEOUT.sentence in problem.message
    (problem,) = judge(Facts(at(90), outages=[replace(outage, main_reason="")]))
    assert "the service answers 5xx" in problem.message


def test_one_upstream_of_several_is_a_warning_for_each() -> None:
    down = [upstream("a:1", up=False), upstream("b:1", up=False), upstream("c:1")]
    found = judge(Facts(NOW, snapshots=[snapshot(None, *down)]))
    assert [(each.severity, each.subject) for each in found] == [("warning", "web a:1"), ("warning", "web b:1")]


def test_limits_over_all_workers() -> None:
    busy = ListenerCounters(connections_active=95, handshakes_active=25)
    quiet = ListenerCounters(connections_active=86, handshakes_active=0)
    found = judge(Facts(NOW, snapshots=[snapshot(busy), snapshot(quiet, worker=1)]))
    assert [(each.severity, each.code) for each in found] == [("warning", "connections_nearly_full")]
    assert "181 of at most 200" in found[0].message
    found = judge(Facts(NOW, snapshots=[snapshot(busy)]))
    assert [each.code for each in found] == ["handshakes_nearly_full", "connections_nearly_full"]


def refused(identity: str, times: int, log: RefusalLog, stage: Stage = Stage.AUTHORIZE) -> None:
    for _ in range(times):
        log.record(
            Refusal(NOW.timestamp(), "web", "10.0.0.9:1", Side.LOCAL, stage, Reason.NOT_ALLOWED, identity=identity)
        )


def test_who_is_known_and_refused_again_and_again_is_a_problem_and_strangers_are_none() -> None:
    log = RefusalLog()
    refused("billing", 5, log)
    refused("reports", 7, log)
    refused("once", 1, log)
    refused("scanner", 100, log, Stage.VERIFY)
    found = judge(Facts(NOW, refusals=log.groups()))
    assert {each.subject for each in found} == {"web billing", "web reports"}
    assert judge(Facts(NOW + timedelta(hours=1), refusals=log.groups())) == []


def test_no_problem_hides_another() -> None:
    facts = Facts(
        NOW,
        workers_failing={0: ("does not stay up", NOW), 1: ("does not stay up", NOW)},
        snapshots=[snapshot(worker=0, lag_s=1.0), snapshot(worker=1, lag_s=2.0)],
        clock_jump=(NOW, 3600.0),
        draining_since=NOW,
        dropped_log_lines=3,
        defects={"one": Defect("ValueError: a", NOW, 1, 0.0), "two": Defect("ValueError: b", NOW, 2, 0.0)},
    )
    found = [(each.code, each.subject) for each in judge(facts)]
    assert found == [
        ("worker_failing", "worker 0"),
        ("worker_failing", "worker 1"),
        ("worker_lag", "worker 0"),
        ("worker_lag", "worker 1"),
        ("log_lines_dropped", ""),
        ("internal_error", "one"),
        ("internal_error", "two"),
        ("clock_jumped", ""),
        ("draining", ""),
    ]


def test_the_configuration_on_disk() -> None:
    state = ConfigurationState("tlsidecar.toml", at(0), ("listener[web].allow", "limits.idle_timeout"))
    (problem,) = judge(Facts(at(60), configuration=state))
    assert (problem.code, problem.since, problem.subject) == ("configuration_changed", at(0), "tlsidecar.toml")
    assert "listener[web].allow, limits.idle_timeout" in problem.message
    (problem,) = judge(Facts(at(60), configuration=replace(state, changes=(), error="line 3: unknown key")))
    assert (problem.code, "line 3" in problem.message) == ("configuration_invalid", True)


def test_since_is_kept_while_a_problem_lasts_and_forgotten_with_it() -> None:
    problems = Problems(lambda _name, _error: None)
    down = [snapshot(None, upstream("a:1", up=False), upstream("b:1"))]
    assert problems.judge(Facts(at(0), snapshots=down))[0].since == at(0)
    assert problems.judge(Facts(at(60), snapshots=down))[0].since == at(0)
    assert problems.judge(Facts(at(61))) == []
    assert problems.judge(Facts(at(62), snapshots=down))[0].since == at(62)


def test_a_judgement_that_fails_costs_no_other(files: Facts) -> None:
    failed: list[str] = []
    broken = replace(files, now=NOW + timedelta(hours=25), defects={"x": None})  # type: ignore[dict-item] - a defect
    found = Problems(lambda name, _error: failed.append(name)).judge(broken)
    assert [each.code for each in found] == ["certificate_expired"]
    assert failed == ["judging defects"]
