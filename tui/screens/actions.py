"""The action menu: what is offered, what is asked before, and who carries it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from tlsidecar.api.decode import integer
from tlsidecar.api.errors import AdminError
from tui import peers
from tui.actions import LOG_LEVELS, Action, ActionResult, Verb, actions, drain, failure, log_level_action, outcome
from tui.amounts import grouped, utc
from tui.model import Snapshot
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

Maker: TypeAlias = Callable[[], Awaitable[Action]]
"""An action as things are when it is called. Raises AdminError."""


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
        monitor, shown = self._console.monitor, self._console.view.shown
        offered = {action.key: action for action in actions(shown, connection)}
        entries = [Entry(key, action.title) for key, action in offered.items()]
        entries.append(Entry(Verb.LOG_LEVEL.value, SafeText("Log level")))
        entries += [Entry(name, words) for name, words in self._about_peers(peer)]
        chosen = await self._asked(Menu(SafeText(f"Actions on {shown.name}"), entries))
        if chosen is None:
            return
        try:
            make = await self._maker(chosen, monitor, offered, peer)
            if make is not None:
                await self._confirm(make, monitor)
        except AdminError as error:
            self._console.tell(SafeText(f"{chosen}: {error.message}"), Severity.CRITICAL)

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

    async def _maker(
        self, chosen: str, monitor: Monitor, offered: Mapping[str, Action], peer: Peer | None
    ) -> Maker | None:
        """What makes the action, before the question and once more after it; None when the reader has thought better
        of it. Raises AdminError."""
        match chosen:
            case Verb.LOG_LEVEL.value:
                level = await self._picked("Log level", LOG_LEVELS)
                return None if level is None else self._of_snapshot(lambda told: log_level_action(told, level), monitor)
            case Verb.DRAIN.value:
                return self._of_snapshot(drain, monitor)
            case Verb.UNDRAIN.value:
                return self._of_snapshot(peers.undrain, monitor)
            case Verb.DRAIN_OLDER.value:
                return self._of_snapshot(peers.drain_older, monitor)
            case Verb.UNDENY.value:
                return await self._undenial(decoded(Denials, await monitor.client.read("/v1/denials")).denials)
            case "close-matching":
                wanted = monitor.tab(CONNECTIONS).filter
                return _counted(monitor, {"filter": wanted}, lambda number: peers.close_matching(wanted, number))
        if chosen == "close-identity" and peer is not None:
            return _counted(monitor, {"identity": peer.name}, lambda number: peers.close_identity(peer, number))
        if chosen == Verb.DENY.value and peer is not None:
            length = await self._picked(f"Deny {peer.short(_ENTRY_WIDTH)} for", tuple(peers.DENY_FOR))
            if length is None:
                return None
            return _counted(monitor, {"identity": peer.name}, lambda number: peers.deny(peer, length, number))
        return _as_it_is(offered[chosen])

    def _of_snapshot(self, make: Callable[[Snapshot], Action], monitor: Monitor) -> Maker:
        """Of what is known of the sidecar then, also while the view is held."""

        async def made() -> Action:
            return make(monitor.model.snapshot(self._console.view.monotonic))

        return made

    async def _undenial(self, denials: Sequence[Denial]) -> Maker | None:
        entries = [
            Entry(str(each.id), shorten_middle(each.identity, _ENTRY_WIDTH), note=SafeText(f"until {utc(each.until)}"))
            for each in denials
        ]
        chosen = await self._asked(Menu(SafeText("Undeny"), entries))
        denial = next((each for each in denials if str(each.id) == chosen), None)
        return None if denial is None else _as_it_is(peers.undeny(denial))

    async def _picked(self, title: str, words: Sequence[str]) -> str | None:
        return await self._asked(Menu(SafeText(title), [Entry(each, SafeText(each)) for each in words]))

    async def _asked(self, window: Window) -> str | None:
        return await self._console.push_screen_wait(window)

    async def _confirm(self, make: Maker, monitor: Monitor) -> None:
        """What has changed too much by the answer is asked again, with the number that it is now. Raises AdminError."""
        action = await make()
        while await self._asked(Question(action.title, action.consequence, action.confirm)) == "yes":
            asked, action = action, await make()
            if (changed := action.differs_from(asked)) is None:
                work = self._carry_out(action, monitor)
                self._console.run_worker(work, group="changes", exit_on_error=False)
                return
            self._console.tell(changed, Severity.WARNING)

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


def _as_it_is(action: Action) -> Maker:
    """Whatever becomes of the sidecar meanwhile."""

    async def made() -> Action:
        return action

    return made


def _counted(monitor: Monitor, which: Mapping[str, str], make: Callable[[int], Action]) -> Maker:
    """Of as many connections as the sidecar counts of ``which`` then."""

    async def made() -> Action:
        found = await monitor.client.read("/v1/connections", **which, limit=1)
        return make(integer(found.get("matched")))

    return made
