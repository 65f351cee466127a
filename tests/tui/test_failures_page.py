"""What could not be done: in rows, and one of them with how its upstream is now."""

from __future__ import annotations

from typing import Any

import pytest
from ui_world import HOSTILE, NOW, World, degraded, stamp

from tui.lines import Kind, Role, Target
from tui.model import Model, Snapshot
from tui.pages.arrange import ListSort
from tui.pages.failures import failure_key, failure_page, failures_note, failures_table
from tui.plan import Ask
from tui.sheet import Look, Page, Sheet, Table
from tui.text import SafeText, cell_width

LOOK = Look(NOW, 140)


def _failure(**fields: Any) -> dict[str, Any]:
    return {
        "listener": "web",
        "upstream": "127.0.0.1:8080",
        "reason": "upstream_refused",
        "sentence": "the upstream did not take the connection",
        "detail": "Connection refused",
        "count": 6,
        "first_at": stamp(NOW),
        "last_at": stamp(NOW),
        "last_identity": "",
    } | fields


def _snapshot(*failures: dict[str, Any], world: World | None = None) -> Snapshot:
    model = Model(SafeText("x"))
    if world is not None:
        model.take_status(world.document("status"), 1.0, NOW, 0.0)
    model.take_failures({"total": 40, "failures": list(failures)}, 1.0)
    return model.snapshot(1.0)


def _text(sheet: Sheet) -> list[str]:
    lines = [sheet.line(index) for index in range(sheet.count)]
    return [" ".join(line.plain.split()) for line in lines if line is not None]


def test_none_is_said_in_a_sentence_and_so_is_none_that_matches() -> None:
    assert _text(failures_table(_snapshot(), LOOK)) == ["", "nothing failed since the start"]
    assert _text(failures_table(_snapshot(_failure()), LOOK, "count:>1000")) == ["", "no failure matches the filter"]
    unread = Model(SafeText("x")).snapshot(1.0)
    assert _text(failures_table(unread, LOOK)) == ["", "asking the sidecar"]
    assert failures_note(unread) == ""
    unread.troubles[Ask.FAILURES] = SafeText("no such path")  # type: ignore[index]
    assert _text(failures_table(unread, LOOK)) == ["", "not available: no such path"]


def test_a_row_is_known_by_where_and_why_while_its_counts_change() -> None:
    several = [
        _failure(),
        _failure(upstream="127.0.0.1:8081"),
        _failure(reason="upstream_timeout"),
        _failure(listener="b"),
    ]
    before, after = (_snapshot(*({**each, "count": count} for each in several)) for count in (1, 99))
    assert before.failures is not None
    keys = [failure_key(each) for each in before.failures.failures]
    assert len(set(keys)) == 4
    table = failures_table(after, LOOK)
    assert [table.find(Target(Kind.FAILURE, key)) is not None for key in keys] == [True] * 4


def test_rows_are_in_the_order_asked_for() -> None:
    told = _snapshot(_failure(count=3, upstream="b"), _failure(count=9, upstream="a"), _failure(count=1, upstream="c"))

    def upstreams(sort: ListSort, descending: bool) -> list[str]:
        table = failures_table(told, LOOK, "", sort, descending)
        assert isinstance(table, Table)
        return [each.upstream for each in table.items]

    assert upstreams(ListSort.COUNT, True) == ["a", "b", "c"]
    assert upstreams(ListSort.UPSTREAM, False) == ["a", "b", "c"]
    assert upstreams(ListSort.UPSTREAM, True) == ["c", "b", "a"]


@pytest.mark.parametrize(("healthy", "words", "role"), [(True, "up", Role.GOOD), (False, "DOWN", Role.CRITICAL)])
def test_a_failure_says_how_its_upstream_is_now(healthy: bool, words: str, role: Role) -> None:
    world = degraded()
    listener = world.status["listeners"][0]
    listener["upstreams"][0] |= {"healthy": healthy, "last_error": "ECONNREFUSED"}
    told = _snapshot(_failure(listener=listener["name"], upstream=listener["upstreams"][0]["address"]), world=world)
    assert told.failures is not None
    page = failure_page(told, failure_key(told.failures.failures[0]), LOOK)
    assert _text(page)[-2:] == [f"now {words}", "its last error ECONNREFUSED"]
    assert page.lines[-2].spans[-1].role is role


def test_one_of_no_upstream_and_one_that_is_gone() -> None:
    told = _snapshot(_failure(upstream="", sentence="", detail=""), world=degraded())
    assert told.failures is not None
    text = _text(failure_page(told, failure_key(told.failures.failures[0]), LOOK))
    assert text[-1] == "upstream none was chosen"
    assert "why upstream_refused" in text
    assert _text(failure_page(told, "gone", LOOK)) == ["", "the sidecar does not keep this failure any more"]


@pytest.mark.parametrize("width", [80, 200])
def test_hostile_text_fits_and_is_obeyed_by_nobody(width: int) -> None:
    look = Look(NOW, width)
    names = ("listener", "upstream", "reason", "sentence", "detail", "last_identity")
    told = _snapshot(*(_failure(**dict.fromkeys(names, text)) for text in HOSTILE))
    assert told.failures is not None
    pages: list[Table[Any] | Page] = [failures_table(told, look)]
    pages += [failure_page(told, failure_key(each), look) for each in told.failures.failures]
    for page in pages:
        for index in range(page.count):
            line = page.line(index)
            assert line is not None
            assert line.plain.isprintable()
            assert cell_width(line.plain) <= width
