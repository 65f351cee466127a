"""Each tab is whole by itself, and what the reader sets in it is kept with the sidecar."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from ui_clock import StillClock
from ui_world import NOW, connection, degraded, empty, hostile

from tlsidecar.api.words import CONNECTION_GROUPS
from tui.client import AdminClient
from tui.lines import ASCII_GLYPHS, Kind, Target
from tui.model import ConnectionQuery, GroupSort, Model, Snapshot, Sort
from tui.monitor import Monitor
from tui.pages.arrange import ListSort
from tui.past import ALL, By, Whose
from tui.plan import Ask
from tui.problems import problems
from tui.reach.endpoints import SocketEndpoint
from tui.records import event_of
from tui.sheet import Look, Page
from tui.tabs import CONNECTIONS, EVENTS, FAILURES, OVERVIEW, REFUSALS, TABS, TRAFFIC
from tui.tabs.certificates import Certificates
from tui.tabs.config import Config
from tui.tabs.connections import Connections
from tui.tabs.events import HIDDEN_AT_FIRST, Events
from tui.tabs.failures import Failures
from tui.tabs.overview import Overview
from tui.tabs.refusals import Refusals
from tui.tabs.tab import Tab, TabState, Window
from tui.tabs.traffic import Traffic
from tui.text import SafeText

every_tab = pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.name)


def _snapshots() -> list[Snapshot]:
    """Nothing yet, just started, in trouble, hostile."""
    found = [Model(SafeText("x")).snapshot(0.0)]
    for world in (empty(), degraded(), hostile()):
        model = Model(SafeText("x"))
        model.take_status(world.document("status"), 1.0, NOW, 0.0)
        model.take_certificates(world.document("certificates"), 1.0)
        model.take_refusals({"total": len(world.refusals), "refusals": world.refusals}, 100, 1.0)
        page = {"total": len(world.connections), "matched": len(world.connections), "connections": world.connections}
        model.take_connections(page, ConnectionQuery())
        found.append(model.snapshot(1.0))
    return found


@every_tab
@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_tab_shows_something_whatever_is_known(tab: Tab, width: int) -> None:
    for snapshot in _snapshots():
        if snapshot.status is None and not tab.is_unread(snapshot):
            continue
        sheet = tab.sheet(snapshot, problems(snapshot), Look(NOW, width, 20), tab.fresh_state())
        assert sheet.count > 0
        assert tab.note(snapshot, tab.fresh_state()).isprintable()


@every_tab
def test_its_letters_sort_and_mean_one_thing_each(tab: Tab) -> None:
    letters = [column.letter for column in tab.columns if column.letter]
    assert len(letters) == len(set(letters))
    for letter in letters:
        state = tab.fresh_state()
        sort = tab.sort_of(state, letter)
        assert sort in tab.sorts(state)
        tab.sort_by(state, sort)
        before = state.descending
        tab.sort_by(state, sort)
        assert (state.sort, state.descending) == (sort, not before)
    assert tab.sort_of(tab.fresh_state(), "?") is None


@every_tab
def test_names_ids_and_keys_are_its_own(tab: Tab) -> None:
    assert [each.name for each in TABS].count(tab.name) == 1
    assert tab.is_filtered == any(key == "/" for key, _, _ in tab.hints)
    assert bool(tab.sorts(tab.fresh_state())) == any(key == "s" for key, _, _ in tab.hints)


def test_what_is_set_in_a_tab_is_kept_with_the_sidecar() -> None:
    first, second = (
        Monitor(AdminClient(SocketEndpoint(Path(name))), StillClock(), random.Random(1))
        for name in ("one.sock", "two.sock")
    )
    first.tab(CONNECTIONS).filter = "cart"
    CONNECTIONS.sort_by(first.tab(CONNECTIONS), Sort.IDLE)
    assert second.tab(CONNECTIONS) == CONNECTIONS.fresh_state()
    assert first.tab(EVENTS).filter == ""
    query = CONNECTIONS.interest(first.tab(CONNECTIONS), Window(100, 20)).connections
    assert query == ConnectionQuery(filter="cart", sort=Sort.IDLE, descending=True, offset=80, limit=60)


def test_refusals_are_asked_for_as_they_are_looked_at() -> None:
    state = TabState(sort=REFUSALS.first_sort)
    assert REFUSALS.interest(state, Window(0, 20)).refusals_limit == 100
    assert REFUSALS.interest(state, Window(150, 20)).refusals_limit == 200
    state.filter = "cart"
    assert REFUSALS.interest(state, Window(0, 20)).refusals_limit == 1000
    assert REFUSALS.interest(state, Window(0, 20)).needs == {Ask.REFUSALS}


# Connections.


def _groups(matched: int, groups: int, offset: int = 0, rows: int = 0) -> Snapshot:
    model = Model(SafeText("x"))
    listed = [{"key": str(number), "filter": f"generation:{number}"} for number in range(rows)]
    page = {"total": 900, "matched": matched, "groups_matched": groups, "offset": offset, "groups": listed}
    model.take_connections(page, ConnectionQuery(group="identity"))
    return model.snapshot(0.0)


def test_b_goes_round_the_groupings_and_back_to_each() -> None:
    tab, state = Connections(), CONNECTIONS.fresh_state()
    tab.sort_by(state, Sort.IDLE)
    seen = []
    for _ in range(len(CONNECTION_GROUPS) + 1):
        assert tab.press(state, _snapshots()[0], "b")
        seen.append((state.group, state.sort))
    assert [group for group, _ in seen] == [*CONNECTION_GROUPS, ""]
    assert {sort for group, sort in seen if group} == {GroupSort.CONNECTIONS}, "groups have other columns"
    assert seen[-1][1] is Sort.OPENED
    assert not tab.press(state, _snapshots()[0], "x")


def test_a_sort_that_both_have_stays() -> None:
    state = CONNECTIONS.fresh_state()
    CONNECTIONS.sort_by(state, Sort.REQUESTS)
    CONNECTIONS.press(state, _snapshots()[0], "b")
    assert state.sort == GroupSort.REQUESTS
    query = CONNECTIONS.interest(state, Window(0, 10)).connections
    assert (query.sort, query.group) == (GroupSort.REQUESTS, "identity")


def test_into_a_group_and_back_with_the_filter_that_was_there() -> None:
    state = CONNECTIONS.fresh_state()
    CONNECTIONS.set_filter(state, "listener:web")
    CONNECTIONS.press(state, _snapshots()[0], "b")
    assert not CONNECTIONS.back(state), "nothing was opened yet"
    assert not CONNECTIONS.drill(state, Target(Kind.CONNECTION, 7))
    assert CONNECTIONS.drill(state, Target(Kind.GROUP, 'identity:="a"'))
    assert (state.filter, state.typed, state.group) == ('listener:web identity:="a"', state.filter, "")
    assert state.sort is Sort.OPENED
    assert CONNECTIONS.back(state)
    assert (state.filter, state.typed, state.group) == ("listener:web", "listener:web", "identity")
    assert not CONNECTIONS.back(state)


@pytest.mark.parametrize(
    ("first", "room", "offset", "limit"),
    [(0, 20, 0, 60), (5, 20, 0, 60), (100, 20, 80, 60), (0, 1, 0, 50), (9_000, 5_000, 4_000, 1000)],
)
def test_a_window_has_a_screen_more_each_way_and_bounds(first: int, room: int, offset: int, limit: int) -> None:
    query = CONNECTIONS.interest(CONNECTIONS.fresh_state(), Window(first, room)).connections
    assert (query.offset, query.limit) == (offset, limit)


@pytest.mark.parametrize(
    ("matched", "offset", "rows", "window", "lacks"),
    [
        (100, 0, 60, Window(0, 20), False),
        (100, 0, 60, Window(40, 20), False),
        (100, 0, 60, Window(41, 20), True),
        (100, 80, 20, Window(79, 20), True),
        (100, 80, 20, Window(90, 20), False),  # there are no more
        (0, 0, 0, Window(0, 20), False),
    ],
)
def test_what_comes_into_view_and_was_not_read_is_lacking(
    matched: int, offset: int, rows: int, window: Window, lacks: bool
) -> None:
    model = Model(SafeText("x"))
    listed = [connection(number, NOW) for number in range(offset, offset + rows)]
    page = {"total": matched, "matched": matched, "offset": offset, "connections": listed}
    model.take_connections(page, ConnectionQuery())
    assert CONNECTIONS.lacks(model.snapshot(0.0), window) is lacks
    assert not CONNECTIONS.lacks(Model(SafeText("x")).snapshot(0.0), window)
    groups = _groups(9 * matched, matched, offset, rows)
    assert CONNECTIONS.lacks(groups, window) is lacks


def test_of_a_connection_its_row_is_copied_and_of_groups_the_whole() -> None:
    snapshot = _snapshots()[2]
    number = snapshot.raw["connections"]["connections"][3]["id"]
    assert CONNECTIONS.exported(snapshot, number) == (
        f"connection-{number}",
        snapshot.raw["connections"]["connections"][3],
    )
    assert CONNECTIONS.exported(snapshot, None) is None
    assert CONNECTIONS.exported(snapshot, 4711) is None, "it is gone"
    name, _ = CONNECTIONS.exported(_groups(9, 2, rows=2), "generation:1") or ("", {})
    assert name == "connections"


# Refusals.


def test_each_refusal_has_other_columns_than_parties() -> None:
    tab, state = Refusals(), REFUSALS.fresh_state()
    snapshot = _snapshots()[2]
    tab.sort_by(state, ListSort.COUNT)
    tab.press(state, snapshot, "b")
    assert (state.each, state.sort, state.descending) == (True, ListSort.AT, True), "one refusal has no count"
    tab.sort_by(state, ListSort.WHO)
    tab.press(state, snapshot, "b")
    assert (state.each, state.sort, state.descending) == (False, ListSort.WHO, False)
    assert not tab.press(state, snapshot, "B")
    assert "of" not in tab.note(snapshot, state).split()


def test_of_refusals_the_one_under_the_cursor_is_copied_or_all() -> None:
    snapshot = _snapshots()[2]
    row = snapshot.raw["refusals"]["refusals"][4]
    assert REFUSALS.exported(snapshot, row["seq"]) == (f"refusal-{row['seq']}", row)
    assert REFUSALS.exported(snapshot, "a party") == ("refusals", snapshot.raw["refusals"])
    assert REFUSALS.exported(_snapshots()[0], 1) is None


@pytest.mark.parametrize(("window", "limit"), [(Window(0, 50), 100), (Window(0, 51), 200), (Window(990, 9), 1000)])
def test_no_more_refusals_are_asked_for_than_are_kept(window: Window, limit: int) -> None:
    assert REFUSALS.interest(REFUSALS.fresh_state(), window).refusals_limit == limit
    state = REFUSALS.fresh_state()
    state.descending = False
    assert REFUSALS.interest(state, Window(0, 1)).refusals_limit == 1000, "the oldest come first"


# Events.


def test_who_comes_and_goes_is_hidden_at_first_and_said_to_be() -> None:
    tab, state, nothing = Events(), EVENTS.fresh_state(), _snapshots()[0]
    assert tab.note(nothing, state) == "without closed, opened, following"
    state.follow, state.hidden = False, frozenset()
    assert tab.note(nothing, state) == "not following (f)"
    assert EVENTS.fresh_state().hidden == HIDDEN_AT_FIRST


def test_an_event_is_copied_as_it_came_and_told_from_its_namesake_of_before_a_restart() -> None:
    model = Model(SafeText("x"))
    for generation in (4, 1):
        model.take_event(event_of("reload", {"seq": 1, "generation": generation}))
    snapshot = model.snapshot(0.0)
    table = EVENTS.sheet(snapshot, [], Look(NOW), EVENTS.fresh_state())
    keys = [line.target.key for index in range(2) if (line := table.line(index)) is not None and line.target]
    told = [EVENTS.exported(snapshot, key) for key in keys]
    assert told == [("event-1", {"seq": 1, "generation": generation}) for generation in (4, 1)]
    assert EVENTS.exported(snapshot, None) is None


# Overview and traffic.


def _with_history() -> Snapshot:
    world, model = degraded(), Model(SafeText("x"))
    model.take_status(world.document("status"), 1.0, NOW, 0.0)
    model.take_past(world.past(7200, 20), model.span(""), 1.0)
    return model.snapshot(1.0)


@pytest.mark.parametrize(("size", "charts"), [((109, 60), False), ((110, 29), False), ((110, 60), True)])
def test_charts_stand_below_where_there_is_room(size: tuple[int, int], charts: bool) -> None:
    tab, snapshot = Overview(), _with_history()
    sheet = tab.sheet(snapshot, problems(snapshot), Look(NOW, *size), tab.fresh_state())
    lines = [line.plain for index in range(sheet.count) if (line := sheet.line(index)) is not None]
    assert any(line.startswith("Last 2 h") for line in lines) is charts
    assert len(lines) <= size[1]
    assert (Ask.HISTORY in tab.interest(tab.fresh_state(), Window(0, size[1])).needs) is (size[1] >= 30)


def test_the_charts_are_drawn_anew_only_for_something_new(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[object] = []
    for name in ("overview", "traffic"):
        monkeypatch.setattr(f"tui.tabs.{name}.traffic_page", lambda *what: drawn.append(what) or Page(()))
    snapshot, look = _with_history(), Look(NOW, 120, 60)
    for tab in (Overview(), Traffic()):
        drawn.clear()
        for each in (look, look, replace(look, width=121), replace(look, width=121, glyphs=ASCII_GLYPHS)):
            tab.sheet(snapshot, [], each, tab.fresh_state())
        assert len(drawn) == 3
        tab.sheet(_with_history(), [], look, tab.fresh_state())
        assert len(drawn) == 4


def test_spans_and_whose_charts_go_round_both_ways() -> None:
    tab, state, snapshot = Traffic(), TRAFFIC.fresh_state(), _with_history()
    spans = []
    for _ in range(4):
        tab.press(state, snapshot, "t")
        spans.append(state.span)
    assert spans == ["1 min", "15 min", "2 h", ""]
    tab.press(state, snapshot, "T")
    assert state.span == "2 h"
    tab.press(state, snapshot, "l")
    first = state.whose.key
    assert first == "web"
    tab.press(state, snapshot, "L")
    assert state.whose == ALL
    tab.press(state, snapshot, "L")
    assert state.whose.key not in ("", first)
    tab.press(state, snapshot, "b")
    assert state.whose == Whose(By.UPSTREAM), "another kind has other keys"
    tab.press(state, snapshot, "B")
    assert state.whose.by is By.LISTENER
    assert not tab.press(state, snapshot, "x")


def test_what_is_charted_no_more_gives_way_to_all() -> None:
    state = TRAFFIC.fresh_state()
    state.whose, state.span = Whose(By.LISTENER, "gone"), "a year"
    TRAFFIC.press(state, _with_history(), "l")
    assert state.whose == ALL
    TRAFFIC.press(state, _with_history(), "t")
    assert state.span == ""
    TRAFFIC.press(state, Model(SafeText("x")).snapshot(0.0), "l")
    assert state.whose == ALL, "nothing is known yet"


# The plain ones.


@pytest.mark.parametrize(
    ("tab", "name", "needs"),
    [
        (Certificates(), "certificates", {Ask.CERTIFICATES}),
        (Config(), "status", set()),
        (Failures(), "failures", {Ask.FAILURES}),
        (Traffic(), "history", {Ask.HISTORY}),
    ],
)
def test_what_has_no_rows_of_its_own_is_copied_whole(tab: Tab, name: str, needs: set[Ask]) -> None:
    world, model = degraded(), Model(SafeText("x"))
    nothing = model.snapshot(0.0)
    assert tab.exported(nothing, None) is None
    assert tab.is_unread(nothing) is bool(needs)
    model.take_status(world.document("status"), 1.0, NOW, 0.0)
    model.take_certificates(world.document("certificates"), 1.0)
    model.take_failures(world.document("failures"), 1.0)
    model.take_past(world.past(7200, 20), model.span(""), 1.0)
    assert tab.exported(model.snapshot(1.0), "whatever") == (name, model.raw[name])
    assert not tab.is_unread(model.snapshot(1.0))
    assert tab.interest(tab.fresh_state(), Window(0, 20)).needs == needs


def test_all_failures_are_asked_for_where_they_are_listed() -> None:
    assert FAILURES.interest(FAILURES.fresh_state(), Window(0, 20)).lists_failures
    assert not OVERVIEW.interest(OVERVIEW.fresh_state(), Window(0, 20)).lists_failures


@pytest.mark.parametrize("tab", [CONNECTIONS, REFUSALS, EVENTS, FAILURES], ids=lambda tab: tab.name)
def test_a_filter_that_cannot_be_read_leaves_the_last_good_one(tab: Tab) -> None:
    state = tab.fresh_state()
    assert tab.set_filter(state, "cart")
    assert not tab.set_filter(state, "cart lis:x")
    assert (state.filter, state.typed) == ("cart", "cart lis:x")
    assert state.mistake is not None
    assert state.mistake.position == 5
    assert not tab.set_filter(state, "cart"), "it is in force already"
    assert state.mistake is None
