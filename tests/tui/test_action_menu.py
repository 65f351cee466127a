"""The action menu without a screen: what is offered and asked, what is sent to a real sidecar, and how it is told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from ui_clock import StillClock
from ui_sidecar import Sidecar
from ui_world import World, healthy

from tui.actions import Action
from tui.client import AdminClient
from tui.lines import Kind, Target
from tui.model import ConnectionQuery
from tui.monitor import Monitor
from tui.peers import Peer
from tui.plan import Interest
from tui.reach.endpoints import SocketEndpoint
from tui.records import Connection, Severity
from tui.screens.actions import ActionMenu
from tui.screens.choice import Menu, Question, Window
from tui.tabs import CERTIFICATES, CONNECTIONS
from tui.tabs.tab import Tab
from tui.text import SafeText
from tui.view import View

Serve = Callable[[World], Awaitable[Sidecar]]
Answer = str | None | Callable[[], Awaitable[str | None]]
CART = "spiffe://prod.example/ns/shop/sa/cart"


class Desk:
    """A reader who answers as was said beforehand: with the beginning of an entry's words, or by leaving."""

    tab: Tab = CONNECTIONS

    def __init__(self, sidecar: Sidecar, clock: StillClock) -> None:
        self.sidecar = sidecar
        self.monitor = Monitor(AdminClient(SocketEndpoint(sidecar.socket)), clock, random.Random(1))
        self.view = View(clock, self.monitor.model.snapshot(clock.monotonic()))
        self.answers: list[Answer] = []
        self.questions: list[tuple[str, str]] = []
        self.told: list[tuple[str, Severity | None]] = []
        self.changed = 0
        self._work: list[asyncio.Task[Any]] = []

    async def look(self) -> None:
        """One look at the sidecar, with its connections."""
        interest = Interest(needs=CONNECTIONS.needs | CERTIFICATES.needs, connections=ConnectionQuery())
        await self.monitor.poll(interest)
        self.view.take(self.monitor.model)

    async def choose(self, *answers: Answer, under: int | None = None) -> None:
        """Open the menu with the cursor on a connection, answer, and wait for what that leads to."""
        self.answers = list(answers)
        connection = None if under is None else self._connection(under)
        peer = None if under is None else Peer.under(self.view.shown, Target(Kind.CONNECTION, under))
        await ActionMenu(self).choose(connection, peer)
        await asyncio.gather(*self._work)
        assert self.answers == []

    def _connection(self, number: int) -> Connection:
        page = self.view.shown.connections
        assert page is not None
        return next(each for each in page.connections if each.id == number)

    # What the menu asks of the application.

    async def push_screen_wait(self, screen: Window) -> str | None:
        assert isinstance(screen, Menu)
        answer = self.answers.pop(0)
        if callable(answer):
            answer = await answer()
        if isinstance(screen, Question):
            self.questions.append((screen._title, screen._text))
            return answer
        if answer is None:
            return None
        return next(entry.name for entry in screen._entries if entry.label.startswith(answer))

    def run_worker(self, work: Coroutine[Any, Any, Any], *, group: str, exit_on_error: bool) -> None:
        assert (group, exit_on_error) == ("changes", False)
        self._work.append(asyncio.ensure_future(work))

    def tell(self, words: SafeText, severity: Severity | None = None) -> None:
        assert words.isprintable()
        self.told.append((words, severity))

    def changed_by_us(self) -> None:
        self.changed += 1


@pytest.fixture
async def desk(serve: Serve, clock: StillClock) -> Any:
    made = Desk(await serve(healthy()), clock)
    for number, each in enumerate(made.sidecar.world.connections):
        each["identity"] = CART if number % 3 == 0 else "spiffe://prod.example/ns/shop/sa/web"
    await made.look()
    yield made
    await made.monitor.client.close()


KEEP_OUT = {"identity": CART, "for_s": 3600}

CHANGES: dict[str, tuple[tuple[str, ...], tuple[str, str, Any], str]] = {
    "reload": (("Reload",), ("POST", "/v1/reload", None), "reload: applied, generation 4"),
    "rotate": (("Rotate",), ("POST", "/v1/rotate", None), "rotate: applied, generation 4"),
    "drain": (
        ("Drain",),
        ("POST", "/v1/drain", {"timeout_s": 30, "expected": 12}),
        "drain: drained, 12 connections finished",
    ),
    "close": (("Close connection",), ("DELETE", "/v1/connections/1", None), "connection 1 closed"),
    "log-level": (("Log level", "debug"), ("PUT", "/v1/log-level", {"level": "debug"}), "log level debug, before info"),
    "close-many": (("Close all of",), ("DELETE", "/v1/connections", None), "4 connections ended"),
    "deny": (("Deny", "1 hour"), ("POST", "/v1/denials", KEEP_OUT), "kept out; 4 connections cut"),
}
every_change = pytest.mark.parametrize("name", CHANGES)


@every_change
async def test_an_action_is_asked_confirmed_and_told(desk: Desk, name: str) -> None:
    chosen, change, words = CHANGES[name]

    async def yes() -> str:
        assert desk.sidecar.changes == []
        return "yes"

    await desk.choose(*chosen, yes, under=1)
    assert desk.sidecar.changes == [change]
    (asked, _), (told, severity) = desk.told
    assert asked.endswith(": asked")
    assert told.startswith(words)
    assert severity is None
    assert desk.changed == 1
    assert desk.monitor._wake.is_set()


@every_change
@pytest.mark.parametrize("answer", ["no", None])
async def test_without_a_yes_nothing_is_sent(desk: Desk, name: str, answer: str | None) -> None:
    await desk.choose(*CHANGES[name][0], answer, under=1)
    assert (desk.sidecar.changes, desk.told) == ([], [])


@every_change
async def test_a_refused_action_says_why(desk: Desk, name: str) -> None:
    chosen, change, _ = CHANGES[name]
    desk.sidecar.refuses = "the key does not belong to the certificate \x1b[2J"
    await desk.choose(*chosen, "yes", under=1)
    why = f"{name} refused: the key does not belong to the certificate \\x1b[2J"
    assert desk.told[1] == (why, Severity.CRITICAL)
    assert desk.sidecar.changes == [change]  # once, however it ended
    assert desk.changed == 0


@every_change
async def test_an_action_on_a_socket_that_is_gone(desk: Desk, name: str) -> None:
    async def yes() -> str:
        await desk.sidecar.stop()
        return "yes"

    await desk.choose(*CHANGES[name][0], yes, under=1)
    told, severity = desk.told[-1]
    assert told.partition(": ")[2].startswith("no socket at ")
    assert severity is Severity.CRITICAL
    assert desk.sidecar.changes == []


@every_change
async def test_an_action_cut_off_while_it_was_under_way(desk: Desk, name: str) -> None:
    chosen, change, _ = CHANGES[name]

    async def cut() -> None:
        while not _sent(desk, change):
            await asyncio.sleep(0)
        desk.sidecar.cut()

    desk.sidecar.hangs_on_changes = True
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(cut())
        await desk.choose(*chosen, "yes", under=1)
    told, severity = desk.told[-1]
    assert told.startswith(f"{name}: the ")
    assert "it may have been carried out" in told
    assert severity is Severity.CRITICAL
    assert _sent(desk, change) == 1, "it is not sent again"


def _sent(desk: Desk, change: tuple[str, str, Any]) -> int:
    method, path, _ = change
    return sum((sent, target.partition("?")[0]) == (method, path) for sent, target in desk.sidecar.requests)


async def test_what_has_changed_by_the_answer_is_asked_again_with_its_number(desk: Desk) -> None:
    async def more() -> str:
        for each in desk.sidecar.world.connections[:10]:
            each["identity"] = CART
        return "yes"

    await desk.choose("Close all of", more, "yes", under=1)
    assert [text.partition(" of ")[0] for _, text in desk.questions] == ["4 connections", "10 connections"]
    assert desk.told[0] == ("close-many: not done, it is 10 connections now and was 4", Severity.WARNING)
    assert desk.sidecar.requests[-1][1].endswith("&expected=10")


async def test_a_tenth_more_is_no_other_question(desk: Desk) -> None:
    desk.sidecar.world.connections = [{**each, "identity": CART} for each in desk.sidecar.world.connections[:11]]
    await desk.look()

    async def fewer() -> str:
        del desk.sidecar.world.connections[5]
        return "yes"

    await desk.choose("Close all of", fewer, under=1)
    assert len(desk.questions) == 1
    assert desk.sidecar.requests[-1][1].endswith("&expected=10"), "what there was at the answer"


async def test_somebody_with_few_connections_is_kept_out_however_they_come_and_go(desk: Desk) -> None:
    """A tenth of four is none: one who reconnects all the time could never be kept out."""

    async def gone() -> str:
        desk.sidecar.world.connections.clear()
        return "yes"

    await desk.choose("Deny", "1 hour", gone, under=1)
    assert len(desk.questions) == 1
    assert desk.sidecar.changes == [("POST", "/v1/denials", KEEP_OUT)]


async def test_somebody_with_many_connections_is_not_kept_out_unasked(desk: Desk) -> None:
    async def many() -> str:
        world = desk.sidecar.world
        world.connections += [{**world.connections[0], "id": 1000 + number} for number in range(30)]
        return "yes"

    await desk.choose("Deny", "1 day", many, "yes", under=1)
    assert ["34 connections" in text for _, text in desk.questions] == [False, True]
    assert desk.sidecar.changes == [("POST", "/v1/denials", {"identity": CART, "for_s": 86400, "expected": 34})]


async def test_a_drain_is_of_what_is_open_now_also_where_the_view_is_held(desk: Desk) -> None:
    desk.view.held_from = desk.monitor.model.updates
    desk.sidecar.world.status["totals"]["connections_active"] = 99
    await desk.look()
    await desk.choose("Drain", "yes")
    assert "99 connections" in desk.questions[0][1]
    assert desk.sidecar.changes[0][2]["expected"] == 99


async def test_what_is_offered_depends_on_what_is_so(desk: Desk) -> None:
    offered: list[list[str]] = []

    async def leave(screen: Window) -> None:
        assert isinstance(screen, Menu)
        offered.append([entry.name for entry in screen._entries])

    desk.push_screen_wait = leave  # type: ignore[assignment]
    always = ["reload", "rotate", "drain", "log-level", "drain-older"]  # one connection is of an older generation
    await desk.choose()
    world = desk.sidecar.world
    world.status["state"] = "draining"
    world.status["problems"] = [
        {"severity": "warning", "code": "identity_denied", "message": "kept out", "since": None, "subject": "shop"}
    ]
    desk.monitor.tab(CONNECTIONS).filter = "cart"
    world.certificates["connections_by_generation"] = {"3": 12}
    desk.monitor.model.certificates_key = None
    await desk.look()
    await desk.choose(under=1)
    desk.tab = CERTIFICATES
    await desk.choose()
    named = ["close-matching", "close-identity", "deny"]
    assert offered == [
        always,
        ["reload", "rotate", "drain", "close", "log-level", *named, "undrain", "undeny"],
        ["reload", "rotate", "drain", "log-level", "undrain", "undeny"],
    ]


async def test_all_that_match_the_filter_are_closed(desk: Desk) -> None:
    desk.monitor.tab(CONNECTIONS).filter = "web"
    await desk.choose("Close all 12 that match the filter", "yes")
    matched = desk.questions[0][1].partition(" ")[0]
    assert desk.sidecar.requests[-1] == ("DELETE", f"/v1/connections?filter=web&expected={matched}")


async def test_a_denial_is_undone(desk: Desk) -> None:
    desk.sidecar.denials = [{"id": 7, "identity": "shop\x1b[2J", "since": None, "until": None, "by": "uid 0"}]
    desk.sidecar.world.status["problems"] = [
        {"severity": "warning", "code": "identity_denied", "message": "kept out", "since": None, "subject": "shop"}
    ]
    await desk.look()
    await desk.choose("Undeny", None)
    assert desk.questions == []
    await desk.choose("Undeny", "shop\\x1b[2J", "yes")
    assert desk.sidecar.changes == [("DELETE", "/v1/denials/7", None)]
    assert desk.told[-1] == ("judged by the access rules again", None)


async def test_a_drain_is_taken_back(desk: Desk) -> None:
    desk.sidecar.world.status["state"] = "draining"
    await desk.look()
    await desk.choose("Undrain", "yes")
    assert "listens on its addresses again" in desk.questions[0][1]
    assert desk.sidecar.changes == [("POST", "/v1/undrain", None)]


async def test_older_generations_are_drained(desk: Desk) -> None:
    await desk.choose("Drain older generations", "yes")
    assert desk.questions[0][1].startswith("1 connection accepted under")
    assert desk.sidecar.changes == [("POST", "/v1/drain-generations", {"expected": 1, "timeout_s": 30})]


async def test_what_cannot_be_counted_is_not_asked(desk: Desk) -> None:
    await desk.sidecar.stop()
    await desk.choose("Close all of", under=1)
    ((told, severity),) = desk.told
    assert told.startswith("close-identity: no socket at ")
    assert severity is Severity.CRITICAL
    assert desk.questions == []


def test_an_action_that_tells_no_number_never_differs() -> None:
    action = Action(*(SafeText("x"),) * 4, "POST", "/")  # type: ignore[arg-type]
    assert action.differs_from(action) is None
