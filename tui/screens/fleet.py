"""Several sidecars, worst first: in front of the tabs of each of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from tui.actions import LOG_LEVELS, Verb
from tui.fleet import Fleet
from tui.keys import ENTER, FILTER, MARK, ROLLOVER, SORT, KeyHint
from tui.lines import Kind, Target
from tui.monitor import Monitor
from tui.pages.columns import nothing
from tui.pages.fleet import FLEET_COLUMNS, FleetBanner, FleetSort, fleet_identity_row, fleet_summary_row, fleet_table
from tui.pages.fleet_filter import EXAMPLE
from tui.pages.rollover import rollover_of, rollover_summary_row, rollover_table
from tui.peers import DENY_FOR, Peer
from tui.records import Json, Severity
from tui.rollout import VERBS, Rollout, carry_out, denial, denied, report, rollout, summary, undenial
from tui.screens.base import ConsoleScreen
from tui.screens.choice import Entry, Field, Menu, Question, Reading, Window
from tui.text import EMPTY, SafeText, safe_text
from tui.widgets.bar import Bar
from tui.widgets.filter_bar import FilterBar
from tui.widgets.rows import Rows

_REPORT_WIDTH = 76


class FleetRows(Rows):
    """The list: space marks."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("space", "mark", "Mark", show=False)]

    @dataclass
    class Marked(Message):
        """Space on a line."""

        target: Target

    def action_mark(self) -> None:
        if self.selected is not None:
            self.post_message(self.Marked(self.selected))
            self.action_move(1)


class FleetScreen(ConsoleScreen):
    """The list, its filter and its marks."""

    LEADS_TO_FLEET = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "actions", "Actions"),
        Binding("M", "mark_all", "Mark all, or none"),
        Binding("slash", "filter", "Filter"),
        Binding("escape", "clear", "Clear the filter, then the marks"),
        Binding("s", "sort", "Sort by the next column"),
        Binding("S", "reverse", "Reverse the order"),
        Binding("w", "wide", "All columns"),
        Binding("o", "rollover", "A change of the CA"),
        Binding("q", "app.quit", "Quit"),
    ]

    DEFAULT_CSS = """
    FleetScreen {
        FleetRows { height: 1fr; scrollbar-gutter: stable; }
    }
    """

    def __init__(self, fleet: Fleet, at: str) -> None:
        super().__init__()
        self._fleet = fleet
        self._at = at  # the sidecar that the reader comes from
        self._wide = False

    def compose_body(self) -> ComposeResult:
        ascii_art = self.console.options.ascii_art
        yield FilterBar(EXAMPLE, ascii_art=ascii_art)
        yield FleetRows(id="fleet", ascii_art=ascii_art)

    def on_mount(self) -> None:
        self._show_filter(focus=False)
        if self._at:
            self.rows.select(Target(Kind.SIDECAR, self._at))
        self.rows.focus()
        self.console.repaint()

    @property
    def rows(self) -> FleetRows:
        return self.query_one(FleetRows)

    @property
    def selected(self) -> str | None:
        """The sidecar under the cursor."""
        target = self.rows.selected
        return None if target is None else str(target.key)

    @property
    def hints(self) -> Sequence[KeyHint]:
        return (ENTER, MARK, FILTER, SORT, ROLLOVER)

    @property
    def note(self) -> SafeText:
        shown, every = len(self._fleet.shown), len(self._fleet.rows)
        return EMPTY if shown == every else SafeText(f"{shown:,} of {every:,}")

    def exported(self) -> tuple[str, Json] | None:
        row = next((each for each in self._fleet.rows if each.name == self.selected), None)
        return None if row is None else row.sight.snapshot.whole("status")

    def repaint(self) -> None:
        look = self.look(self.size.width, self.size.height)
        fleet, banner = self._fleet, self.console.banner()
        told = FleetBanner(banner.paused, banner.held, banner.read_only, len(fleet.marked), banner.aside)
        self.query_one("#identity", Bar).show(fleet_identity_row(fleet.rows, told, look).spans)
        rollover = None
        if fleet.shows_rollover:
            rollover = rollover_of(fleet.shown, fleet.rows, worst_first=fleet.sort is FleetSort.WORST)
        summary = fleet_summary_row(fleet.rows, look) if rollover is None else rollover_summary_row(rollover, look)
        self.query_one("#summary", Bar).show(summary.spans)
        rows = self.rows
        look = self.look(rows.width, rows.size.height, wide=self._wide)
        if not fleet.shown:
            rows.show(nothing("no sidecar matches the filter", look))
        elif rollover is not None:
            rows.show(rollover_table(rollover, look))
        else:
            rows.show(fleet_table(fleet.shown, look, fleet.sort, fleet.descending))
        self._repaint_keys(self.look(self.size.width, self.size.height))

    # Keys.

    def on_rows_opened(self, event: Rows.Opened) -> None:
        self.console.open_sidecar(str(event.target.key))

    def on_fleet_rows_marked(self, event: FleetRows.Marked) -> None:
        self._fleet.mark(str(event.target.key))
        self._arrange()

    def action_mark_all(self) -> None:
        self._fleet.mark_all()
        self._arrange()

    def action_wide(self) -> None:
        self._wide = not self._wide
        self.repaint()

    def action_rollover(self) -> None:
        """A change of the CA over all of them, or what they are doing."""
        self._fleet.shows_rollover = not self._fleet.shows_rollover
        self.console.refresh_now()
        self.repaint()

    def action_sort(self) -> None:
        self._fleet.sort_by_next()
        self._arrange()

    def action_reverse(self) -> None:
        self._fleet.descending = not self._fleet.descending
        self._arrange()

    def on_key(self, event: events.Key) -> None:
        """Shift and a column's letter sort by it; once more reverses."""
        sort = next((each.sort for each in FLEET_COLUMNS if each.letter and each.letter == event.character), None)
        if sort is not None:
            event.stop()
            self._fleet.sort_by(sort)
            self._arrange()

    def _arrange(self) -> None:
        self._fleet.arrange()
        self.repaint()

    def action_filter(self) -> None:
        self._show_filter(focus=True)

    def action_clear(self) -> None:
        if self._fleet.typed or self.filter_bar.is_typed_in:
            self._set_filter("")
        else:
            self._fleet.marked.clear()
        self._show_filter(focus=False)
        self.set_focus(self.rows)
        self._arrange()

    @property
    def filter_bar(self) -> FilterBar:
        return self.query_one(FilterBar)

    def _show_filter(self, *, focus: bool) -> None:
        self.filter_bar.show(self._fleet.typed, self._fleet.mistake, focus=focus)

    def on_input_changed(self, event: Input.Changed) -> None:
        """What stands there now: the message may be older than what was typed since."""
        event.stop()
        self._set_filter(event.input.value)

    def _set_filter(self, text: str) -> None:
        changed = self._fleet.set_filter(text)
        self.filter_bar.show_mistake(self._fleet.typed, self._fleet.mistake)
        if changed:
            self.rows.reset()
            self._arrange()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._set_filter(event.value)  # what was typed just before may not be told yet
        self._show_filter(focus=False)
        self.set_focus(self.rows)

    # Actions, on the one under the cursor or on all that are marked.

    def action_actions(self) -> None:
        if not self.console.options.read_only:
            self.console.converse(self._choose())

    async def _choose(self) -> None:
        chosen = self._fleet.chosen(self.selected)
        if not chosen:
            return
        who = chosen[0].client.endpoint.label if len(chosen) == 1 else SafeText(f"{len(chosen):,} sidecars")
        chosen_verb = await self._asked(
            Menu(SafeText(f"Actions on {who}"), _entries((each.value, name) for each, name in VERBS))
        )
        planned = None if chosen_verb is None else await self._planned(Verb(chosen_verb), chosen)
        if planned is None:
            return
        plan = await planned()
        while plan.steps:
            if await self._asked(Question(plan.title, plan.question, plan.confirm)) != "yes":
                return
            asked, plan = plan, await planned()
            if (changed := plan.differs_from(asked)) is None:
                self.app.run_worker(self._carry_out(plan), group="changes", exit_on_error=False)
                return
            self.console.tell(changed, Severity.WARNING)  # and asked again, with the number that it is now
        self.console.tell(plan.nobody, Severity.CRITICAL)

    async def _planned(self, verb: Verb, chosen: Sequence[Monitor]) -> Callable[[], Awaitable[Rollout]] | None:
        """What makes the plan, before the question and once more after it; None where the reader thought better."""
        if verb is Verb.DENY:
            name = await self._asked(Field(SafeText("Deny which identity?"), "spiffe://prod.example/ns/shop/sa/web"))
            if name is None:
                return None
            peer = Peer(name, safe_text(name))
            how_long = await self._asked(
                Menu(SafeText(f"Deny {peer.short(40)} for"), _entries((each, each) for each in DENY_FOR))
            )
            return None if how_long is None else lambda: denial(chosen, peer, how_long, self.console.view.monotonic)
        if verb is Verb.UNDENY:
            return await self._undenial(chosen)
        level = ""
        if verb is Verb.LOG_LEVEL:
            picked = await self._asked(Menu(SafeText("Log level"), _entries((each, each) for each in LOG_LEVELS)))
            if picked is None:
                return None
            level = picked

        async def planned() -> Rollout:
            return rollout(verb, chosen, self.console.view.monotonic, level)

        return planned

    async def _undenial(self, chosen: Sequence[Monitor]) -> Callable[[], Awaitable[Rollout]] | None:
        names = await denied(chosen, self.console.view.monotonic)
        if not names:
            self.console.tell(SafeText("undeny: none of them keeps anybody out"), Severity.CRITICAL)
            return None
        listed = list(names)
        entries = [
            Entry(str(number), Peer(name, safe_text(name)).short(40), note=SafeText(f"by {names[name]:,}"))
            for number, name in enumerate(listed)
        ]
        picked = await self._asked(Menu(SafeText("Undeny"), entries))
        if picked is None:
            return None
        return lambda: undenial(chosen, listed[int(picked)], self.console.view.monotonic)

    async def _asked(self, window: Window) -> str | None:
        return await self.app.push_screen_wait(window)

    async def _carry_out(self, plan: Rollout) -> None:
        self.console.tell(SafeText(f"{plan.title}: asked"))
        ended = await carry_out(plan)
        told = summary(plan, ended)
        self.console.tell(told.words, told.severity)
        page = report(plan, ended, _REPORT_WIDTH)
        if page is not None:
            self.app.push_screen(Reading(page))


def _entries(words: Iterable[tuple[str, str]]) -> list[Entry]:
    return [Entry(name, SafeText(label)) for name, label in words]
