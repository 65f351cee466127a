"""Several sidecars in one list: worst first, drilled into and out of, marked, acted on together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from ui_bench import Bench, bench
from ui_sidecar import running
from ui_world import NOW, World, certificate, degraded, expired, healthy, hostile

from tlsidecar.api.filter import FilterError
from tui.app import Console
from tui.model import Model
from tui.options import Options
from tui.pages.fleet_filter import fleet_matcher
from tui.pages.fleet_row import FleetRow
from tui.reach.targets import local
from tui.screens.choice import Question, Reading
from tui.screens.fleet import FleetScreen
from tui.sight import Sight
from tui.text import SafeText


def named(world: World, node: str, **status: object) -> World:
    world.status["node"] = node
    world.status |= status
    return world


def worlds() -> tuple[World, ...]:
    return (named(healthy(), "web-1"), named(degraded(), "db-7"), named(healthy(), "web-2"))


def rows(desk: Bench) -> list[str]:
    """The lines of the list."""
    header = next(index for index, line in enumerate(desk.lines) if line.startswith("  NAME"))
    return [line for line in desk.lines[header + 1 : -1] if line.strip()]


def names(desk: Bench) -> list[str]:
    return [line[2:].split()[0] for line in rows(desk)]


async def test_worst_first_with_what_they_add_up_to(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds(), size=(120, 24)) as desk:
        assert isinstance(desk.app.screen, FleetScreen)
        assert desk.lines[0].split() == ["tlsidecar", "3", "sidecars", "1", "critical", "2", "ok"]
        assert "open" in desk.lines[1]
        assert "next to expire" in desk.lines[1]
        header = desk.lines[2].split()
        assert header[0] == "NAME"
        assert {"STATE↑", "PROBLEM", "CERT", "REQ/S", "FAIL/S", "GEN", "VERSION"} < set(header)
        assert ["degraded" in line for line in rows(desk)] == [True, False, False]
        await desk.sidecars[2].stop()
        await desk.second()
        assert "no reply" in rows(desk)[0]
        assert "no socket at" in rows(desk)[0]
        assert "1 no reply" in desk.lines[0]


async def test_80_columns_lose_no_figure_that_matters(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds()) as desk:
        assert {"NAME", "STATE↑", "PROBLEM", "CERT", "REQ/S", "FAIL/S", "GEN"} <= set(desk.lines[2].split())
        desk.sidecars[0].world.advance(5, bytes_in=10, bytes_out=10)
        await desk.second(3)
        assert all(len(line) == 80 for line in desk.lines)


async def test_in_and_out(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds()) as desk:
        await desk.press("enter")
        await desk.second()
        assert all(words in desk.lines[0] for words in ("db-7 ", "s1.sock 2/3"))
        assert "n sidecars" in desk.text
        await desk.press("4", "enter", "escape")  # a refusal
        await desk.press("slash", *"x", "escape")
        assert desk.app.screen is desk.app.main  # the filter first
        await desk.press("escape")
        await desk.second()
        assert isinstance(desk.app.screen, FleetScreen)
        assert desk.app.screen.selected == str(desk.sidecars[1].socket)
        await desk.press("down", "3")
        await desk.second()
        assert all(words in desk.lines[0] for words in ("web-1 ", "s0.sock 1/3"))
        assert desk.app.tab.name == "Certificates"
        await desk.press("2", "enter", "n")
        await desk.second()
        assert isinstance(desk.app.screen, FleetScreen)
        await desk.press("n")
        assert isinstance(desk.app.screen, FleetScreen)


async def test_order_filter_and_pause(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds(), named(expired(), "old")) as desk:
        paths = [sidecar.socket.name for sidecar in desk.sidecars]
        await desk.press("N")
        assert [name[-7:] for name in names(desk)] == paths
        await desk.press("S")
        assert [name[-7:] for name in names(desk)] == paths[::-1]
        await desk.press("C")
        assert names(desk)[0].endswith(paths[3])
        await desk.press("s", "w", "w")
        assert "REQ/S↓" in desk.lines[2]
        await desk.press("slash", *"db-7", "enter")
        assert names(desk) == [names(desk)[0]]
        assert names(desk)[0].endswith(paths[1])
        assert "1 of 4" in desk.lines[-1]
        await desk.press("escape")
        assert len(names(desk)) == 4
        await desk.press("slash", *"nobody")
        assert "no sidecar matches the filter" in desk.text
        await desk.press("escape", "p")
        await desk.sidecars[0].stop()
        await desk.second()
        assert "no reply" not in desk.text
        assert "PAUSED +" in desk.lines[0]
        await desk.press("p")
        await desk.second()
        assert "no reply" in desk.text


async def test_a_filter_that_is_typed_at_once_is_no_command(tmp_path: Path) -> None:
    """In the list and in a tab: not one key of it is lost, or taken for actions, another tab or the end."""
    async with bench(tmp_path, *worlds()) as desk:
        await desk.type("/a2db-7q")
        await desk.settle()
        assert "filter: a2db-7q" in desk.text
        assert "no sidecar matches the filter" in desk.text
        await desk.press("escape")
        await desk.type("/db-7\r")
        await desk.settle()
        assert "1 of 3" in desk.lines[-1]
        await desk.press("enter", "2")
        await desk.second()
        await desk.type("/a1q")
        await desk.settle()
        assert desk.app.screen is desk.app.main
        assert desk.app.tab.name == "Connections"
        assert "filter: a1q" in desk.text
        assert desk.app.return_code is None


async def test_an_action_on_all_marked_names_their_number(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds(), toasts=True) as desk:
        await desk.press("space", "space")
        assert "2 marked" in desk.lines[0]
        await desk.press("a", "enter")
        assert isinstance(desk.app.screen, Question)
        assert "Reload certificates on 2 sidecars" in desk.text
        assert "Yes, reload certificates: 2" in desk.text
        await desk.press("enter")  # No is under the cursor
        assert all(sidecar.changes == [] for sidecar in desk.sidecars)
        await desk.press("a", "enter", "y")
        await desk.eventually(lambda: "reload: done on 2 sidecars" in desk.toasts)
        assert [len(sidecar.changes) for sidecar in desk.sidecars] == [1, 1, 0]
        await desk.press("escape")
        assert "marked" not in desk.lines[0]
        await desk.press("M")
        assert "3 marked" in desk.lines[0]
        await desk.press("M")
        assert "marked" not in desk.lines[0]


async def test_an_action_on_one_is_for_the_one_under_the_cursor(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds(), toasts=True) as desk:
        await desk.press("down", "a", "G", "enter", "enter")
        assert "Log level debug on 1 sidecar" in desk.text
        await desk.press("y")
        await desk.eventually(lambda: "log-level: done on 1 sidecar" in desk.toasts)
        assert [sidecar.changes for sidecar in desk.sidecars] == [
            [("PUT", "/v1/log-level", {"level": "debug"})],
            [],
            [],
        ]


async def test_what_fails_is_told_by_name(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds(), toasts=True) as desk:
        desk.sidecars[1].refuses = "busy \x1b[2J"
        await desk.sidecars[2].stop()
        await desk.second()
        await desk.press("M", "a", "down", "down", "enter")
        open_now = sum(each.world.status["totals"]["connections_active"] for each in desk.sidecars[:2])
        assert "Drain on 2 sidecars" in desk.text
        words = " ".join(line.strip(" │") for line in desk.lines)
        assert f"({open_now} connections in all)" in words
        assert "1 sidecar that did not answer: left out." in words
        await desk.press("y")
        await desk.eventually(lambda: isinstance(desk.app.screen, Reading))
        assert "drain: went well on 1, not on 1" in desk.text
        assert r"drain refused: busy \x1b[2J" in desk.text
        await desk.press("escape")


async def test_what_changed_since_it_was_asked_is_asked_again(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds(), toasts=True) as desk:
        await desk.press("M", "a", "down", "down", "enter")
        assert isinstance(desk.app.screen, Question)
        for sidecar in desk.sidecars:
            sidecar.world.status["totals"]["connections_active"] += 1000
        await desk.second()
        await desk.press("y")
        await desk.eventually(lambda: any(toast.startswith("drain: not done, it is ") for toast in desk.toasts))
        assert all(sidecar.changes == [] for sidecar in desk.sidecars)
        assert isinstance(desk.app.screen, Question)
        await desk.press("y")
        await desk.eventually(lambda: all(sidecar.changes for sidecar in desk.sidecars))


async def test_undrain_is_for_those_that_drain(tmp_path: Path) -> None:
    draining = named(healthy(), "web-3", state="draining")
    async with bench(tmp_path, *worlds(), draining, toasts=True) as desk:
        await desk.press("M", "a", "down", "down", "down", "enter")
        assert "Undrain on 1 sidecar" in desk.text
        words = " ".join(line.strip(" │") for line in desk.lines)
        assert "3 sidecars not draining: left out." in words
        await desk.press("y")
        await desk.eventually(lambda: "undrain: done on 1 sidecar" in desk.toasts)
        assert [sidecar.changes for sidecar in desk.sidecars] == [[], [], [], [("POST", "/v1/undrain", None)]]
        draining.status["state"] = "ready"
        await desk.second()
        await desk.press("a", "down", "down", "down", "enter")
        assert "undrain: none of them is draining" in desk.toasts


async def test_an_identity_is_kept_out_of_all_that_are_marked(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds(), toasts=True) as desk:
        who = str(desk.sidecars[0].world.connections[0]["identity"])
        touched = [sum(each["identity"] == who for each in one.world.connections) for one in desk.sidecars]
        assert sum(touched) > 1
        await desk.press("M", "a", *("down",) * 4, "enter")
        assert "Deny which identity?" in desk.text
        await desk.press("q", "escape")  # a letter like any other
        assert isinstance(desk.app.screen, FleetScreen)
        await desk.press("a", *("down",) * 4, "enter", *who, "enter", "enter")
        await desk.eventually(lambda: isinstance(desk.app.screen, Question))
        words = " ".join(line.strip(" │") for line in desk.lines)
        assert "on 3 sidecars" in words
        assert f"{sum(touched)} connections in all are cut now" in words
        await desk.press("y")
        await desk.eventually(lambda: "deny: done on 3 sidecars" in desk.toasts)
        assert [sidecar.changes for sidecar in desk.sidecars] == [
            [("POST", "/v1/denials", {"identity": who, "for_s": 600})] for _ in desk.sidecars
        ]

        # And back, on those that keep it out: by then one does not any more.
        desk.sidecars[2].denials.clear()
        await desk.press("a", *("down",) * 5, "enter")
        await desk.eventually(lambda: "by 2" in desk.text)
        await desk.press("enter")
        await desk.eventually(lambda: isinstance(desk.app.screen, Question))
        words = " ".join(line.strip(" │") for line in desk.lines)
        assert "on 2 sidecars" in words
        assert "1 sidecar without such a denial: left out." in words
        await desk.press("y")
        await desk.eventually(lambda: "undeny: done on 2 sidecars" in desk.toasts)
        assert [sidecar.changes[1:] for sidecar in desk.sidecars] == [
            [("DELETE", "/v1/denials/1", None)],
            [("DELETE", "/v1/denials/1", None)],
            [],
        ]
        await desk.press("a", *("down",) * 5, "enter")
        assert "undeny: none of them keeps anybody out" in desk.toasts


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("is:critical", {"db-7"}),
        ("!is:critical", {"web-1", "web-2"}),
        ("node:web-*", {"web-1", "web-2"}),
        ("node:web-* !node:web-1", {"web-2"}),
        ("state:degraded", {"db-7"}),
        ("problem:reload_refused", {"db-7"}),
        ("gen:<9 open:>0", {"web-1", "db-7", "web-2"}),
        ("expires:<1000d db", {"db-7"}),
        ("id:*/sa/web ok:", set()),
    ],
)
async def test_the_list_is_filtered_in_the_same_language(wanted: str, found: set[str]) -> None:
    rows = [fleet_row_of(world) for world in worlds()]
    try:
        means = fleet_matcher(wanted, NOW)
    except FilterError:
        assert not found
    else:
        assert {str(row.node) for row in rows if means(row)} == found


def fleet_row_of(world: World) -> FleetRow:
    model = Model(SafeText("a.sock"))
    model.take_status(world.status, 1.0, NOW, 0.0)
    return FleetRow("a.sock", SafeText("a"), Sight.of(model.snapshot(1.0)), 1.0)


async def test_a_mistake_in_its_filter_is_shown_and_the_last_good_one_holds(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds()) as desk:
        await desk.press("slash", *"is:critical")
        assert "1 of 3" in desk.lines[-1]
        await desk.press(*" exipres:<2d")
        assert "^ there is no field" in desk.text
        assert "0 of 3" in desk.lines[-1]  # as long as it was a word, none had it
        await desk.press("escape")
        assert "^" not in desk.text
        assert len(names(desk)) == 3


async def test_a_key_that_comes_before_the_list_is_there_is_no_filter(tmp_path: Path) -> None:
    """Typed while the console was still starting."""
    async with bench(tmp_path, *worlds()) as desk:
        desk.app.push_screen(FleetScreen(desk.app.fleet, ""))
        await desk.type("w7w")
        await desk.second()
        assert desk.app.fleet.filter == ""


async def test_a_rollover_says_who_is_not_ready(tmp_path: Path) -> None:
    """Three steps over three sidecars: who lacks the new CA, who still shows the old one, who has connections of it."""
    old, new = ca("Old", 400), ca("New", 1)
    fleet = worlds()
    for world, trust, issuer in zip(fleet, ([old], [old, new], [old, new]), (old, old, new), strict=True):
        world.certificates |= {"trust": trust, "chain": [{**issuer, "issuer": issuer["subject"]}]}
        world.certificates["connections_by_generation"] = {"3": 4}
    async with bench(tmp_path, *fleet, size=(180, 12)) as desk:
        await desk.press("o")
        assert "asking the sidecars" in desk.lines[1]
        await desk.second()
        assert "1 not ready to switch" in desk.lines[1]
        assert "CN=New trusted by 2 of 3, issued 1" in desk.lines[1]
        assert ["not ready" in row and "CN=New" in row for row in rows(desk)] == [True, False, False]
        assert "does not trust CN=New; shows a leaf of CN=Old" in rows(desk)[0]
        assert "switch" in rows(desk)[1]
        assert "shows a leaf of CN=Old" in rows(desk)[1]
        assert "finish" in rows(desk)[2]
        fleet[0].certificates["trust"] = [old, new]
        fleet[2].certificates["connections_by_generation"] = {"2": 7, "3": 1}
        desk.clock.move(60)
        await desk.second()
        assert "ready to switch; 3 not yet to finish" in desk.lines[1]
        assert any(" 7 " in row and "7 connections by older material" in row for row in rows(desk))
        for world in fleet:
            world.certificates["chain"] = [{**new, "issuer": new["subject"]}]
            world.certificates["connections_by_generation"] = {"3": 1}
        desk.clock.move(60)
        await desk.second()
        assert "ready to finish" in desk.lines[1]
        # One that is not heard of is ready for nothing, and none is whose CA nobody knows, or that could not reload.
        fleet[1].certificates["chain"] = [{**new, "issuer": "CN=Stranger", "sha256": "ab"}]
        fleet[1].certificates["last_attempt"] |= {"outcome": "refused", "reason": "key_mismatch"}
        await desk.sidecars[2].stop()
        desk.clock.move(60)
        await desk.second()
        await desk.eventually(lambda: "1 not read" in desk.lines[1])
        assert "2 of 3 ready to switch; 1 not yet to finish" in desk.lines[1]
        assert any("shows a leaf of an unknown CA; last attempt refused: key" in row for row in rows(desk))
        await desk.press("o")
        assert "REQ/S" in desk.lines[2]


def ca(name: str, age_days: int) -> dict[str, object]:
    begins = NOW - timedelta(days=age_days)
    return dict(certificate(f"CN={name}", f"CN={name}", begins, begins + timedelta(days=3650), is_ca=True))


async def test_read_only_has_no_actions(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds(), read_only=True) as desk:
        await desk.press("M", "a")
        assert isinstance(desk.app.screen, FleetScreen)
        assert "read-only" in desk.lines[0]
        assert "actions" not in desk.lines[-1]


async def test_none_that_answers(tmp_path: Path) -> None:
    async with bench(tmp_path, *worlds(), toasts=True) as desk:
        for sidecar in desk.sidecars:
            await sidecar.stop()
        await desk.second()
        await desk.press("M", "a", "enter")
        assert "reload: none of them answers" in desk.toasts


async def test_hostile_text_at_every_size(tmp_path: Path) -> None:
    async with bench(tmp_path, hostile(), hostile()) as desk:
        for columns, rows in ((80, 24), (20, 5), (40, 10), (200, 50)):
            await desk.pilot.resize_terminal(columns, rows)
            await desk.second()
            for key in ("w", "right", "M", "a", "escape", "escape", "slash", "x", "escape", "w"):
                await desk.press(key)
                assert len(desk.lines) == rows
                assert all(line.isprintable() for line in desk.lines)


async def test_a_directory_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself: sockets come and go, the one that is looked at stays."""
    folder = tmp_path / "sockets"
    folder.mkdir()
    (folder / "gone.sock").symlink_to("nowhere.sock")  # what cannot be looked at hides no other
    source = local(folder)
    object.__setattr__(source, "interval_s", 0.05)
    app = Console(Options((source,)))
    async with app.run_test(size=(100, 12)) as pilot:
        desk = Bench(app, pilot, [], app.clock)  # type: ignore[arg-type]
        await desk.eventually(lambda: "no socket *.sock in" in desk.text)
        async with running(folder / "b.sock", named(healthy(), "web-b")):
            await desk.eventually(lambda: any("b.sock" in line and "ready" in line for line in desk.lines))
            async with running(folder / "a.sock", named(healthy(), "web-a")):
                await desk.eventually(lambda: any("a.sock" in line and "ready" in line for line in desk.lines))
                assert "2 sidecars" in desk.lines[0]
                await desk.press("N", "home", "enter")
                await desk.eventually(lambda: "web-a" in desk.lines[0])
            await desk.eventually(lambda: "RETRY" in desk.lines[0])
            async with running(folder / "a.sock", named(healthy(), "web-a")):  # the same one again
                await desk.eventually(lambda: "ADMIN: connected" in desk.lines[0] and "1/2" in desk.lines[0])
            await desk.eventually(lambda: "RETRY" in desk.lines[0])
            await desk.press("escape")
            await desk.eventually(lambda: "1 sidecar " in desk.lines[0] + " ")
        assert desk.app.return_code is None
