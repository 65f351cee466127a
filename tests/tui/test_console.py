"""The console under the keys: every view, every key, every action; loss, pause, several sidecars."""

from __future__ import annotations

import json
import tomllib
from datetime import timedelta
from itertools import chain
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from ui_bench import Bench, bench
from ui_world import NOW, World, connection, crowded, degraded, empty, healthy, stamp

from tlsidecar.api.words import EVENT_KINDS
from tui.lines import Kind, Target
from tui.model import Sort
from tui.pages.arrange import ListSort
from tui.records import event_of
from tui.screens.choice import Menu
from tui.screens.detail import DetailScreen
from tui.tabs import CERTIFICATES, CONFIG, CONNECTIONS, EVENTS, OVERVIEW, REFUSALS, TABS


async def test_the_first_screen_answers_without_a_key(tmp_path: Path) -> None:
    async with bench(tmp_path, degraded()) as desk:
        lines = desk.lines
        assert "web-1" in lines[0]
        assert "degraded" in lines[0]
        assert "ADMIN: connected" in lines[0]
        assert "◐ due" in lines[1]
        assert "critical" in lines[4]
        places = [next(y for y, text in enumerate(lines) if text.startswith(each)) for each in _SECTIONS]
        assert places == sorted(places)


_SECTIONS = ("Problems", "Refused", "Expires next", "Traffic")


async def test_tabs_by_digit_by_tab_and_by_mouse(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        for number, view in enumerate(TABS, 1):
            await desk.press(str(number))
            assert desk.app.tab is view
        await desk.press("tab")
        assert desk.app.tab is OVERVIEW
        await desk.press("shift+tab")
        assert desk.app.tab is TABS[-1]
        await desk.pilot.click("#tabs", offset=(desk.lines[2].index("3 Certs") + 3, 0))
        await desk.pilot.pause()
        assert desk.app.tab is CERTIFICATES


async def test_the_cursor_moves_over_what_can_be_opened_and_stays_on_it(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy(connections=40)) as desk:
        await desk.press("2")
        await desk.second()
        rows = desk.app.main.rows
        await desk.press("down", "j", "down", "k")
        assert rows.cursor == 2
        assert rows.selected == Target(Kind.CONNECTION, 3)
        # Somebody opens a connection: it is the newest, at the top; the cursor goes down with its own.
        desk.sidecar.world.connections.append(
            {**connection(41, desk.clock.now()), "opened_at": stamp(desk.clock.now())}
        )
        await desk.second()
        assert rows.selected == Target(Kind.CONNECTION, 3)
        assert rows.cursor == 3
        await desk.press("pagedown")
        assert rows.cursor == 3 + rows.window[1]
        await desk.press("end")
        assert rows.cursor == 40
        await desk.press("home")
        assert rows.cursor == 0
        await desk.press("G", "g")
        assert rows.cursor == 0


async def test_a_click_selects_and_a_second_one_opens(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("2")
        await desk.second()
        await desk.pilot.click("#view-connections", offset=(5, 4))
        await desk.pilot.pause()
        assert desk.app.main.rows.selected == Target(Kind.CONNECTION, 4)
        assert not isinstance(desk.app.screen, DetailScreen)
        await desk.pilot.click("#view-connections", offset=(5, 4))
        await desk.pilot.pause()
        assert isinstance(desk.app.screen, DetailScreen)


async def test_a_connection_drills_down_to_its_chain(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy(), size=(80, 50)) as desk:
        await desk.press("2")
        await desk.second()
        await desk.press("enter")
        await desk.second()
        text = desk.text
        for words in (
            "Connections > connection 1",
            "admitted by",
            "TLS_AES_256_GCM_SHA384",
            "Peer certificate",
            "1,379",
        ):
            assert words in text
        assert desk.sidecar.requests[-1] == ("GET", "/v1/connections/1")
        desk.sidecar.world.connections.clear()
        await desk.second()
        assert "this connection has closed" in desk.text
        await desk.press("escape")
        assert desk.app.screen is desk.app.main


async def test_certificates_refusals_events_listeners_and_problems_drill_down(tmp_path: Path) -> None:
    async with bench(tmp_path, degraded(), size=(80, 40)) as desk:
        await desk.press("3", "enter")
        assert "SHA-256" in desk.text
        assert "generation 3" in desk.text
        await desk.press("4")
        assert desk.app.screen is desk.app.main
        await desk.second()
        await desk.press("enter")
        assert "no access rule allows this identity" in desk.text
        await desk.press("escape", "5")
        desk.happened()
        await desk.second()
        await desk.press("enter")
        assert "Event 6" in desk.text
        await desk.press("escape", "1")
        await desk.second()
        await desk.press("g", "enter")
        assert "What to do" in desk.text
        await desk.press("escape", "G", "enter")
        assert "Listener payments" in desk.text
        assert "upstream_refused" in desk.text


LETTERS = {
    "I": Sort.IDENTITY,
    "P": Sort.PEER,
    "L": Sort.LISTENER,
    "D": Sort.IDLE,
    "B": Sort.BYTES_IN,
    "R": Sort.REQUESTS,
    "E": Sort.GENERATION,
    "T": Sort.STATE,
    "N": Sort.ID,
    "A": Sort.OPENED,
}


async def test_shift_and_a_letter_sorts(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("2")
        for letter, sort in LETTERS.items():
            await desk.press(letter)
            assert desk.app.main.interest.connections.sort is sort


async def test_connections_are_filtered_and_sorted_by_the_sidecar(tmp_path: Path) -> None:
    async with bench(tmp_path, crowded(connections=400)) as desk:
        await desk.press("2")
        await desk.second()
        assert " AGE↑ " in desk.lines[3]  # the newest first: their age rises
        await desk.press("O")
        await desk.second()
        assert desk.lines[3].rstrip().endswith(" OUT↓")
        assert "AGE↑" not in desk.lines[3]
        assert _asked_for(desk)["sort"] == "bytes_out"
        assert _asked_for(desk)["order"] == "desc"
        assert _column(desk, "bytes_out") == sorted(_column(desk, "bytes_out"), reverse=True)
        await desk.press("O")
        await desk.second()
        assert desk.lines[3].rstrip().endswith(" OUT↑")
        assert _asked_for(desk)["order"] == "asc"
        assert _column(desk, "bytes_out") == sorted(_column(desk, "bytes_out"))
        await desk.press("S")
        await desk.second()
        assert desk.lines[3].rstrip().endswith(" OUT↓")
        await desk.press("s")  # the column after it, which is not on this screen
        await desk.second()
        assert _asked_for(desk)["sort"] == "requests"
        await desk.press("slash", *"cart", "enter")
        await desk.second()
        assert _asked_for(desk)["filter"] == "cart"
        assert "filter: cart" in desk.lines[3]
        assert "80 of 400 connections" in desk.lines[-1]
        assert all("cart" in line for line in desk.lines[5:-1])
        await desk.press("escape")
        await desk.second()
        assert _asked_for(desk)["filter"] == ""
        assert "400 connections" in desk.lines[-1]


def _asked_for(desk: Bench) -> dict[str, str]:
    """The last question for connections."""
    target = next(target for _, target in reversed(desk.sidecar.requests) if target.startswith("/v1/connections?"))
    return dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))


def _column(desk: Bench, name: str) -> list[int]:
    page = desk.app.view.shown.connections
    assert page is not None
    assert page.connections
    return [getattr(each, name) for each in page.connections]


async def test_refusals_are_filtered_and_sorted_here(tmp_path: Path) -> None:
    async with bench(tmp_path, degraded()) as desk:
        await desk.press("4", "slash", *"legacy", "enter")
        await desk.second()
        assert desk.app.main.rows.sheet.count == 1
        assert " 5 legacy.ops.internal" in desk.lines[5]
        await desk.press("b")
        assert desk.app.main.rows.sheet.count == 5
        assert desk.app.main.interest.refusals_limit == 1000
        await desk.press("escape", "W")
        assert desk.app.main.rows.sheet.count == 40
        assert desk.app.main.state.sort is ListSort.WHO
        await desk.press("s", "S")
        assert desk.app.main.state.sort is ListSort.REASON
        assert desk.app.main.state.descending


async def test_a_mistake_in_a_filter_is_shown_where_it_is(tmp_path: Path) -> None:
    async with bench(tmp_path, crowded(connections=40)) as desk:
        await desk.press("2", "slash", *"cart")
        await desk.second()
        assert _asked_for(desk)["filter"] == "cart"
        await desk.press("space", *"lis:x")
        await desk.second()
        assert desk.lines[3].startswith(" filter: cart lis:x")
        place = desk.lines[3].index("lis:x")
        assert desk.lines[4][place:].startswith('^ there is no field "lis"')
        assert _asked_for(desk)["filter"] == "cart lis"  # the last good one stays in force
        await desk.press(*(["backspace"] * 5), *"id:*cart")
        await desk.second()
        assert "^" not in desk.lines[4]
        assert _asked_for(desk)["filter"] == "cart id:*cart"
        await desk.press(*" idle:60s")
        await desk.press("escape")
        await desk.second()
        assert _asked_for(desk)["filter"] == ""
        assert "^" not in desk.lines[3]


async def test_a_click_on_a_header_sorts(tmp_path: Path) -> None:
    async with bench(tmp_path, degraded()) as desk:
        for tab, label, field in (("2", "IDENTITY", Sort.IDENTITY), ("4", "TIMES", ListSort.COUNT)):
            await desk.press(tab)
            await desk.second()
            header = desk.lines[3]
            told = []
            for _ in range(2):
                await desk.pilot.click(desk.app.main.rows, offset=(header.index(label) + 1, 0))
                await desk.second()
                assert desk.app.main.state.sort is field
                told.append(desk.app.main.state.descending)
            assert told in ([True, False], [False, True])
            assert f"{label}{'↓' if desk.app.main.state.descending else '↑'}" in desk.lines[3]


async def test_refusals_by_party_down_to_one_of_them(tmp_path: Path) -> None:
    async with bench(tmp_path, degraded()) as desk:
        await desk.press("4")
        await desk.second()
        assert desk.lines[3].split()[:3] == ["LAST↑", "TIMES", "WHO"]
        assert desk.app.main.rows.sheet.count < 40
        await desk.press("C", "enter")
        await desk.second()
        assert "how often        " in desk.text
        assert "The newest" in desk.text
        await desk.press("down", "enter")
        await desk.second()
        assert "answered" not in desk.text
        assert "Refusals > refusal" in desk.text
        assert "reason           not_allowed" in desk.text
        await desk.press("escape")
        await desk.second()
        assert "The newest" in desk.text
        await desk.press("escape", "b")
        await desk.second()
        assert desk.app.main.rows.sheet.count == 40


async def test_connections_by_groups_and_into_one(tmp_path: Path) -> None:
    async with bench(tmp_path, crowded(connections=400)) as desk:
        await desk.press("2", "b")
        await desk.second()
        assert (_asked_for(desk)["group"], _asked_for(desk)["sort"]) == ("identity", "connections")
        assert desk.lines[3].startswith("WHAT spif")  # what they all begin with
        assert {"OPEN↓", "REQ/S"} < set(desk.lines[3].split())
        page = desk.app.view.shown.connections
        assert page is not None
        assert f"by identity: {page.groups_matched} of 400 connections" in desk.lines[-1]
        await desk.press("Q")
        await desk.second()
        assert _asked_for(desk)["sort"] == "requests_per_s"
        await desk.press("down", "enter")
        await desk.second()
        group = page.groups[1]
        assert "group" not in _asked_for(desk)
        assert _asked_for(desk)["filter"] == group.filter
        assert f"filter: {group.filter}"[:40] in desk.lines[3]
        await desk.press("escape")
        await desk.second()
        assert _asked_for(desk)["group"] == "identity"
        assert _asked_for(desk)["sort"] == "requests_per_s"
        for by in ("namespace", "listener", "generation", "tls", "peer"):
            await desk.press("b")
            await desk.second()
            assert _asked_for(desk)["group"] == by
        await desk.press("b")
        await desk.second()
        assert "group" not in _asked_for(desk)
        assert desk.app.main.state.sort is Sort.OPENED


async def test_kinds_of_events_are_switched_on_and_off(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        desk.happened()
        await desk.press("5")
        await desk.second()
        kinds = {event.kind for event in desk.app.view.shown.events}
        assert {"opened", "refusal"} <= kinds
        assert " opened " not in desk.text.partition("WHAT")[2]
        assert "without closed, opened, following" in desk.lines[-1]
        await desk.press("e", *(["down"] * EVENT_KINDS.index("opened")), "enter")
        assert "[x] opened" in desk.text
        await desk.press(*(["up"] * (EVENT_KINDS.index("opened") - EVENT_KINDS.index("refusal"))), "enter", "escape")
        await desk.second()
        assert desk.app.main.state.hidden == {"closed", "refusal"}
        assert " opened " in desk.text
        assert " refusal " not in desk.text.partition("WHAT")[2].rpartition("without")[0]


async def test_only_lines_that_changed_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("6")
        assert "Listener web" in desk.text
        await desk.second()
        drawn: list[tuple[object, ...]] = []
        rows = desk.app.main.rows
        monkeypatch.setattr(rows, "refresh", lambda *regions, **_: drawn.append(regions))
        rows.show(rows.sheet)
        assert drawn == []
        await desk.press("2")
        await desk.second()
        rows = desk.app.main.rows
        monkeypatch.setattr(rows, "refresh", lambda *regions, **_: drawn.append(regions))
        desk.sidecar.world.connections[3]["bytes_out"] += 5_000_000
        desk.app.main.repaint()
        drawn.clear()
        page = desk.app.view.shown.connections
        assert page is not None
        await desk.app.tick()
        assert drawn
        assert all(region.height == 1 for regions in drawn for region in regions)  # type: ignore[attr-defined]


async def test_a_lost_socket_grows_older(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.sidecar.stop()
        await desk.second(7)
        (line,) = [line for line in desk.lines if "the admin socket does not answer" in line]
        assert " 7s" in line
        await desk.press("enter")
        assert "7s ago" in desk.text


async def test_failures_have_a_tab(tmp_path: Path) -> None:
    world = degraded()
    async with bench(tmp_path, world, size=(120, 30)) as desk:
        await desk.press("8")
        await desk.second()
        assert "upstream_refused" in desk.text
        assert "failures since start" in desk.lines[-1]
        await desk.press("slash", *"count:>1000000", "enter")
        await desk.second()
        assert "no failure matches the filter" in desk.text
        await desk.press("escape", "enter")
        await desk.second()
        assert "nobody's fault who asked" in desk.text
        assert "its last error" in desk.text
        await desk.press("escape")
    async with bench(tmp_path, empty()) as desk:
        await desk.press("8")
        await desk.second()
        assert "nothing failed since the start" in desk.text


async def test_escape_leaves_the_filter_while_typing(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("3", "slash", *"root")
        assert "none matches the filter" not in desk.text.partition("Trusted CAs")[2]
        assert "1 Overview" in desk.lines[2]  # digits and letters went into the filter, not to the tabs
        await desk.press("escape")
        assert desk.app.main.rows.has_focus
        assert "CN=Prod Issuing CA" in desk.text
        await desk.press("1", "slash")
        assert desk.app.main.rows.has_focus  # the overview has nothing to filter


async def test_only_a_window_of_ten_thousand_is_asked_for(tmp_path: Path) -> None:
    async with bench(tmp_path, crowded()) as desk:
        await desk.press("2")
        await desk.second()
        page = desk.app.view.shown.connections
        assert page is not None
        assert page.matched == 10_000
        assert len(page.connections) <= 60
        await desk.press("G")
        assert "…" in desk.text  # not loaded yet
        await desk.second()
        assert desk.app.view.shown.connections is not None
        assert desk.app.view.shown.connections.offset > 9_900
        last = desk.app.main.rows.sheet.line(9_999)
        assert last is not None
        assert last.target == desk.app.main.rows.selected
        await desk.press("g")
        await desk.second()
        assert desk.app.view.shown.connections.offset == 0


async def test_wide_scrolls_sideways(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("2")
        await desk.second()
        assert "RULE" not in desk.text
        await desk.press("w", *(["right"] * 30))
        assert "RULE" in desk.text
        before = desk.app.main.rows.scroll_offset.x
        await desk.press("left")
        assert desk.app.main.rows.scroll_offset.x == before - 8
        await desk.press("w")
        assert "RULE" not in desk.text
        assert desk.app.main.rows.scroll_offset.x == 0


async def test_pause_holds_the_view_while_the_sidecar_goes_on(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        before = desk.lines[2:-1]
        await desk.press("p")
        desk.sidecar.world.refuse(7)
        await desk.second(5)
        assert "PAUSED 5 updates held" in desk.lines[0]
        assert desk.lines[2:-1] == before
        await desk.press("2")
        assert "paused" in desk.text
        await desk.press("1", "p")
        await desk.second()
        assert "PAUSED" not in desk.lines[0]
        assert desk.lines[2:-1] != before
        assert "10 since start" in desk.text


async def test_a_row_can_be_opened_while_paused(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("2")
        await desk.second()
        await desk.press("p", "down", "enter")
        assert "10.0.0.2:40002" in desk.text


async def test_loss_is_shown_and_recovered_from_with_one_toast(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        countdown = desk.lines[1]
        await desk.sidecar.stop()
        await desk.second(7)
        assert "ADMIN: RETRY 7/∞ STALE 7s" in desk.lines[0]
        assert desk.lines[1] == countdown  # a countdown that goes on would look alive
        assert "the admin socket does not answer" in desk.text
        assert desk.app.main.rows._stale
        await desk.sidecar.start()
        await desk.second()
        assert "ADMIN: connected" in desk.lines[0]
        assert desk.toasts == ["connected again"]
        await desk.second()
        assert desk.toasts == ["connected again"]


async def test_a_silent_sidecar_is_stale(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        desk.clock.move(8)
        desk.app.repaint()
        await desk.pilot.pause()
        assert "ADMIN: STALE 8s" in desk.lines[0]


async def test_before_the_first_answer(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        desk.app.monitor.model.status = None
        await desk.sidecar.stop()
        await desk.second()
        assert "Not connected" in desk.text
        assert "attempt 1 failed, the next one is in 1s" in desk.text


async def test_a_restart_and_a_new_generation_are_told(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        desk.sidecar.world.status["generation"] = 4
        await desk.second()
        assert desk.toasts == ["generation 4 is in use"]
        desk.sidecar.world.status |= {"pid": 4712, "generation": 1}
        await desk.second()
        assert desk.toasts[1:] == ["the sidecar was restarted"]


async def _desk_with_a_connection(desk: Bench) -> None:
    await desk.press("2")
    await desk.second()


async def test_an_action_is_asked_confirmed_and_told(tmp_path: Path) -> None:
    """What each of them sends, and how it may end, is in test_action_menu.py."""
    async with bench(tmp_path, healthy(), size=(120, 40)) as desk:
        await _desk_with_a_connection(desk)
        await desk.press("a", "down", "down", "down", "enter")
        assert "No, leave it" in desk.text
        assert desk.sidecar.changes == []
        await desk.press("down", "enter")
        await desk.eventually(lambda: len(desk.toasts) >= 2)
        assert desk.sidecar.changes == [("DELETE", "/v1/connections/1", None)]
        assert desk.toasts[1] == "connection 1 closed"
        await desk.second()
        await desk.press("a")
        await _choose(desk, "Deny")
        assert "10 minutes" in desk.text
        await desk.press("down", "enter")
        await desk.eventually(lambda: "No, leave it" in desk.text)
        assert "connections cut now" in desk.text
        await desk.press("y")
        await desk.eventually(lambda: len(desk.toasts) >= 4)
        assert desk.sidecar.changes[1][:2] == ("POST", "/v1/denials")
        assert desk.toasts[3].startswith("kept out; ")


async def test_a_refused_action_says_why(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy(), toasts=True) as desk:
        desk.sidecar.refuses = "the key does not belong to the certificate \x1b[2J"
        generation = desk.app.view.shown.status.generation if desk.app.view.shown.status else None
        await desk.press("a", "enter", "y")
        await desk.eventually(lambda: len(desk.toasts) >= 2)
        await desk.settle()
        assert "refused: the key does not" in desk.text
        assert desk.sidecar.changes == [("POST", "/v1/reload", None)]
        await desk.second()
        assert desk.app.view.shown.status is not None
        assert desk.app.view.shown.status.generation == generation
        assert desk.app.screen is desk.app.main


async def test_toasts_do_not_hide_what_is_being_confirmed(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy(), toasts=True) as desk:
        for _ in range(6):
            await desk.press("y")
        await _desk_with_a_connection(desk)
        await desk.press("a", "down", "down", "down", "enter")
        for words in ("Close connection 1", "No, leave it", "Yes, close it", "y yes   n no   esc leave"):
            assert words in desk.text
        assert desk.text.count("copied status as JSON") == 1


async def test_no_is_under_the_cursor_and_every_way_out_changes_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        for way_out in ("enter", "escape", "n", "q"):
            await desk.press("a", "down", "down", "enter")
            assert "stops accepting" in desk.text
            await desk.press(way_out)
            assert desk.app.screen is desk.app.main
            assert desk.sidecar.changes == []
        await desk.press("a", "escape")
        assert desk.app.screen is desk.app.main


async def test_the_connection_in_detail_can_be_closed(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await _desk_with_a_connection(desk)
        await desk.press("down", "enter")
        await desk.second()
        await desk.press("a", "down", "down", "down", "enter", "y")
        await desk.eventually(lambda: bool(desk.sidecar.changes))
        assert desk.sidecar.changes == [("DELETE", "/v1/connections/2", None)]
        await desk.second()
        assert "this connection has closed" in desk.text


async def _choose(desk: Bench, words: str) -> None:
    """Go to the entry of the menu that begins with these words, and take it."""
    menu = desk.app.screen
    assert isinstance(menu, Menu)
    place = next(at for at, entry in enumerate(menu._entries) if entry.label.startswith(words))
    await desk.press(*["down"] * place, "enter")


async def test_a_refusal_explains_itself_and_its_line_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    async with bench(tmp_path, degraded(), size=(120, 80)) as desk:
        monkeypatch.setattr(desk.app, "copy_to_clipboard", copied.append)
        await desk.press("4", "b")
        await desk.second()
        assert desk.app.view.shown.refusals is not None
        named = next(at for at, each in enumerate(desk.app.view.shown.refusals.refusals) if each.identity)
        await desk.press(*["down"] * named, "enter")
        await desk.second()
        for words in ("another trust domain: old.example", "Would let in exactly this peer", "Certificate shown"):
            assert words in desk.text
        assert "copy the line" in desk.lines[-1]
        await desk.press("c")
        (line,) = copied
        rule = tomllib.loads(line)["allow"][-1]
        assert rule.removeprefix("dns:") == desk.app.view.shown.refusals.refusals[named].identity
        # Without a certificate there is no line, and the key does nothing.
        nameless = next(at for at, each in enumerate(desk.app.view.shown.refusals.refusals) if not each.identity)
        await desk.press("escape", "home", *["down"] * nameless, "enter")
        await desk.second()
        assert "no certificate was shown that could be read" in desk.text
        await desk.press("c")
        assert copied == [line]


async def test_read_only_has_no_actions_anywhere(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy(), read_only=True) as desk:
        assert "read-only" in desk.lines[0]
        assert "actions" not in desk.lines[-1]
        await desk.press("a")
        assert desk.app.screen is desk.app.main
        assert "Actions" not in [command.title for command in desk.app.get_system_commands(desk.app.screen)]
        assert desk.app.monitor.client.read_only


async def test_copy_and_save_take_the_json_of_what_is_selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with bench(tmp_path, degraded()) as desk:
        desk.happened()
        for number, (view, name) in enumerate(_EXPORTS.items(), 1):
            await desk.press(str(number))
            await desk.second()
            await desk.press("y")
            assert json.loads(desk.app.clipboard), view
            if name is not None:
                await desk.press("Y")
                assert len(list(tmp_path.glob(f"tlsidecar-{name}-*.json"))) == 1
                await desk.press("enter", "y", "escape")
        assert any(toast.startswith("saved ") for toast in desk.toasts)
        await desk.press("Y", "Y")
        assert any(toast.startswith(f"not saved: {tmp_path}/tlsidecar-") for toast in desk.toasts)


_EXPORTS = {
    OVERVIEW: None,
    CONNECTIONS: "connection-1",
    CERTIFICATES: "certificates",
    REFUSALS: "refusals",
    EVENTS: "event-6",
    CONFIG: None,
}


async def test_events_are_followed_until_the_reader_scrolls_up(tmp_path: Path) -> None:
    world = healthy()
    for number in range(60):
        world.happen("upstream", id=1000 + number, at=stamp(NOW + timedelta(seconds=number)))
    async with bench(tmp_path, world) as desk:
        desk.happened()
        await desk.press("5")
        await desk.second()
        rows = desk.app.main.rows
        assert "following" in desk.lines[-1]
        assert "id=1059" in desk.lines[-2]
        _event(desk, 1060)
        await desk.second()
        assert "id=1060" in desk.lines[-2]
        await desk.press("pageup")
        assert "not following (f)" in desk.lines[-1]
        shown, selected = _without_scroll_bar(desk), rows.selected
        for number in range(1061, 1071):
            _event(desk, number)
        await desk.second()
        assert _without_scroll_bar(desk) == shown
        assert rows.selected == selected
        await desk.press("f")
        assert "id=1070" in desk.lines[-2]
        assert "not following" not in desk.lines[-1]
        await desk.press("f", "g")
        assert "not following" in desk.lines[-1]
        await desk.press("G")  # down at the end it is followed again
        assert "not following" not in desk.lines[-1]
        _event(desk, 1071)
        await desk.second()
        assert "id=1071" in desk.lines[-2]
        await desk.press("1", "5")  # and so it is after a look at something else
        assert "not following" not in desk.lines[-1]


def _event(desk: Bench, number: int) -> None:
    """One more, handed over as the subscription would."""
    desk.sidecar.world.happen("upstream", id=number, at=stamp(NOW + timedelta(seconds=number)))
    kind, fields = desk.sidecar.world.events[-1]
    desk.app.monitor.model.take_event(event_of(kind, fields))


def _without_scroll_bar(desk: Bench) -> list[str]:
    return [text[:-1] for text in desk.lines[4:-1]]


async def test_a_wheel_turned_up_leaves_following(tmp_path: Path) -> None:
    world = healthy()
    for number in range(60):
        world.happen("upstream", id=1000 + number, at=stamp(NOW + timedelta(seconds=number)))
    async with bench(tmp_path, world) as desk:
        desk.happened()
        await desk.press("5")
        await desk.second()
        rows = desk.app.main.rows
        rows.scroll_relative(y=-6, animate=False)
        await desk.settle()
        shown = _without_scroll_bar(desk)
        assert "id=1059" not in desk.text
        assert "not following (f)" in desk.lines[-1]
        _event(desk, 1060)
        await desk.second()
        assert _without_scroll_bar(desk) == shown


async def test_the_key_bar_can_be_clicked(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await _click_key(desk, "p pause")
        assert desk.app.view.is_paused
        await _click_key(desk, "p resume")
        assert not desk.app.view.is_paused
        await _click_key(desk, "? help")
        assert "Move" in desk.text
        await desk.press("escape")
        await _click_key(desk, "a actions")
        assert "Reload certificates" in desk.text
        await desk.press("escape", "2")
        await desk.second()
        await _click_key(desk, "/ filter")
        assert "filter:" in desk.lines[3]
        await desk.press("escape")
        await _click_key(desk, "s sort")
        assert desk.app.main.interest.connections.sort is Sort.IDLE
        await _click_key(desk, "enter open")
        assert isinstance(desk.app.screen, DetailScreen)
        await _click_key(desk, "esc back")
        assert desk.app.screen is desk.app.main
        await _click_key(desk, "connections")  # a note is no key
        await desk.press("1")
        await _click_key(desk, "^q quit")
        assert desk.app.return_code == 0


async def _click_key(desk: Bench, words: str) -> None:
    await desk.pilot.click("#keys", offset=(desk.lines[-1].index(words) + 1, 0))
    await desk.settle()


async def test_help_and_palette(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("question_mark")
        assert "shift and a letter" in desk.text or "Move" in desk.text
        await desk.press("end", "pagedown", "pageup", "home", "escape")
        for key in ("colon", "ctrl+p"):
            await desk.press(key)
            assert desk.app.screen is not desk.app.main
            await desk.press("escape")
            await desk.eventually(lambda: desk.app.screen is desk.app.main)
        titles = [command.title for command in desk.app.get_system_commands(desk.app.screen)]
        assert [tab.name for tab in TABS] == titles[: len(TABS)]
        for command in desk.app.get_system_commands(desk.app.screen):
            if command.title == CONFIG.name:
                command.callback()
        assert desk.app.tab is CONFIG


async def test_refresh_wakes_the_watch(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("r")
        assert desk.app.monitor._wake.is_set()


def degraded_elsewhere() -> World:
    world = degraded()
    world.status["node"] = "db-7"
    return world


@pytest.mark.parametrize("keys", [["ctrl+q"], ["q"], ["2", "enter", "ctrl+q"], ["2", "enter", "q", "a", "q", "q"]])
async def test_quit(tmp_path: Path, keys: list[str]) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("2")
        await desk.second()
        await desk.press(*keys[:-1])
        assert desk.app.return_code is None
        await desk.press(keys[-1])
        assert desk.app.return_code == 0


async def test_it_runs_by_itself(tmp_path: Path) -> None:
    """With the timers on: polls, repaints, follows events, loses the socket, comes back; also in the background."""
    worlds = (healthy(), degraded_elsewhere())
    async with bench(tmp_path, *worlds, automatic=True) as desk:
        await desk.eventually(lambda: "1 critical  1 ok" in desk.lines[0])
        await desk.press("N", "enter")
        await desk.eventually(lambda: "ADMIN: connected" in desk.lines[0])
        await desk.press("5")
        await desk.eventually(lambda: "file_change" in desk.text)
        desk.sidecar.happen("drain", outcome="drained")
        await desk.eventually(lambda: "outcome=drained" in desk.text)
        await desk.press("2", "slash", *"cart")
        await desk.eventually(lambda: "3 of 12 connections" in desk.lines[-1])
        assert not desk.app.follows_events
        await desk.press("escape")
        await desk.sidecar.stop()
        desk.app.refresh_now()
        await desk.eventually(lambda: "RETRY" in desk.lines[0])
        await desk.sidecar.start()
        desk.app.refresh_now()
        await desk.eventually(lambda: "ADMIN: connected" in desk.lines[0])
        assert "connected again" in desk.toasts
        assert {target for _, target in desk.sidecars[1].requests} == {"/v1/status"}


async def test_a_defect_in_a_worker_is_told_and_the_watch_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.watch._RESTART_S", 0.01)
    async with bench(tmp_path, healthy(), automatic=True) as desk:
        await desk.eventually(lambda: "ADMIN: connected" in desk.lines[0])
        poll = type(desk.app.monitor).poll
        failures = 0

        async def fails_once(monitor: object, interest: object) -> float:
            nonlocal failures
            failures += 1
            if failures == 1:
                raise ZeroDivisionError("\x1b[2J")
            return await poll(monitor, interest)  # type: ignore[arg-type]

        monkeypatch.setattr(type(desk.app.monitor), "poll", fails_once)
        desk.app.refresh_now()
        await desk.eventually(lambda: failures >= 2)
        assert any(r"ZeroDivisionError('\\x1b[2J')" in toast or "ZeroDivisionError" in toast for toast in desk.toasts)


async def test_no_size_breaks_it(tmp_path: Path) -> None:
    """One window, made smaller and larger; at the end it looks as it did at first. What each view has at each width is
    in test_pages.py and test_screens.py, for all worlds."""
    async with bench(tmp_path, degraded()) as desk:
        at_first = desk.lines
        for columns, rows in ((120, 40), (20, 5), (40, 10), (250, 70), (80, 24)):
            await desk.pilot.resize_terminal(columns, rows)
            for key in "23456781":
                await desk.press(key)
                await desk.app.tick()
                await desk.settle()
                assert len(desk.lines) == rows
            assert desk.app.screen.has_class("-broad" if columns >= 120 else "-narrow")
        assert desk.lines == at_first


async def test_control_c_says_how_to_quit_and_does_not(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("ctrl+c")
        await desk.eventually(lambda: any("quit" in toast.lower() for toast in desk.toasts))
        assert desk.app.return_code is None


async def test_no_screen_has_a_colour_where_none_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with bench(tmp_path, degraded(), size=(120, 40)) as console:
        for tab in "12345678":
            await console.press(tab)
            strips = console.app.screen._compositor.render_strips(console.app.size)
            colours = {
                colour.get_truecolor()
                for segment in chain.from_iterable(strips)
                if segment.style is not None
                for colour in (segment.style.color, segment.style.bgcolor)
                if colour is not None
            }
            assert all(red == green == blue for red, green, blue in colours), tab
            assert len(colours) > 2, "greys are left, to tell what is chosen"
