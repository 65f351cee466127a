"""How our material came to be what it is: each attempt, what it changed, and why one was refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ui_world import HOSTILE, NOW, healthy, stamp

from tui.pages.time_line import time_line
from tui.records import Certificates, decoded
from tui.sheet import Look
from tui.text import cell_width

APPLIED = {
    "at": stamp(NOW - timedelta(minutes=5)),
    "trigger": "file_change",
    "outcome": "applied",
    "generation": 3,
    "previous_serial": "aa",
    "serial": "bb",
    "duration_s": 0.0125,
    "differences": [{"what": "names", "before": "a.example", "after": "a.example, b.example"}],
}
REFUSED = {
    "at": stamp(NOW - timedelta(hours=2)),
    "trigger": "signal",
    "outcome": "refused",
    "reason": "key_mismatch",
    "detail": "tls.key",
    "generation": 2,
}


def shown(*attempts: dict[str, Any], width: int = 100, **more: Any) -> list[str]:
    document = healthy().document("certificates") | {"attempts": list(attempts), "identities": []} | more
    lines = time_line(decoded(Certificates, document), Look(now=NOW, width=width))
    return [line.plain for line in lines]


def test_where_none_is_told_there_is_nothing() -> None:
    assert shown() == []


def test_an_attempt_says_what_it_changed_and_how_much_lives_on_it() -> None:
    text = "\n".join(shown(APPLIED, connections_by_generation={"2": 1, "3": 11}))
    for words in (
        "generation 3, by file change",
        "took 0.013 s",
        "serial aa -> bb",
        "names      - a.example",
        "+ a.example, b.example",
        "11 connections on this generation now",
    ):
        assert words in text, text
    assert "11 connections" not in "\n".join(shown(APPLIED, connections_by_generation={"2": 1}))


def test_a_refusal_says_why_and_changes_nothing() -> None:
    text = "\n".join(shown(REFUSED | {"differences": APPLIED["differences"], "warnings": ["soon over"]}))
    assert "key_mismatch: tls.key" in text
    assert "warning: soon over" in text
    assert "b.example" not in text


def test_of_several_identities_each_attempt_says_whose_it_is_and_counts_its_own() -> None:
    own = [
        {"name": name, "generation": 3, "connections_by_generation": {"3": number}}
        for name, number in (("public", 4), ("mesh", 9))
    ]
    text = "\n".join(shown(APPLIED | {"identity": "mesh"}, identities=own, connections_by_generation={"3": 13}))
    assert "generation 3 of mesh, by" in text
    assert "9 connections on this generation now" in text


def test_hostile_text_stays_within_its_line_at_every_width() -> None:
    hostile = REFUSED | {"detail": HOSTILE, "reason": "\n".join(HOSTILE)} | {"warnings": list(HOSTILE)}
    hostile["detail"] = "".join(HOSTILE)
    for width in (80, 200):
        for line in shown(hostile, width=width):
            assert line.isprintable() or not line
            assert cell_width(line) <= width
