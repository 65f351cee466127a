"""Problems of what flows, each from its facts alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from unit.certs import forge
from unit.control.world import at, snapshot, upstream

from tlsidecar.control.interface import Severity
from tlsidecar.control.outages import Outage
from tlsidecar.control.problems import traffic
from tlsidecar.control.problems.facts import Facts
from tlsidecar.control.problems.traffic import MOST_REPEATED, NEARLY_FULL_FRACTION, REPEATED_REFUSALS, REPEATED_WITHIN
from tlsidecar.dataplane.snapshot import ListenerCounters, WorkerSnapshot
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.outcomes import Reason, Refusal, Side, Stage

NOW = forge.NOW


@pytest.mark.parametrize(
    ("upstreams", "said"),
    [
        ((upstream("a:1", up=False),), "web: its upstream is down (a:1): Connection refused; 37 requests failed since"),
        (
            (upstream("a:1", up=False), upstream("b:1", up=False, tried_at=2.0)),
            "web: every upstream is down (a:1, b:1): Connection refused; 37",
        ),
        (
            (replace(upstream("a:1", up=False), last_error=""),),
            "web: its upstream is down (a:1): it does not answer; 37",
        ),
    ],
)
def test_an_outage_of_the_upstreams(upstreams: tuple[object, ...], said: str) -> None:
    (found,) = traffic.outages(Facts(at(90), outages=[Outage("web", at(0), 37, "requests", upstreams)]))  # type: ignore[arg-type] - records
    assert found.message.startswith(said)
    assert (found.severity, found.code, found.since) == (Severity.CRITICAL, "upstream_down", at(0))


@pytest.mark.parametrize(
    ("reason", "says_grpc", "why"),
    [
        ("upstream_timeout", False, Reason.UPSTREAM_TIMEOUT.sentence),
        ("", False, "the service answers 5xx"),
        ("", True, "the service answers gRPC's UNAVAILABLE or its like"),
    ],
)
def test_an_outage_of_the_answers_says_why(reason: str, says_grpc: bool, why: str) -> None:
    outage = Outage("web", at(0), 60, "requests", (), 60, 90, reason, says_grpc)
    (found,) = traffic.outages(Facts(at(90), outages=[outage]))
    assert found.message.startswith(f"web: 60 of its last 90 requests failed, mostly because {why}; 60 requests failed")
    assert found.code == "requests_failing"


def test_an_address_is_down_as_the_worker_says_that_tried_it_last() -> None:
    """And not once more where the whole listener is out."""
    early, late = upstream("a:1", up=False, tried_at=1.0), upstream("a:1", tried_at=2.0)
    beside = upstream("b:1")
    assert list(traffic.upstreams(two_workers(early, late))) == []
    down = two_workers(replace(late, healthy=False, last_error="a:1: Connection reset"), early)
    (found,) = traffic.upstreams(down)
    assert (found.message, found.subject) == ("web cannot reach a:1: Connection reset", "web a:1")
    out = Outage("web", at(0), 1, "requests", (early,))
    assert list(traffic.upstreams(replace(down, outages=[out]))) == []
    assert list(traffic.upstreams(replace(down, outages=[replace(out, upstreams=())]))) == [found]
    assert list(traffic.upstreams(replace(down, outages=[replace(out, listener="other")]))) == [found]
    assert list(traffic.upstreams(Facts(NOW, snapshots=[snapshot(None, beside)]))) == []


def two_workers(one: object, other: object) -> Facts:
    return Facts(NOW, snapshots=[snapshot(None, one), snapshot(None, other, worker=1)])  # type: ignore[arg-type] - records


def test_a_listener_that_waits_for_its_check() -> None:
    (found,) = traffic.upstreams(Facts(NOW, not_ready={"web": "a:1: 503"}))
    assert (found.severity, found.subject) == (Severity.CRITICAL, "web")
    assert found.message == "web is not ready, for no upstream passes its health check: a:1: 503"


def holding(connections: int, most: int, *, handshakes: int = 0, worker: int = 0) -> WorkerSnapshot:
    counters = ListenerCounters(connections_active=connections, handshakes_active=handshakes)
    whole = snapshot(counters, worker=worker)
    return replace(whole, listeners=(replace(whole.listeners[0], max_connections=most, max_handshakes=10),))


@pytest.mark.parametrize(
    ("held", "severity"),
    [
        ([(89, 100)], None),
        ([(90, 100)], Severity.WARNING),
        ([(100, 100)], Severity.CRITICAL),
        ([(130, 100)], Severity.CRITICAL),  # more than there may be since a reload
        ([(50, 50), (39, 50)], None),  # of all workers together: the kernel gives a new one to whoever is free
        ([(50, 50), (40, 50)], Severity.WARNING),
        ([(50, 50), (50, 50)], Severity.CRITICAL),
        ([(3, 0)], None),
    ],
)
def test_a_listener_is_nearly_full(held: list[tuple[int, int]], severity: Severity | None) -> None:
    snapshots = [holding(used, most, worker=number) for number, (used, most) in enumerate(held)]
    found = list(traffic.limits(Facts(NOW, snapshots=snapshots)))
    assert [(each.severity, each.code) for each in found] == (
        [(severity, "connections_nearly_full")] if severity is not None else []
    )
    if found:
        used, most = sum(one for one, _ in held), sum(other for _, other in held)
        assert found[0].message == f"web has {used} of at most {most} connections"
        assert used >= NEARLY_FULL_FRACTION * most


def test_handshakes_have_a_limit_of_their_own() -> None:
    (found,) = traffic.limits(Facts(NOW, snapshots=[holding(0, 100, handshakes=9)]))
    assert (found.code, found.subject) == ("handshakes_nearly_full", "web")


def refused(who: str, times: int, log: RefusalLog, reason: Reason = Reason.NOT_ALLOWED, ago: float = 0.0) -> None:
    for _ in range(times):
        moment = NOW.timestamp() - ago
        log.record(Refusal(moment, "web", "10.0.0.9:1", Side.LOCAL, Stage.AUTHORIZE, reason, identity=who))


def repeated(log: RefusalLog, later: timedelta = timedelta(0)) -> list[str]:
    return [each.subject for each in traffic.repeated_refusals(Facts(NOW + later, refusals=log.groups()))]


def test_those_who_come_most_are_told_and_no_more() -> None:
    log = RefusalLog()
    for number in range(MOST_REPEATED + 2):
        refused(f"peer-{number}", REPEATED_REFUSALS + number, log)
    refused("stray", REPEATED_REFUSALS - 1, log)
    refused("by-hand", 100, log, Reason.IDENTITY_DENIED)
    assert repeated(log) == [f"web peer-{number}" for number in (4, 3, 2)]


def test_a_repeated_refusal_ends_with_its_last_time() -> None:
    log = RefusalLog()
    refused("billing", REPEATED_REFUSALS, log)
    assert repeated(log, REPEATED_WITHIN) == ["web billing"]
    assert repeated(log, REPEATED_WITHIN + timedelta(seconds=1)) == []


def test_it_is_told_since_its_first_time_and_with_its_reason() -> None:
    log = RefusalLog()
    refused("billing", 1, log, ago=3600.0)
    refused("billing", REPEATED_REFUSALS, log)
    (found,) = traffic.repeated_refusals(Facts(NOW, refusals=log.groups()))
    assert found.since == at(-3600)
    assert found.message == f"billing was refused 6 times on web: {Reason.NOT_ALLOWED.sentence}"
