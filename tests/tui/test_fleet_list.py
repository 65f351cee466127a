"""The list of sidecars as the reader arranges it: filter, order, marks, and whom an action is for."""

from __future__ import annotations

from typing import Any, cast

from ui_clock import StillClock
from ui_world import NOW, healthy

from tui.fleet import Fleet
from tui.model import Model
from tui.pages.fleet import LARGEST_FIRST, FleetSort
from tui.text import SafeText


class Endpoint:
    def __init__(self, name: str) -> None:
        self.name = self.label = SafeText(name)


class Client:
    def __init__(self, name: str) -> None:
        self.endpoint = Endpoint(name)


class Monitor:
    def __init__(self, name: str) -> None:
        self.client = Client(name)
        self.name = SafeText(name)
        self.model = Model(self.name)

    def answer(self, connections: int) -> None:
        world = healthy(connections=connections)
        world.status["totals"]["connections_active"] = connections
        self.model.take_status(world.document("status"), 1000.0, NOW, 0.0)


class Roster:
    def __init__(self, *names: str) -> None:
        self.monitors = [Monitor(name) for name in names]


def listed(*names: str) -> tuple[Fleet, Roster]:
    roster = Roster(*names)
    fleet = Fleet(cast("Any", roster), StillClock())
    for number, monitor in enumerate(roster.monitors):
        monitor.answer(10 * (number + 1))
    fleet.take(1000.0)
    return fleet, roster


def shown(fleet: Fleet) -> list[str]:
    return [str(row.name) for row in fleet.shown]


def test_rows_are_made_anew_only_of_those_that_told_something() -> None:
    fleet, roster = listed("a", "b")
    before = [row.sight for row in fleet.rows]
    roster.monitors[1].answer(70)
    fleet.take(1001.0)
    assert [row.sight is sight for row, sight in zip(fleet.rows, before, strict=True)] == [True, False]
    assert [row.monotonic for row in fleet.rows] == [1001.0, 1001.0], "all ages go on"


def test_it_is_complete_when_each_has_answered() -> None:
    fleet, roster = listed("a", "b")
    assert fleet.is_complete
    roster.monitors.append(Monitor("c"))
    fleet.take(1000.0)
    assert not fleet.is_complete


def test_a_filter_that_cannot_be_read_leaves_the_last_good_one() -> None:
    fleet, _ = listed("alpha-1", "alpha-2", "beta")
    assert fleet.set_filter(" alpha ")
    assert not fleet.set_filter("alpha")
    fleet.arrange()
    assert shown(fleet) == ["alpha-1", "alpha-2"]
    assert not fleet.set_filter("nosuch:")
    assert (fleet.filter, fleet.typed, fleet.mistake is None) == ("alpha", "nosuch:", False)
    assert fleet.set_filter("")
    assert fleet.mistake is None


def test_a_column_chosen_twice_is_turned_round_and_each_begins_with_what_matters() -> None:
    fleet, _ = listed("a", "b", "c")
    fleet.sort_by("name")
    assert fleet.descending is (FleetSort.NAME in LARGEST_FIRST)
    fleet.arrange()
    assert shown(fleet) == ["a", "b", "c"]
    fleet.sort_by("name")
    fleet.arrange()
    assert shown(fleet) == ["c", "b", "a"]
    seen = []
    for _ in range(len(FleetSort) + 1):
        fleet.sort_by_next()
        seen.append(fleet.sort)
    assert FleetSort.NAME in seen, "the order comes round again"


def test_all_that_are_shown_are_marked_or_none_and_marks_go_with_their_sidecar() -> None:
    fleet, roster = listed("alpha-1", "alpha-2", "beta")
    fleet.mark("beta")
    fleet.set_filter("alpha")
    fleet.arrange()
    fleet.mark_all()
    assert fleet.marked == {"alpha-1", "alpha-2", "beta"}
    fleet.mark_all()
    assert fleet.marked == {"beta"}, "what is not shown keeps its mark"
    del roster.monitors[2]
    fleet.take(1000.0)
    assert fleet.marked == set()


def test_an_action_is_for_the_marked_else_for_the_one_under_the_cursor() -> None:
    fleet, roster = listed("a", "b", "c")
    first, second, third = roster.monitors
    assert fleet.chosen("b") == [second]
    assert fleet.chosen(None) == []
    fleet.mark("c")
    fleet.mark("a")
    assert fleet.chosen("b") == [first, third], "in the order of the list"
    fleet.mark("a")
    assert fleet.chosen("b") == [third]
    assert (fleet.monitor("c"), fleet.monitor("gone")) == (third, None)
