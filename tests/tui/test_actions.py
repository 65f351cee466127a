"""What can be changed, what is asked before, and the words for what came of it."""

from __future__ import annotations

import pytest
from ui_world import connection, healthy

from tlsidecar.api.errors import Refused, Unreachable
from tui.actions import LOG_LEVELS, Verb, actions, failure, log_level_action, outcome
from tui.model import Model, Snapshot
from tui.records import ConnectionReply, Severity, decoded
from tui.text import SafeText


@pytest.fixture
def snapshot() -> Snapshot:
    world, model = healthy(), Model(SafeText("x"))
    model.take_status(world.document("status"), 1.0, world.now, 0.0)
    return model.snapshot(1.0)


def test_every_action_names_its_call_and_its_consequence(snapshot: Snapshot) -> None:
    one = decoded(ConnectionReply, {"connection": connection(7, healthy().now)}).connection
    calls = {action.verb: (action.method, action.path, action.body) for action in actions(snapshot, one)}
    assert calls == {
        Verb.RELOAD: ("POST", "/v1/reload", None),
        Verb.ROTATE: ("POST", "/v1/rotate", None),
        Verb.DRAIN: ("POST", "/v1/drain", {"timeout_s": 30, "expected": 12}),
        Verb.CLOSE: ("DELETE", "/v1/connections/7", None),
    }
    drain = next(action for action in actions(snapshot, None) if action.verb is Verb.DRAIN)
    assert "What is open (12 connections) gets 30 s" in drain.consequence
    assert drain.timeout_s > 30
    assert Verb.CLOSE not in [action.verb for action in actions(snapshot, None)]
    level = log_level_action(snapshot, "debug")
    assert (level.method, level.path, level.body) == ("PUT", "/v1/log-level", {"level": "debug"})
    assert "now it is info" in level.consequence
    assert set(LOG_LEVELS) == {"debug", "info", "warning", "error"}


@pytest.mark.parametrize(
    ("verb", "reply", "words", "severity"),
    [
        (
            Verb.RELOAD,
            {"outcome": "applied", "attempt": {"generation": 4, "serial": "7f"}},
            "reload: applied, generation 4, serial 7f",
            None,
        ),
        (
            Verb.ROTATE,
            {"outcome": "applied", "attempt": {"generation": 4, "serial": "7f", "warnings": ["short \x1b life"]}},
            r"rotate: applied, generation 4, serial 7f; warning: short \x1b life",
            Severity.WARNING,
        ),
        (Verb.RELOAD, {"outcome": "unchanged"}, "reload: unchanged, the same certificate is in use", None),
        (
            Verb.DRAIN,
            {"outcome": "forced", "closed": 10, "forced": 2},
            "drain: forced, 10 connections finished, 2 cut",
            Severity.WARNING,
        ),
        (Verb.DRAIN, {"outcome": "drained", "closed": 12}, "drain: drained, 12 connections finished, 0 cut", None),
        (Verb.CLOSE, {"closed": True, "id": 7}, "connection 7 closed", None),
    ],
)
def test_outcomes(
    snapshot: Snapshot, verb: Verb, reply: dict[str, object], words: str, severity: Severity | None
) -> None:
    one = decoded(ConnectionReply, {"connection": connection(7, healthy().now)}).connection
    action = next(action for action in actions(snapshot, one) if action.verb is verb)
    told = outcome(action, reply)
    assert (told.words, told.severity) == (words, severity)


def test_log_level_outcome_and_failures(snapshot: Snapshot) -> None:
    action = log_level_action(snapshot, "debug")
    assert outcome(action, {"level": "debug", "previous": "info"}).words == "log level debug, before info"
    refused = failure(action, Refused(SafeText("not now"), 409, "refused", None))
    assert (refused.words, refused.severity) == ("log-level refused: not now", Severity.CRITICAL)
    assert failure(action, Unreachable(SafeText("no answer"))).words == "log-level: no answer"
