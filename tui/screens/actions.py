"""The action menu: what is offered, what is asked before, and who carries it out."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Protocol

from tlsidecar.api.decode import integer
from tlsidecar.api.errors import AdminError
from tui import peers
from tui.actions import LOG_LEVELS, Action, ActionResult, Verb, actions, failure, log_level_action, outcome
from tui.amounts import grouped, utc
from tui.monitor import Monitor
from tui.peers import Peer
from tui.records import Connection, Denial, Denials, Severity, decoded
from tui.screens.choice import Entry, Menu, Question, Window
from tui.tabs import CONNECTIONS
from tui.tabs.tab import Tab
from tui.text import SafeText, shorten_middle
from tui.view import View

_ENTRY_WIDTH = 40
"""Of a peer's name in a menu."""


class Console(Protocol):
    """What the menu needs of the application; :class:`tui.app.Console` is it."""

    view: View

    @property
    def monitor(self) -> Monitor: ...

    @property
    def tab(self) -> Tab: ...

    async def push_screen_wait(self, screen: Window) -> str | None: ...

    def run_worker(self, work: Coroutine[Any, Any, Any], *, group: str, exit_on_error: bool) -> object: ...

    def tell(self, words: SafeText, severity: Severity | None = None) -> None: ...

    def changed_by_us(self) -> None: ...


class ActionMenu:
    """Changes to the sidecar shown, by way of a menu and a question."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def choose(self, connection: Connection | None, peer: Peer | None) -> None:
        """Ask what is to be done, ask whether it really is, and see to it."""
        offered = {action.key: action for action in actions(self._console.view.shown, connection)}
        entries = [Entry(verb, action.title) for verb, action in offered.items()]
        entries.append(Entry("log-level", SafeText("Log level")))
        entries += [Entry(name, words) for name, words in self._about_peers(peer)]
        chosen = await self._console.push_screen_wait(
            Menu(SafeText(f"Actions on {self._console.view.shown.name}"), entries)
        )
        if chosen is None:
            return
        try:
            action = offered.get(chosen) or await self._made(chosen, peer)
        except AdminError as error:
            self._console.tell(SafeText(f"{chosen}: {error.message}"), Severity.CRITICAL)
        else:
            if action is not None:
                await self._confirm(action)

    def _about_peers(self, peer: Peer | None) -> Iterator[tuple[str, SafeText]]:
        """What there is to be done about whoever is under the cursor, and about many."""
        page = self._console.view.shown.connections
        if (
            self._console.tab is CONNECTIONS
            and self._console.monitor.tab(CONNECTIONS).filter
            and page is not None
            and page.matched
        ):
            yield "close-matching", SafeText(f"Close all {grouped(page.matched)} that match the filter")
        if peer is not None:
            yield "close-identity", SafeText(f"Close all of {peer.short(_ENTRY_WIDTH)}")
            yield Verb.DENY.value, SafeText(f"Deny {peer.short(_ENTRY_WIDTH)} for a time")
        status = self._console.view.shown.status
        if status is not None and status.state == "draining":
            yield Verb.UNDRAIN.value, SafeText("Undrain")
        if any(problem.code == "identity_denied" for problem in self._console.view.found):
            yield Verb.UNDENY.value, SafeText("Undeny")
        if peers.older_connections(self._console.view.shown):
            yield Verb.DRAIN_OLDER.value, SafeText("Drain older generations")

    async def _made(self, chosen: str, peer: Peer | None) -> Action | None:
        """The action, once the sidecar has been asked how many it touches; None when the reader has thought better of
        it. Raises AdminError."""
        read = self._console.monitor.client.read
        match chosen:
            case "log-level":
                return await self._log_level_action()
            case Verb.UNDRAIN.value:
                return peers.undrain(self._console.view.shown)
            case Verb.DRAIN_OLDER.value:
                return peers.drain_older(self._console.view.shown)
            case Verb.UNDENY.value:
                return await self._undeny_action(decoded(Denials, await read("/v1/denials")).denials)
            case "close-matching":
                wanted = self._console.monitor.tab(CONNECTIONS).filter
                found = await read("/v1/connections", filter=wanted, limit=1)
                return peers.close_matching(wanted, integer(found.get("matched")))
        if peer is None:
            return None
        number = integer((await read("/v1/connections", identity=peer.name, limit=1)).get("matched"))
        if chosen == "close-identity":
            return peers.close_identity(peer, number)
        entries = [Entry(length, SafeText(length)) for length in peers.lengths()]
        length = await self._console.push_screen_wait(Menu(SafeText(f"Deny {peer.short(_ENTRY_WIDTH)} for"), entries))
        return None if length is None else peers.deny(peer, length, number)

    async def _undeny_action(self, denials: Sequence[Denial]) -> Action | None:
        entries = [
            Entry(str(each.id), shorten_middle(each.identity, _ENTRY_WIDTH), note=SafeText(f"until {utc(each.until)}"))
            for each in denials
        ]
        chosen = await self._console.push_screen_wait(Menu(SafeText("Undeny"), entries))
        return next((peers.undeny(each) for each in denials if str(each.id) == chosen), None)

    async def _log_level_action(self) -> Action | None:
        entries = [Entry(level, SafeText(level)) for level in LOG_LEVELS]
        level = await self._console.push_screen_wait(Menu(SafeText("Log level"), entries))
        return None if level is None else log_level_action(self._console.view.shown, level)

    async def _confirm(self, action: Action) -> None:
        question = Question(action.title, action.consequence, action.confirm)
        if await self._console.push_screen_wait(question) == "yes":
            self._console.run_worker(
                self._carry_out(action, self._console.monitor), group="changes", exit_on_error=False
            )

    async def _carry_out(self, action: Action, monitor: Monitor) -> ActionResult:
        self._console.tell(SafeText(f"{action.title}: asked"))
        try:
            reply = await monitor.client.change(action.method, action.path, action.body, timeout_s=action.timeout_s)
            told = outcome(action, reply)
        except AdminError as error:
            told = failure(action, error)
        else:
            if monitor is self._console.monitor:
                self._console.changed_by_us()
        self._console.tell(told.words, told.severity)
        monitor.wake()
        return told
