"""Each tab is whole by itself, and what the reader sets in it is kept with the sidecar."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from ui_clock import StillClock
from ui_world import NOW, degraded, empty, hostile

from tui.client import AdminClient
from tui.model import ConnectionQuery, Model, Snapshot, Sort
from tui.monitor import Monitor
from tui.plan import Ask
from tui.problems import problems
from tui.reach.endpoints import SocketEndpoint
from tui.sheet import Look
from tui.tabs import CONNECTIONS, EVENTS, REFUSALS, TABS
from tui.tabs.tab import Tab, TabState, Window
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
