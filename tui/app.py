"""The interactive console: it owns the monitors, decides what is shown (now, or the moment of the pause), and carries
out actions. The screens draw."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from tui import toasts
from tui.changes import Changes
from tui.clock import SYSTEM_CLOCK, Clock
from tui.drawing import Drawing
from tui.farewell import leave_on_signals
from tui.fleet import Fleet
from tui.lines import ASCII_GLYPHS, UNICODE_GLYPHS, Glyphs, Kind, Target
from tui.monitor import Monitor
from tui.options import Options
from tui.pace import REPAINT_INTERVAL_S
from tui.pages.chrome import Banner
from tui.palette import system_commands
from tui.plan import Ask, Interest
from tui.recorder import Recorder
from tui.records import Severity
from tui.replay.player import Player
from tui.roster import Roster
from tui.screens.actions import ActionMenu
from tui.screens.base import ConsoleScreen
from tui.screens.detail import DetailScreen
from tui.screens.fleet import FleetScreen
from tui.screens.help import Help
from tui.screens.main import MainScreen
from tui.screens.replay import ReplayKeys
from tui.screens.stack import Stack
from tui.tabs import TABS
from tui.tabs.tab import Tab
from tui.text import EMPTY, SafeText, safe_text
from tui.view import View
from tui.watch import Watch


class Console(App[int]):
    """The console on one or more sidecars."""

    TITLE = "tlsidecar"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-broad")]  # noqa: RUF012 - the toolkit declares it so
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit", show=False, priority=True)]
    CSS = toasts.CSS

    def __init__(self, options: Options, clock: Clock = SYSTEM_CLOCK, randomness: random.Random | None = None) -> None:
        super().__init__()
        self.options = options
        self.clock = clock
        randomness = randomness or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self.roster = Roster(options.sources, options.read_only, clock, randomness)
        self.fleet = Fleet(self.roster, clock)
        self._stack = Stack(self)
        self._watch = Watch(self, self.interest, self._told)
        self.player = None if options.playback is None else Player(options.playback)
        self._recorder: Recorder | None = None
        if options.record is not None:
            self._recorder = Recorder(options.record, self.roster, clock, lambda why: self.tell(why, Severity.CRITICAL))
        self.glyphs: Glyphs = ASCII_GLYPHS if options.ascii_art else UNICODE_GLYPHS
        self.main = MainScreen()
        self._menu = ActionMenu(self)
        self._replay = ReplayKeys(self)
        self.view = View(clock, self.monitor.model.snapshot(clock.monotonic()))
        self._changes = Changes()
        self._drawing = Drawing(self, SYSTEM_CLOCK, by_itself=options.automatic)
        # A colour theme from the environment would make the console look otherwise than asked for.
        self.theme = options.theme
        self.set_class(options.ascii_art, "-ascii")

    @staticmethod
    def theme_names() -> list[str]:
        return sorted(BUILTIN_THEMES)

    def get_default_screen(self) -> Screen[None]:
        return self.main

    def start(self) -> None:
        """The main screen is there: begin to watch."""
        if not self.is_headless:
            leave_on_signals(self, self.options.processes)
        if self.is_fleet:
            self.push_screen(FleetScreen(self.fleet, at=""))
        if self.options.automatic:
            self._watch_all()
            self.run_worker(self.roster.follow(self._watch_all), group="roster", exit_on_error=False)
            self.set_interval(REPAINT_INTERVAL_S, self._drawing.in_turn)
            if self._recorder is not None:
                self.run_worker(self._recorder.run(), group="recording", exit_on_error=False)
        if self.player is not None and self.player.playback.recording.complaint:
            self.tell(self.player.playback.recording.complaint, Severity.WARNING)

    async def on_unmount(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        await self.roster.close()
        await self.options.processes.close()

    # What is shown.

    @property
    def monitor(self) -> Monitor:
        """The sidecar shown."""
        return self.roster.shown

    @property
    def monitors(self) -> list[Monitor]:
        """All sidecars, and the one shown."""
        return self.roster.watched

    @property
    def is_fleet(self) -> bool:
        """Whether there is a list in front of the tabs."""
        return self.roster.is_fleet

    @property
    def updates(self) -> int:
        """How often what is shown was told anew."""
        return sum(monitor.model.updates for monitor in self._looked_at)

    @property
    def _looked_at(self) -> Sequence[Monitor]:
        """The sidecar shown, or all in the list."""
        return [self.monitor] if self._stack.list is None else self.roster.monitors

    @property
    def tab(self) -> Tab:
        return self.main.tab

    @property
    def stands_still(self) -> bool:
        """Whether it is a replay whose time is held."""
        return self.player is not None and self.player.playback.is_paused

    def banner(self) -> Banner:
        return Banner(
            self.view.freshness,
            self.view.is_paused,
            self.view.held(self.updates),
            self.options.read_only and self.player is None,
            (self.monitors.index(self.monitor) + 1, len(self.monitors)),
            self._aside(),
            self.player is not None,
        )

    def _aside(self) -> SafeText:
        if self.player is not None:
            return self.player.label
        return SafeText("REC") if self._recorder is not None and self._recorder.is_recording else EMPTY

    def repaint(self) -> None:
        """Draw the present, or the moment of the pause, on the screen in front."""
        self._drawing.began()
        self.view.monotonic = self.clock.monotonic()
        if self._stack.list is None:
            self.view.take(self.monitor.model)
        elif not self.view.is_paused:
            self.view.shown_at = self.clock.now()
            self.fleet.take(self.view.monotonic)
        front = self._stack.front
        # Not before it is composed, and not when the application ends and has taken it apart.
        if front is not None and front.is_mounted and front.children:
            front.repaint()

    @property
    def cells_drawn(self) -> int:
        return self._stack.cells_drawn

    def interest(self, monitor: Monitor) -> Interest:
        """What the user looks at of one sidecar."""
        if self._stack.list is not None and self.fleet.shows_rollover:
            return Interest(needs=frozenset({Ask.CERTIFICATES}), in_background=True)
        if monitor is not self.monitor or self._stack.list is not None:
            return Interest(needs=None)
        interest = replace(self.main.interest, paused=self.view.is_paused)
        detail = self._stack.detail
        if detail is None:
            return interest
        return replace(interest, connection_id=detail.connection_id, refusal_seq=detail.refusal_seq)

    # Watching.

    def _watch_all(self) -> None:
        """Begin with those that are new, and leave those that are gone."""
        if self._stack.list is not None and self.monitor not in self.roster.monitors:
            self.roster.shown = self.roster.monitors[0]
        self._watch.keep_to(self.monitors)

    async def tick(self) -> None:
        """Poll what is shown once, and draw: what the timers do by themselves when they are on."""
        for monitor in self._looked_at:
            await monitor.poll(self.interest(monitor))
        self._tell_changes()
        self.repaint()

    def _told(self, monitor: Monitor) -> None:
        """A sidecar was asked. What one of many tells can wait for the next second, but for the first time."""
        if self._stack.list is None:
            if monitor is self.monitor:
                self._tell_changes()
                self._drawing.soon()
        elif not self.fleet.is_complete:
            self._drawing.soon()

    def _tell_changes(self) -> None:
        """Toasts for what the reader would otherwise have to notice."""
        if self._stack.list is not None:
            return
        for words, severity in self._changes.since(self.monitor.model):
            self.tell(words, severity)

    def interest_changed(self) -> None:
        """Another view: subscribe to the events only where they are shown, and ask for what is needed."""
        wants_events = self.main.tab.follows_events and self.options.automatic
        if wants_events:
            hidden = sorted(self.monitor.tab(self.main.tab).hidden)
            self._watch.follow_events(self.monitor, self._drawing.soon, hidden)
        else:
            self._watch.leave_events()
        self.refresh_now()

    @property
    def follows_events(self) -> bool:
        """Whether the events of the sidecar shown are subscribed to."""
        return self._watch.follows_events

    def kinds_changed(self) -> None:
        """Other kinds of events are wanted than are subscribed to."""
        self._watch.leave_events()
        self.interest_changed()
        self.repaint()

    def refresh_now(self) -> None:
        self._drawing.asked()
        for monitor in self._looked_at:
            monitor.wake()

    action_refresh_now = refresh_now

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A defect of ours in a worker is told, and the watching goes on."""
        if event.state is WorkerState.ERROR:
            words = SafeText(f"defect in the console: {safe_text(repr(event.worker.error), 200)}")
            self.tell(words, Severity.CRITICAL)
            self._watch.on_failure(event.worker)

    def changed_by_us(self) -> None:
        """An outcome that has been told speaks of the new generation itself."""
        self._changes.forget_generation()

    def tell(self, words: SafeText, severity: Severity | None = None) -> None:
        """A toast."""
        toasts.toast(self, words, severity, ascii_art=self.options.ascii_art)

    def converse(self, windows: Coroutine[Any, Any, None]) -> None:
        """One window after another, as they are answered."""
        self.run_worker(windows, group="menu", exclusive=True, exit_on_error=False)

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "actions":
            return not self.options.read_only
        if action == "sidecars":
            return self.is_fleet and self._stack.list is None
        if action in ("step", "mark", "moment", "speed"):
            return self.player is not None
        return super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """A key that the rows were given before the filter had the focus is typed there, and is no command. (An input
        keeps to itself what it is given.)"""
        focused = self.focused
        if isinstance(focused, Input) and event.character is not None and event.character.isprintable():
            event.prevent_default()
            focused.insert_text_at_cursor(event.character)

    def action_view(self, number: int) -> None:
        if self._stack.list is not None:
            name = self._stack.list.selected
            if name is None:
                return
            self.open_sidecar(name)
            if self._stack.list is not None:
                return  # it has gone meanwhile
        self._leave_details()
        self.main.show_tab(TABS[number - 1])

    def action_pause(self) -> None:
        """Hold the view, or let it catch up. The watching goes on. In a replay it is time that is held."""
        if self.player is not None:
            self._replay.pause()
        elif not self.view.is_paused:
            self.repaint()
            self.view.held_from = self.updates
        else:
            self.view.held_from = None
            self.refresh_now()
        self.repaint()

    def action_step(self, seconds: int) -> None:
        self._replay.step(seconds)

    def action_mark(self, direction: int) -> None:
        self._replay.to_mark(direction)

    def action_moment(self) -> None:
        self.converse(self._replay.to_typed())

    def action_speed(self, steps: int) -> None:
        self._replay.faster(steps)

    def action_help(self) -> None:
        self.push_screen(Help(self.is_fleet, read_only=self.options.read_only, replay=self.player is not None))

    # Details.

    def open_target(self, target: Target) -> None:
        """Show one thing in full."""
        if target.kind is Kind.CONNECTION:
            self.view.seed_connection(self.monitor.model, target)
        self.push_screen(DetailScreen(target))
        self.refresh_now()

    def close_detail(self) -> None:
        if self._stack.detail is not None:
            self.pop_screen()
            self.monitor.model.leave_connection()
            self.call_after_refresh(self.repaint)
            self.refresh_now()

    def moment_changed(self) -> None:
        """Another moment of a replay is shown."""
        self._changes.begin(self.monitor.model)
        self._watch.leave_events()
        self.interest_changed()
        self.repaint()

    def _leave_details(self) -> None:
        self._stack.leave_details()
        self.monitor.model.leave_connection()

    # Several sidecars.

    def show_fleet(self) -> None:
        """Out of the sidecar shown, to the list of all."""
        if self._stack.list is None and self.is_fleet:
            self._leave_details()
            self._watch.leave_events()
            self.view.held_from = None
            self.push_screen(FleetScreen(self.fleet, self.monitor.name))
            if self.options.automatic:
                self._watch_all()  # the one that was shown may be gone from the targets
            self.refresh_now()

    action_sidecars = show_fleet

    def open_sidecar(self, name: str) -> None:
        """Out of the list, into one of its sidecars, from the top; one that has gone meanwhile is not opened."""
        monitor = self.fleet.monitor(name)
        if monitor is None or self._stack.list is None:
            return
        self.pop_screen()
        self._leave_details()
        self._watch.leave_events()
        self.view.held_from = None
        self.roster.shown = monitor
        self._changes.begin(monitor.model)
        self.main.sidecar_changed()
        self.interest_changed()
        self.repaint()

    # Actions.

    def action_actions(self) -> None:
        if self._stack.list is not None:
            self._stack.list.action_actions()
        elif not self.options.read_only:
            front = self.screen
            connection = front.selected_connection if isinstance(front, ConsoleScreen) else None
            peer = front.selected_peer if isinstance(front, ConsoleScreen) else None
            self.converse(self._menu.choose(connection, peer))

    # The palette.

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        return system_commands(self)
