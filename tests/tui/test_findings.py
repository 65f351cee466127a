"""What is wrong comes first, ranked; what the sidecar says itself is not said twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ui_world import NOW, World, degraded, expired, healthy, refusal, stamp

from tui.findings import Finding, findings, worst_severity
from tui.model import Model
from tui.replies import certificates_view, refusals_view, status_view
from tui.text import SafeText
from tui.views import Severity


def _model(world: World) -> Model:
    model = Model(SafeText("/run/admin.sock"))
    model.take_status(status_view(world.document("status")), 100.0, world.now, 0.0)
    model.take_certificates(certificates_view(world.document("certificates")), 100.0)
    total = world.status["totals"]["refusals_total"]
    model.take_refusals(refusals_view({"total": total, "refusals": world.refusals}), 100, 100.0)
    return model


def _found(world: World) -> list[Finding]:
    return findings(_model(world).snapshot(100.0), world.now)


def _codes(world: World) -> list[str]:
    return [finding.code for finding in _found(world)]


def test_nothing_is_wrong() -> None:
    assert _found(healthy()) == []
    assert worst_severity([]) is None


def test_the_worst_first() -> None:
    found = _found(degraded())
    assert [(finding.severity, finding.code) for finding in found] == [
        (Severity.CRITICAL, "reload_refused"),
        (Severity.CRITICAL, "upstream_down"),
        (Severity.WARNING, "certificate_lifetime"),
        (Severity.WARNING, "repeated_refusal"),
    ]
    assert worst_severity(found) is Severity.CRITICAL
    assert found[1].message == "payments: upstream payments.internal:8443 does not answer: connection refused"
    assert found[2].message == "our certificate should have been renewed 4h 00m ago and expires in 04h 00m"
    assert found[3].message == (
        "spiffe://prod.example/ns/crm/sa/exporter refused 22 times on web: no access rule allows this identity; "
        "2 others refused often, too"
    )
    assert all(finding.advice for finding in found)
    assert len({finding.key for finding in found}) == len(found)


def test_what_the_sidecar_says_is_not_said_twice() -> None:
    world = degraded()
    world.status["problems"] += [
        {"severity": "warning", "code": code, "message": "m", "since": stamp(NOW), "subject": ""}
        for code in ("certificate_due", "upstream_down")
    ]
    assert _codes(world) == ["reload_refused", "certificate_due", "upstream_down", "repeated_refusal"]


def test_a_lost_socket_is_the_first_thing() -> None:
    model = _model(degraded())
    model.lose(SafeText("nobody listens"), 105.0)
    first = findings(model.snapshot(104.0), NOW)[0]
    assert (first.code, first.severity) == ("admin_socket", Severity.CRITICAL)
    assert first.message == "the admin socket does not answer: nobody listens"
    unknown = Model(SafeText("x"))
    unknown.lose(SafeText("gone"), 1.0)
    assert [finding.code for finding in findings(unknown.snapshot(0.0), NOW)] == ["admin_socket"]


def test_expired() -> None:
    world = expired()
    assert _codes(world) == ["certificate_expired", "crl_expired"]
    world.status["problems"] = []
    found = _found(world)
    assert sorted(finding.code for finding in found) == ["certificate_lifetime", "crl_expired", "not_ready"]
    own = next(finding for finding in found if finding.code == "certificate_lifetime")
    assert own.message == "our certificate expired 07m 05s ago, at 2026-11-23 23:07:55Z"


@pytest.mark.parametrize(
    ("not_before", "not_after", "renewal", "severity", "words"),
    [
        (-20, 4, 1, Severity.NOTICE, "our certificate expires in 04h 00m; its renewal is planned in 01h 00m"),
        (-20, 4, None, Severity.WARNING, "our certificate expires in 04h 00m"),
        (-23, 1, 0.5, Severity.CRITICAL, "our certificate expires in 01h 00m; its renewal is planned in 30m 00s"),
        (1, 25, None, Severity.CRITICAL, "our certificate is not valid before 2026-11-24 00:15:00Z"),
    ],
)
def test_our_certificate(
    not_before: float, not_after: float, renewal: float | None, severity: Severity, words: str
) -> None:
    world = healthy()
    for each in (world.status["certificate"], world.certificates["leaf"]):
        each["not_before"] = stamp(NOW + timedelta(hours=not_before))
        each["not_after"] = stamp(NOW + timedelta(hours=not_after))
    world.status["certificate"]["next_renewal_at"] = None if renewal is None else stamp(NOW + timedelta(hours=renewal))
    assert [(finding.severity, finding.message) for finding in _found(world)] == [(severity, words)]


def test_a_ca_in_its_last_tenth() -> None:
    world = healthy()
    issuing = world.certificates["chain"][0]
    issuing["not_before"], issuing["not_after"] = stamp(NOW - timedelta(days=60)), stamp(NOW + timedelta(days=30))
    assert _found(world) == []
    issuing["not_after"] = stamp(NOW + timedelta(days=3))
    (found,) = _found(world)
    assert (found.code, found.severity) == ("authority_lifetime", Severity.WARNING)
    assert found.message == "issuing certificate CN=Prod Issuing CA 7,O=Example expires in 03d 00h"
    issuing["not_after"] = stamp(NOW - timedelta(days=3))
    assert _found(world)[0].severity is Severity.CRITICAL


def test_a_chain_that_leads_elsewhere() -> None:
    world = healthy()
    world.certificates["trust"][0]["subject"] = "CN=Another Root"
    (found,) = _found(world)
    assert (found.code, found.severity) == ("trust_mismatch", Severity.NOTICE)


def test_a_refused_attempt_that_the_status_does_not_mention() -> None:
    world = healthy()
    world.certificates["last_attempt"] |= {"outcome": "refused", "reason": "key_mismatch", "detail": "tls.key"}
    (found,) = _found(world)
    assert found.message == "the last attempt at new material was refused (key_mismatch): tls.key"


@pytest.mark.parametrize(("seconds", "words"), [(42, "42s ahead of"), (-42, "42s behind")])
def test_clock_skew(seconds: int, words: str) -> None:
    world = healthy()
    world.skew = timedelta(seconds=seconds)
    (found,) = _found(world)
    assert found.message == f"the sidecar's clock is {words} this terminal's"


def test_draining_not_ready_and_a_slow_worker() -> None:
    world = healthy()
    world.status |= {"state": "draining", "ready": False}
    assert _codes(world) == ["draining"]
    world.status |= {"state": "starting"}
    assert _codes(world) == ["not_ready"]
    world.status |= {"state": "ready", "ready": True}
    world.status["workers"][0]["loop_lag_s"] = 1.25
    assert [finding.message for finding in _found(world)] == ["worker 0 is 1.2 s behind its work"]


@pytest.mark.parametrize(("active", "severity"), [(7199, None), (7200, Severity.WARNING), (9000, Severity.CRITICAL)])
def test_near_the_limit(active: int, severity: Severity | None) -> None:
    world = healthy()
    world.status["listeners"][0]["connections_active"] = active
    assert worst_severity(_found(world)) is severity


def test_upstream_errors_a_minute() -> None:
    world = healthy()
    model = _model(world)
    world.advance(30)
    world.status["listeners"][0]["upstream_errors"] = {"upstream_refused": 5}
    model.take_status(status_view(world.document("status")), 130.0, world.now, 0.0)
    (found,) = findings(model.snapshot(130.0), world.now)
    assert found.message == "web: 10.0 upstream errors a minute (upstream_refused)"


def test_one_party_refused_again_and_again() -> None:
    world = healthy()
    world.refusals = [{**refusal(1, NOW), "seq": seq, "at": stamp(NOW)} for seq in range(4)]
    assert _found(world) == []
    world.refusals.append({**world.refusals[0], "seq": 9})
    assert _codes(world) == ["repeated_refusal"]
    for each in world.refusals:
        each["at"] = stamp(NOW - timedelta(minutes=16))
    assert _found(world) == []
