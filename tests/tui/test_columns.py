"""Columns that several lists share, and what stands in a list's place."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from ui_world import HOSTILE, NOW, parties, refusal

from tui.lines import Role
from tui.model import ConnectionQuery, Model, Snapshot
from tui.pages.columns import (
    IN_WORDS,
    LAST,
    LISTENER,
    PEER,
    SINCE,
    STAGE,
    TIMES,
    WHO,
    WHY,
    no_connections,
    not_known,
    nothing,
)
from tui.plan import Ask
from tui.records import RefusalGroup, Refusals, decoded
from tui.sheet import Column, Look, Page, layout, row_line
from tui.text import SafeText, cell_width

ALL: tuple[Column[Any], ...] = (LAST, TIMES, WHO, WHY, STAGE, LISTENER, SINCE, IN_WORDS, PEER)


def _group(**fields: Any) -> RefusalGroup:
    told = parties([refusal(1, NOW) | fields])
    return decoded(Refusals, {"groups": told}).groups[0]


def _text(page: Page) -> str:
    return "\n".join(line.plain for line in page.lines)


@pytest.mark.parametrize("width", [1, 20, 60, 200])
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_row_is_as_wide_as_it_should_be_whatever_is_in_it(width: int, text: str) -> None:
    names = ("identity", "peer_address", "listener", "stage", "reason", "sentence")
    placed = layout(ALL, width)
    line = row_line(placed, _group(**dict.fromkeys(names, text)), Look(NOW, width))
    assert line.plain.isprintable()
    assert cell_width(line.plain) == sum(given for _, given in placed) + len(placed) - 1


def test_a_count_fits_its_column_and_an_age_is_of_the_moment_shown() -> None:
    look = Look(NOW)
    for count, words in ((0, "0"), (9_999, "9999"), (123_456, "123k"), (2**62, "4.6E")):
        assert TIMES.cell(replace(_group(), count=count), look).text == words
    told = replace(_group(), first_at=NOW - timedelta(days=3), last_at=None)
    assert (SINCE.cell(told, look).text, LAST.cell(told, look).text) == ("3d 00h", "-")
    ahead = replace(_group(), last_at=NOW + timedelta(hours=1))
    assert LAST.cell(ahead, look).text == "0s", "the other clock is ahead: never a negative age"


def test_an_identity_that_does_not_fit_keeps_its_end() -> None:
    told = replace(_group(), who=SafeText("spiffe://prod.example/ns/a-long-namespace/sa/exporter"))
    ((_, width),) = layout([WHO], 30)
    assert row_line([(WHO, width)], told, Look(NOW, 30)).plain.rstrip().endswith("/sa/exporter")


def _snapshot(**told: Any) -> Snapshot:
    model = Model(SafeText("x"))
    for name, value in told.items():
        setattr(model, name, value)
    return model.snapshot(0.0)


def test_a_list_that_was_not_read_says_whether_that_is_bad() -> None:
    look = Look(NOW, 60)
    asked = not_known(_snapshot(), Ask.REFUSALS, look)
    assert _text(asked).strip() == "asking the sidecar"
    refused = not_known(_snapshot(troubles={Ask.REFUSALS: SafeText("not for you")}), Ask.REFUSALS, look)
    assert _text(refused).strip() == "not available: not for you"
    assert refused.lines[-1].spans[-1].role is Role.WARNING
    elsewhere = not_known(_snapshot(troubles={Ask.FAILURES: SafeText("not for you")}), Ask.REFUSALS, look)
    assert _text(elsewhere).strip() == "asking the sidecar"


@pytest.mark.parametrize("width", [1, 12, 80])
def test_a_sentence_in_a_lists_place_wraps(width: int) -> None:
    page = nothing("nobody was refused since the start", Look(NOW, width))
    assert " ".join(_text(page).split()).replace(" ", "") == "nobodywasrefusedsincethestart"
    assert not any(page.is_selectable(index) for index in range(page.count))


@pytest.mark.parametrize(
    ("wanted", "total", "words"),
    [
        ("", 0, "no open connections"),
        ("cart", 0, "no open connections"),  # it is not the filter's doing
        ("", 12, "no open connections"),
        ("cart", 12, "no connection matches the filter"),
    ],
)
def test_no_connections_by_the_filter_or_at_all(wanted: str, total: int, words: str) -> None:
    model = Model(SafeText("x"))
    model.take_connections({"total": total, "matched": 0, "connections": []}, ConnectionQuery(filter=wanted))
    assert _text(no_connections(model.snapshot(0.0), Look(NOW, 60))).strip() == words
    assert _text(no_connections(_snapshot(), Look(NOW, 60))).strip() == "no open connections"
