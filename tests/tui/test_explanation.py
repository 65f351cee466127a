"""Why a peer is let in or not, as the sidecar judges it now."""

from __future__ import annotations

from typing import Any

import pytest
from ui_world import HOSTILE, NOW, explanation, refusal

from tui.lines import Role
from tui.model import Model, Snapshot
from tui.pages.explanation import config_lines, explanation_lines
from tui.records import Explanation, Refusal, decoded
from tui.sheet import Look
from tui.text import SafeText, cell_width

LOOK = Look(NOW, 100)


def _told(seq: int = 3, **changes: Any) -> tuple[Snapshot, Refusal]:
    """A refusal, and what is told of it; ``changes`` are to the one judgement."""
    refused = refusal(seq, NOW)
    told = explanation(refused, NOW)
    for judged in told["judgements"]:
        judged |= changes
    model = Model(SafeText("x"))
    model.take_refusal({"refusal": refused, "explanation": told}, 1.0)
    return model.snapshot(1.0), decoded(Refusal, refused)


def _lines(snapshot: Snapshot, refused: Refusal, look: Look = LOOK) -> list[tuple[str, Role]]:
    lines = explanation_lines(snapshot, refused, look)
    return [(line.plain.strip(), line.spans[-1].role if line.spans else Role.TEXT) for line in lines]


def test_nothing_is_said_before_it_was_asked_and_of_nobody_else() -> None:
    snapshot, refused = _told()
    assert _lines(Model(SafeText("x")).snapshot(1.0), refused) == []
    assert _lines(snapshot, decoded(Refusal, refusal(10, NOW))) == []


def test_what_could_not_be_asked_is_said() -> None:
    snapshot, refused = _told()
    snapshot.troubles["refusal"] = SafeText("no refusal of this id is kept")  # type: ignore[index]
    assert [text for text, _ in _lines(snapshot, refused)] == [
        "",
        "Why",
        "not available: no refusal of this id is kept",
    ]


def test_each_rule_is_told_with_why_it_does_not_match_and_the_line_that_would() -> None:
    snapshot, refused = _told()
    lines = dict(_lines(snapshot, refused))
    assert lines["web              would be refused: no access rule allows this identity"] is Role.WARNING
    assert "rules            spiffe://prod.example/ns/shop/sa/* (allow)" in lines
    assert lines["another trust domain: old.example"] is Role.MUTED
    assert lines["chain            verifies against the trust in force"] is Role.TEXT
    assert 'in               [[listener]] name = "web"' in lines
    told = snapshot.refusal
    assert told is not None
    (line,) = config_lines(told.explanation)
    assert line.startswith("allow = [")
    assert line.endswith('"spiffe://old.example/ns/shop/sa/cart"]')


def test_one_who_would_be_let_in_by_now() -> None:
    rules = [{"rule": "spiffe://*", "place": "allow", "matches": True, "why": ""}]
    snapshot, refused = _told(allowed=True, rule="spiffe://*", rules=rules, lines=[], own_identity="mesh")
    lines = dict(_lines(snapshot, refused))
    assert lines["web              would be let in, by spiffe://* (asking for mesh)"] is Role.GOOD
    assert lines["matches"] is Role.GOOD
    assert not any("Would let in" in text for text in lines)
    snapshot, refused = _told(allowed=True, rule="", rules=[], lines=[], own_identity="default")
    assert "web              would be let in" in dict(_lines(snapshot, refused))


@pytest.mark.parametrize(
    ("route", "words"),
    [("admin", "decided by the route admin"), ("", "no route matches: the listener's rules")],
)
def test_of_a_request_the_route_is_told(route: str, words: str) -> None:
    snapshot, refused = _told(method="POST", path="/v1/x", route=route)
    assert f"request          POST /v1/x, {words}" in dict(_lines(snapshot, refused))


def test_no_rule_lets_in_a_chain_that_does_not_verify() -> None:
    snapshot, refused = _told(verified=False, lines=[], note="no rule lets in such a peer")
    lines = dict(_lines(snapshot, refused))
    assert lines["chain            does not verify against the trust in force"] is Role.WARNING
    assert lines["no rule lets in such a peer"] is Role.MUTED
    told = snapshot.refusal
    assert told is not None
    assert list(config_lines(told.explanation)) == []


def test_one_without_a_certificate_has_a_note_and_no_line() -> None:
    snapshot, refused = _told(seq=4)
    assert [text for text, _ in _lines(snapshot, refused)][2:] == ["no certificate was shown that could be read"]
    assert list(config_lines(decoded(Explanation, {}))) == []


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_shown_and_obeyed_by_nobody(width: int, text: str) -> None:
    names = ("listener", "sentence", "rule", "route", "path", "method", "note", "own_identity")
    lines = [{"place": text, "line": text, "rule": text}]
    snapshot, refused = _told(**dict.fromkeys(names, text), lines=lines)
    for line in explanation_lines(snapshot, refused, Look(NOW, width)):
        assert line.plain.isprintable()
        assert cell_width(line.plain) <= width
