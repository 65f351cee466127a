"""Problems of the process itself, each from its facts alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from unit.certs import forge
from unit.control.world import at, snapshot

from tlsidecar.control.guard import Defect
from tlsidecar.control.interface import ConfigurationState, Denied, Severity
from tlsidecar.control.problems import JUDGEMENTS, process
from tlsidecar.control.problems.facts import Facts, Found

NOW = forge.NOW


def test_nothing_known_is_nothing_wrong() -> None:
    for judgement in JUDGEMENTS:
        assert list(judgement(Facts(NOW))) == []


@pytest.mark.parametrize(("lag_s", "is_late"), [(0.0, False), (process.LOOP_LAG_LIMIT_S, False), (0.6, True)])
def test_a_worker_that_is_late(lag_s: float, is_late: bool) -> None:
    found = list(process.workers(Facts(NOW, snapshots=[snapshot(worker=3, lag_s=lag_s)])))
    late = Found(Severity.WARNING, "worker_lag", f"worker 3 is {lag_s:.1f} s behind its work", NOW, "worker 3")
    assert found == ([late] if is_late else [])


def test_a_worker_that_does_not_stay_up_since_when() -> None:
    (found,) = process.workers(Facts(at(60), workers_failing={2: ("ends again and again", at(7))}))
    assert found == Found(Severity.CRITICAL, "worker_failing", "worker 2 ends again and again", at(7), "worker 2")


def test_what_is_on_the_disk_and_what_needs_a_restart() -> None:
    state = ConfigurationState("/etc/t.toml", at(0), ("log.level", "workers"), ("workers",))
    (found,) = process.configuration(Facts(at(60), configuration=state))
    assert found.message == (
        "the configuration on disk is not the one in force: log.level, workers; a restart is needed for workers"
    )
    (found,) = process.configuration(
        Facts(at(60), configuration=ConfigurationState("/etc/t.toml", at(0), error="line 3: unknown key"))
    )
    assert (found.code, found.since, found.subject) == ("configuration_invalid", at(0), "/etc/t.toml")


@pytest.mark.parametrize(("seconds", "text"), [(3600.0, "+3600 s"), (-45.4, "-45 s")])
def test_a_jump_of_the_clock_has_a_direction(seconds: float, text: str) -> None:
    (found,) = process.clock(Facts(at(60), clock_jump=(at(0), seconds)))
    assert (found.severity, found.since) == (Severity.NOTICE, at(0))
    assert f"jumped by {text}:" in found.message


def test_somebody_kept_out_for_days_is_told_with_the_day() -> None:
    until = NOW + timedelta(days=6)
    (found,) = process.denied(Facts(at(60), denied=[Denied(1, "billing", at(0), until, "uid 0")]))
    assert found.message == "billing is kept out until 2026-11-29T12:00:00Z, by uid 0"
    assert (found.since, found.subject) == (at(0), "billing")


def test_a_defect_says_how_often() -> None:
    once, often = Defect("ValueError: a", at(1), 1, 0.0), Defect("KeyError: 'b'", at(2), 7, 0.0)
    found = list(process.defects(Facts(at(60), defects={"reloading": once, "judging clock": often})))
    assert [each.message for each in found] == [
        "a defect in the sidecar (reloading): ValueError: a",
        "a defect in the sidecar (judging clock, 7 times): KeyError: 'b'",
    ]
    assert [(each.since, each.subject) for each in found] == [(at(1), "reloading"), (at(2), "judging clock")]


def test_a_drain_and_lost_lines() -> None:
    (drain,) = process.draining(Facts(at(60), draining_since=at(3)))
    assert (drain.severity, drain.since) == (Severity.NOTICE, at(3))
    (lost,) = process.log(Facts(at(60), dropped_log_lines=12))
    assert lost.message == "12 log lines could not be written"
