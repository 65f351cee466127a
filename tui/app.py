"""The interactive console: it owns the monitors, decides what is shown (now, or the moment of the pause), and carries
out actions. The screens draw."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES
from textual.timer import Timer
from textual.widgets import Input
from textual.worker import Worker, WorkerState

from tlsidecar.api.words import EVENT_KINDS
from tui.clock import SYSTEM_CLOCK, Clock
from tui.export import as_json, save
from tui.fleet import Fleet
from tui.freshness import Freshness, freshness
from tui.keys import help_page
from tui.lines import ASCII_GLYPHS, UNICODE_GLYPHS, Glyphs, Kind, Target
from tui.model import Snapshot
from tui.monitor import Monitor
from tui.options import Options
from tui.pages.chrome import Banner
from tui.pages.fleet import FLEET_COLUMNS
from tui.plan import Interest
from tui.problems import problems
from tui.recorder import Recorder
from tui.records import Json, Problem, Severity
from tui.replay.player import Player
from tui.roster import Roster
from tui.screens.actions import ActionMenu
from tui.screens.base import ConsoleScreen
from tui.screens.choice import Reading, Switches
from tui.screens.detail import DetailScreen
from tui.screens.fleet import FleetScreen
from tui.screens.main import MainScreen
from tui.sheet import Column
from tui.tabs import TABS
from tui.tabs.tab import Tab
from tui.text import EMPTY, SafeText, ascii_only, safe_text

REPAINT_INTERVAL_S = 1.0
_SHORTEST_REPAINT_S = 0.1
"""Replies and events that come closer together than this are drawn together."""

MOST_OCTETS_A_SECOND = 20_000
"""What a flood of events sends to the terminal at most."""

_OCTETS_A_CELL = 6.5
"""Of a screen that changed in every line, colours included, as measured (python -m benchmarks.keys)."""

_RESTART_S = 2.0

_STAGGER_S = 0.005
"""Between the first looks at two sidecars: hundreds at one moment would hold up the keys."""

_FAREWELL_S = 3.0
"""What the terminal gets to be put in order when a signal ends the console."""

_TOAST_S = 5.0
_BAD_TOAST_S = 15.0
"""Seconds that good and bad news stay; the bad come to light again when the good ones told after them are gone."""


class Console(App[int]):
    """The console on one or more sidecars."""

    TITLE = "tlsidecar"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-broad")]  # noqa: RUF012 - the toolkit declares it so
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "quit", "Quit", show=False, priority=True)]
    CSS = """
    Toast { max-width: 76; }
    /* One toast at a time, the newest: a pile of them would hide what is being confirmed. */
    ToastHolder { display: none; }
    ToastHolder:last-child { display: block; }
    Console.-ascii Toast, Console.-ascii Toast.-information, Console.-ascii Toast.-warning,
    Console.-ascii Toast.-error { border: none; }
    """

    def __init__(self, options: Options, clock: Clock = SYSTEM_CLOCK, randomness: random.Random | None = None) -> None:
        super().__init__()
        self.options = options
        self.clock = clock
        randomness = randomness or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self.roster = Roster(options.sources, options.read_only, clock, randomness)
        self.fleet = Fleet(self.roster)
        self.monitor = self.roster.monitors[0]  # the sidecar shown
        self._watches: dict[Monitor, Worker[None]] = {}
        self.player = None if options.playback is None else Player(options.playback)
        self._recorder = (
            None if options.record is None else Recorder(options.record, self.roster, clock, self._not_recorded)
        )
        self.glyphs: Glyphs = ASCII_GLYPHS if options.ascii_art else UNICODE_GLYPHS
        self.main = MainScreen()
        self._menu = ActionMenu(self)
        self.monotonic = clock.monotonic()
        self.shown: Snapshot = self.monitor.model.snapshot(self.monotonic)
        self.shown_at: datetime = clock.now()
        self.found: Sequence[Problem] = ()
        self._pause_updates: int | None = None
        self._was_lost = False
        self._generation: int | None = None
        self._restarts = 0
        self._repaint_timer: Timer | None = None
        self._event_worker: Worker[None] | None = None
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
            # By default these end the process at once, with the terminal still in the hands of the console.
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._end, 128 + number)
        if self.is_fleet:
            self.push_screen(FleetScreen(self.fleet, at=""))
        if self.options.automatic:
            self._watch_all()
            self.run_worker(self.roster.follow(self._watch_all), group="roster", exit_on_error=False)
            self.set_interval(REPAINT_INTERVAL_S, self._repaint_in_turn)
            if self._recorder is not None:
                self.run_worker(self._recorder.run(), group="recording", exit_on_error=False)
        if self.player is not None and self.player.playback.recording.complaint:
            self.tell(self.player.playback.recording.complaint, Severity.WARNING)

    def _end(self, code: int) -> None:
        """Leave because of a signal. Writing to a terminal that is gone can hang the toolkit's farewell for ever."""

        def leave() -> None:
            self.options.processes.kill()
            os._exit(code)

        last_resort = threading.Timer(_FAREWELL_S, leave)
        last_resort.daemon = True
        last_resort.start()
        self.exit(code)

    async def on_unmount(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
        await self.roster.close()
        await self.options.processes.close()

    # What is shown.

    @property
    def monitors(self) -> list[Monitor]:
        """All sidecars; the one shown stays among them, even if its target does not mean it any more."""
        listed = self.roster.monitors
        return listed if self.monitor in listed else [*listed, self.monitor]

    @property
    def is_fleet(self) -> bool:
        """Whether there is a list in front of the tabs."""
        return self.roster.is_fleet

    @property
    def _list(self) -> FleetScreen | None:
        """The list, while it is shown."""
        return next((screen for screen in self.screen_stack if isinstance(screen, FleetScreen)), None)

    @property
    def updates(self) -> int:
        """How often what is shown was told anew."""
        shown = self.roster.monitors if self._list is not None else [self.monitor]
        return sum(monitor.model.updates for monitor in shown)

    @property
    def tab(self) -> Tab:
        return self.main.tab

    @property
    def freshness(self) -> Freshness:
        return freshness(self.monitor.model.link, self.monotonic)

    @property
    def is_stale(self) -> bool:
        """Whether what is shown is older than it should be."""
        return not self.freshness.is_fresh

    @property
    def is_paused(self) -> bool:
        return self._pause_updates is not None

    @property
    def stands_still(self) -> bool:
        """Whether it is a replay whose time is held."""
        return self.player is not None and self.player.playback.is_paused

    def banner(self) -> Banner:
        held = 0 if self._pause_updates is None else self.updates - self._pause_updates
        return Banner(
            self.freshness,
            self.is_paused,
            held,
            self.options.read_only and self.player is None,
            (self.monitors.index(self.monitor) + 1, len(self.monitors)),
            self._aside(),
            self.player is not None,
        )

    def _aside(self) -> SafeText:
        if self.player is not None:
            return self.player.label
        return SafeText("REC") if self._recorder is not None and self._recorder.is_recording else EMPTY

    def _not_recorded(self, why: SafeText) -> None:
        self.tell(why, Severity.CRITICAL)

    def repaint(self) -> None:
        """Draw the present, or the moment of the pause, on the screen in front."""
        self._repaint_timer = None
        self.monotonic = self.clock.monotonic()
        if self._list is not None:
            if not self.is_paused:
                self.shown_at = self.clock.now()
                self.fleet.take(self.monotonic)
        elif not self.is_paused:
            self.shown = self.monitor.model.snapshot(self.monotonic)
            # Stale data is shown as of when it was fresh: a countdown that goes on would look alive.
            self.shown_at = self.shown.taken_at or self.clock.now() if self.is_stale else self.clock.now()
            self.found = problems(self.shown)
        front = next((screen for screen in reversed(self.screen_stack) if isinstance(screen, ConsoleScreen)), None)
        # Not before it is composed, and not when the application ends and has taken it apart.
        if front is not None and front.is_mounted and front.children:
            front.repaint()

    def interest(self, monitor: Monitor) -> Interest:
        """What the user looks at of one sidecar."""
        if monitor is not self.monitor or self._list is not None:
            return Interest(needs=None)
        interest = replace(self.main.interest, paused=self.is_paused)
        detail = self._detail
        if detail is None:
            return interest
        return replace(interest, connection_id=detail.connection_id, refusal_seq=detail.refusal_seq)

    @property
    def _detail(self) -> DetailScreen | None:
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, DetailScreen)), None)

    # Watching.

    def _watch_all(self) -> None:
        """Begin with those that are new, and leave those that are gone."""
        monitors = self.monitors
        if self._list is not None and self.monitor not in self.roster.monitors:
            monitors = self.roster.monitors
            self.monitor = monitors[0]
        for monitor in [each for each in self._watches if each not in monitors]:
            self._watches.pop(monitor).cancel()
            self.run_worker(monitor.client.close(), group="closing")
        for number, monitor in enumerate(each for each in monitors if each not in self._watches):
            self._watch(monitor, number * _STAGGER_S)

    def _watch(self, monitor: Monitor, delay_s: float = 0.0) -> None:
        watch = monitor.watch(lambda: self.interest(monitor), lambda: self._told(monitor), delay_s)
        self._watches[monitor] = self.run_worker(watch, group="watch", exit_on_error=False)

    async def tick(self) -> None:
        """Poll what is shown once, and draw: what the timers do by themselves when they are on."""
        for monitor in self.roster.monitors if self._list is not None else [self.monitor]:
            await monitor.poll(self.interest(monitor))
        self._tell_changes()
        self.repaint()

    def _told(self, monitor: Monitor) -> None:
        """A sidecar was asked. What one of many tells can wait for the next second, but for the first time."""
        if self._list is None:
            if monitor is self.monitor:
                self._changed()
        elif not self.fleet.is_complete:
            self._repaint_soon()

    def _changed(self) -> None:
        self._tell_changes()
        self._repaint_soon()

    def _event_came(self) -> None:
        """A log that runs moves every line: a large screen is drawn less often, for the sake of who sits behind a
        slow line."""
        self._repaint_soon(self._log_spacing_s - (self.clock.monotonic() - self.monotonic))

    @property
    def _log_spacing_s(self) -> float:
        return self.size.width * self.size.height * _OCTETS_A_CELL / MOST_OCTETS_A_SECOND

    def _repaint_in_turn(self) -> None:
        """Once a second, but for a log that runs."""
        if self.main.tab.follows_events and self.clock.monotonic() - self.monotonic < self._log_spacing_s:
            self._event_came()
        else:
            self.repaint()

    def _repaint_soon(self, after_s: float = 0.0) -> None:
        if self.options.automatic and self._repaint_timer is None:
            self._repaint_timer = self.set_timer(max(_SHORTEST_REPAINT_S, after_s), self.repaint)

    def _tell_changes(self) -> None:
        """Toasts for what the reader would otherwise have to notice."""
        if self._list is not None:
            return
        model = self.monitor.model
        if self._was_lost and not model.link.is_lost:
            self.tell(SafeText("connected again"))
        self._was_lost = model.link.is_lost
        if model.restarts > self._restarts:
            self.tell(SafeText("the sidecar was restarted"), Severity.WARNING)
            self._generation = None
        self._restarts = model.restarts
        generation = None if model.status is None else model.status.generation
        if generation is not None and self._generation is not None and generation != self._generation:
            self.tell(SafeText(f"generation {generation} is in use"))
        self._generation = generation

    def interest_changed(self) -> None:
        """Another view: subscribe to the events only where they are shown, and ask for what is needed."""
        wants_events = self.main.tab.follows_events and self.options.automatic
        if wants_events and self._event_worker is None:
            hidden = sorted(self.monitor.tab(self.main.tab).hidden)
            follow = self.monitor.follow_events(self._event_came, hidden)
            self._event_worker = self.run_worker(follow, group="events", exit_on_error=False)
        elif not wants_events:
            self._leave_events()
        self.refresh_now()

    def _leave_events(self) -> None:
        worker, self._event_worker = self._event_worker, None
        if worker is not None:
            worker.cancel()

    def choose_kinds(self) -> None:
        """Kinds of events, switched on and off until the reader leaves."""
        state = self.monitor.tab(self.main.tab)
        switches = Switches(SafeText("Events to show"), EVENT_KINDS, state.hidden)

        def left(_: str | None) -> None:
            if switches.off != state.hidden:
                state.hidden = switches.off
                self._leave_events()
                self.interest_changed()
                self.repaint()

        self.push_screen(switches, left)

    def refresh_now(self) -> None:
        for monitor in self.roster.monitors if self._list is not None else [self.monitor]:
            monitor.wake()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A defect of ours in a worker is told, and the watching goes on."""
        worker = event.worker
        if event.state is not WorkerState.ERROR:
            return
        self.tell(SafeText(f"defect in the console: {safe_text(repr(worker.error), 200)}"), Severity.CRITICAL)
        if worker.group == "watch":
            monitor = next((each for each, watch in self._watches.items() if watch is worker), None)
            if monitor is not None:
                self.set_timer(_RESTART_S, lambda: self._watch(monitor))
        elif worker is self._event_worker:
            self._event_worker = None

    def changed_by_us(self) -> None:
        """An outcome that has been told speaks of the new generation itself."""
        self._generation = None

    def tell(self, words: SafeText, severity: Severity | None = None) -> None:
        """A toast."""
        level = {None: "information", Severity.NOTICE: "information", Severity.WARNING: "warning"}
        timeout_s = _TOAST_S if severity is None else _BAD_TOAST_S
        shown = ascii_only(words) if self.options.ascii_art else words
        self.notify(shown, severity=level.get(severity, "error"), timeout=timeout_s, markup=False)  # type: ignore[arg-type]

    # Keys.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "actions":
            return not self.options.read_only
        if action == "sidecars":
            return self.is_fleet and self._list is None
        if action in ("step", "mark", "speed"):
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
        if self._list is not None:
            name = self._list.selected
            if name is None:
                return
            self.open_sidecar(name)
        self._leave_details()
        self.main.show_tab(TABS[number - 1])

    def action_pause(self) -> None:
        """Hold the view, or let it catch up. The watching goes on. In a replay it is time that is held."""
        if self.player is not None:
            self.player.playback.pause(not self.player.playback.is_paused)
        elif self._pause_updates is None:
            self.repaint()
            self._pause_updates = self.updates
        else:
            self._pause_updates = None
            self.refresh_now()
        self.repaint()

    def action_step(self, seconds: int) -> None:
        """So many seconds on in a replay, which then stands still; or back."""
        assert self.player is not None
        self.player.playback.pause(True)
        self._seek(self.player.playback.t + seconds)

    def action_mark(self, direction: int) -> None:
        """To the next reload or problem of a replay, or the one before."""
        assert self.player is not None
        t = self.player.mark(direction, self.monitor.model)
        if t is None:
            self.tell(SafeText("no reload and no problem " + ("after this" if direction > 0 else "before this")))
        else:
            self._seek(t)

    def action_speed(self, steps: int) -> None:
        assert self.player is not None
        self.player.playback.faster(steps)
        self.repaint()

    def _seek(self, t: float) -> None:
        self.run_worker(self.seek(t), group="seek", exclusive=True, exit_on_error=False)

    async def seek(self, t: float) -> None:
        """To this moment of a replay."""
        assert self.player is not None
        self._leave_events()
        await self.player.seek(t, self.monitors, self.interest)
        self._was_lost, self._restarts, self._generation = False, self.monitor.model.restarts, None
        self.interest_changed()
        self.repaint()

    def action_refresh_now(self) -> None:
        self.refresh_now()

    def action_help(self) -> None:
        sortable: dict[str, Sequence[Column[Any]]] = {tab.name: tab.columns for tab in TABS if tab.columns}
        if self.is_fleet:
            sortable = {"Sidecars": FLEET_COLUMNS, **sortable}
        self.push_screen(
            Reading(
                help_page(
                    self.glyphs,
                    min(78, self.size.width - 6),
                    sortable,
                    read_only=self.options.read_only,
                    replay=self.player is not None,
                )
            )
        )

    def copy_json(self, what: str, raw: Json) -> None:
        self.copy_to_clipboard(as_json(raw))
        self.tell(SafeText(f"copied {what} as JSON, if the terminal lets programs copy (OSC 52)"))

    def copy_text(self, what: str, text: str) -> None:
        self.copy_to_clipboard(text)
        self.tell(SafeText(f"copied {what}, if the terminal lets programs copy (OSC 52)"))

    def save_json(self, what: str, raw: Json) -> None:
        try:
            path = save(raw, what, self.clock.now(), Path.cwd())
        except OSError as error:
            self.tell(SafeText(f"not saved: {safe_text(error.strerror or str(error))}"), Severity.CRITICAL)
        else:
            self.tell(SafeText(f"saved {safe_text(str(path))}"))

    # Details.

    def open_target(self, target: Target) -> None:
        """Show one thing in full."""
        if target.kind is Kind.CONNECTION:
            self._seed_connection(target)
        self.push_screen(DetailScreen(target))
        self.refresh_now()

    def _seed_connection(self, target: Target) -> None:
        """Start with what the row told, so that there is something at once, and something at all while paused."""
        row = self.shown.raw_row("connections", "connections", "id", target.key)
        model = self.monitor.model
        model.leave_connection()
        if row is not None:
            model.take_connection({"connection": row})
        if self.is_paused:
            raw = {**self.shown.raw, **{name: model.raw[name] for name in ("connection",) if name in model.raw}}
            self.shown = replace(self.shown, connection=model.connection, connection_gone=False, raw=raw)

    def close_detail(self) -> None:
        if self._detail is not None:
            self.pop_screen()
            self.monitor.model.leave_connection()
            self.call_after_refresh(self.repaint)
            self.refresh_now()

    def _leave_details(self) -> None:
        while isinstance(self.screen, DetailScreen):
            self.pop_screen()
        self.monitor.model.leave_connection()

    # Several sidecars.

    def action_sidecars(self) -> None:
        self.show_fleet()

    def show_fleet(self) -> None:
        """Out of the sidecar shown, to the list of all."""
        if self._list is None and self.is_fleet:
            self._leave_details()
            self._leave_events()
            self._pause_updates = None
            self.push_screen(FleetScreen(self.fleet, self.monitor.name))
            if self.options.automatic:
                self._watch_all()  # the one that was shown may be gone from the targets
            self.refresh_now()

    def open_sidecar(self, name: str) -> None:
        """Out of the list, into one of its sidecars; one that has gone meanwhile is not there to be opened."""
        monitor = self.fleet.monitor(name)
        if monitor is None or self._list is None:
            return
        self.pop_screen()
        self.select_sidecar(monitor)

    def select_sidecar(self, monitor: Monitor) -> None:
        """Show one sidecar, from the top."""
        self._leave_details()
        self._leave_events()
        self._pause_updates = None
        self.monitor = monitor
        model = self.monitor.model
        self._was_lost, self._restarts = model.link.is_lost, model.restarts
        self._generation = None if model.status is None else model.status.generation
        self.main.sidecar_changed()
        self.interest_changed()
        self.repaint()

    # Actions.

    def action_actions(self) -> None:
        if self._list is not None:
            self._list.action_actions()
        elif not self.options.read_only:
            front = self.screen
            connection = front.selected_connection if isinstance(front, ConsoleScreen) else None
            peer = front.selected_peer if isinstance(front, ConsoleScreen) else None
            self.run_worker(self._menu.choose(connection, peer), group="menu", exclusive=True)

    # The palette.

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        for number, tab in enumerate(TABS, 1):
            yield SystemCommand(tab.name, f"Go to tab {number}", lambda number=number: self.action_view(number))
        if not self.options.read_only:
            yield SystemCommand("Actions", "Reload, rotate, drain, close, deny, log level", self.action_actions)
        if self.is_fleet:
            yield SystemCommand("Sidecars", "All sidecars, worst first", self.action_sidecars)
        yield SystemCommand("Pause or resume", "Hold the view", self.action_pause)
        yield SystemCommand("Refresh", "Ask the sidecar now", self.action_refresh_now)
        yield SystemCommand("Help", "Keys and colours", self.action_help)
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        yield SystemCommand("Quit", "Leave the console; the sidecar goes on", self.action_quit)
