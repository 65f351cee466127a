"""Several sidecars, worst first: in front of the tabs of each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from tui.actions import LOG_LEVELS, Verb
from tui.fleet import Fleet
from tui.keys import ENTER, FILTER, MARK, SORT, KeyHint
from tui.lines import Kind, Role, Span, Target, gap, literal
from tui.pages.fleet import FLEET_COLUMNS, FleetBanner, fleet_identity_row, fleet_summary_row, fleet_table
from tui.records import Json, Severity
from tui.rollout import VERBS, Rollout, carry_out, report, rollout, summary
from tui.screens.base import ConsoleScreen
from tui.screens.choice import Entry, Menu, Question, Reading
from tui.sheet import message_page
from tui.text import EMPTY, SafeText
from tui.widgets.bar import Bar
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
        Binding("q", "app.quit", "Quit"),
    ]

    DEFAULT_CSS = """
    FleetScreen {
        #filter-row { display: none; height: 1; background: $surface; }
        #filter-row.-shown { display: block; }
        #filter-label { width: 9; background: $surface; }
        #filter { width: 1fr; height: 1; border: none; padding: 0; background: $surface; }
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
        with Horizontal(id="filter-row"):
            yield Bar(id="filter-label", ascii_art=ascii_art)
            filter_input = Input(
                placeholder="words that have to occur", id="filter", compact=True, select_on_focus=False
            )
            filter_input.cursor_blink = False
            yield filter_input
        yield FleetRows(id="fleet", ascii_art=ascii_art)

    def on_mount(self) -> None:
        self.query_one("#filter-label", Bar).show([gap(), literal("filter:", Role.KEY), gap()])
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
        return (ENTER, MARK, FILTER, SORT)

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
        self.query_one("#summary", Bar).show(fleet_summary_row(fleet.rows, look).spans)
        rows = self.rows
        look = self.look(rows.width, rows.size.height, wide=self._wide)
        if fleet.shown:
            rows.show(fleet_table(fleet.shown, look, fleet.sort, fleet.descending))
        else:
            rows.show(message_page([Span(SafeText("no sidecar matches the filter"), Role.MUTED)], look))
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
        if self._fleet.filter or isinstance(self.focused, Input):
            self._fleet.filter = ""
        else:
            self._fleet.marked.clear()
        self._show_filter(focus=False)
        self.set_focus(self.rows)
        self._arrange()

    def _show_filter(self, *, focus: bool) -> None:
        filter_input = self.query_one("#filter", Input)
        with self.prevent(Input.Changed):
            filter_input.value = self._fleet.filter
        self.query_one("#filter-row").set_class(focus or bool(self._fleet.filter), "-shown")
        if focus:
            self.set_focus(filter_input)  # now: the next key may be here already

    def on_input_changed(self, event: Input.Changed) -> None:
        """What stands there now: the message may be older than what was typed since."""
        event.stop()
        self._set_filter(event.input.value)

    def _set_filter(self, text: str) -> None:
        if text.strip() != self._fleet.filter:
            self._fleet.filter = text.strip()
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
            self.run_worker(self._choose(), group="menu", exclusive=True)

    async def _choose(self) -> None:
        chosen = self._fleet.chosen(self.selected)
        if not chosen:
            return
        who = chosen[0].client.endpoint.label if len(chosen) == 1 else SafeText(f"{len(chosen):,} sidecars")
        verb = await self._asked(
            Menu(SafeText(f"Actions on {who}"), _entries((each.value, name) for each, name in VERBS))
        )
        if verb is None:
            return
        level: str | None = ""
        if verb == Verb.LOG_LEVEL:
            level = await self._asked(Menu(SafeText("Log level"), _entries((each, each) for each in LOG_LEVELS)))
        if level is None:
            return
        plan = rollout(Verb(verb), chosen, self.console.view.monotonic, level)
        if not plan.steps:
            self.console.tell(SafeText(f"{plan.verb}: none of them answers"), Severity.CRITICAL)
        elif await self._asked(Question(plan.title, plan.question, plan.confirm)) == "yes":
            now = rollout(Verb(verb), chosen, self.console.view.monotonic, level)
            if (changed := now.differs_from(plan)) is not None:
                self.console.tell(changed, Severity.WARNING)
            else:
                self.app.run_worker(self._carry_out(now), group="changes", exit_on_error=False)

    async def _asked(self, window: Menu) -> str | None:
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
