"""What a tab is: one object that knows its sheet, its keys and what it asks the sidecar for, and how it is filtered,
sorted and copied. What the reader has set in it (:class:`TabState`) is kept with each sidecar."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlsidecar.api.filter import FilterError, Vocabulary, parse
from tui.keys import KeyHint
from tui.lines import Target
from tui.model import Snapshot
from tui.past import ALL, Whose
from tui.plan import Ask, Interest
from tui.records import Json, Problem, Status
from tui.sheet import Column, Look, Sheet
from tui.text import EMPTY, SafeText


@dataclass(slots=True)
class TabState:
    """What the reader has set in one tab of one sidecar."""

    filter: str = ""  # in force
    typed: str = ""  # as it stands in the field; what cannot be read is not in force
    mistake: FilterError | None = None  # in what is typed
    sort: Hashable = None
    descending: bool = True
    each: bool = False  # of refusals: each by itself, not by party and reason
    group: str = ""  # connections counted together by this
    outer: TabState | None = None  # as it was before a group was opened
    follow: bool = True
    hidden: frozenset[str] = frozenset()  # kinds of events that are not shown
    span: str = ""  # how far back charts go, by name; empty for all there is
    whose: Whose = ALL  # charts


@dataclass(frozen=True, slots=True)
class Window:
    """The rows in view: ``room`` of them from ``first`` on."""

    first: int
    room: int


class Tab:
    """The base of all tabs; what a tab does not have is off."""

    name: ClassVar[str]
    short: ClassVar[str] = ""  # its name where there is little room; empty for the same
    needs: ClassVar[frozenset[Ask]] = frozenset()
    hints: ClassVar[tuple[KeyHint, ...]] = ()
    columns: ClassVar[Sequence[Column[Any]]] = ()
    largest_first: ClassVar[frozenset[Hashable]] = frozenset()
    first_sort: ClassVar[Hashable] = None
    vocabulary: ClassVar[Vocabulary | None] = None  # of its filter's fields; without one, only words
    filters_words: ClassVar[bool] = False
    is_filtered_there: ClassVar[bool] = False  # by the sidecar: typing rests before it is asked
    asks_for_filter: ClassVar[bool] = False  # a filter needs more than what was read
    follows_events: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"<tab {self.name}>"

    @property
    def id(self) -> str:
        return f"view-{self.name.lower()}"

    @property
    def is_filtered(self) -> bool:
        return self.filters_words or self.vocabulary is not None

    def set_filter(self, state: TabState, text: str) -> bool:
        """What is typed; whether another filter is in force now. One that cannot be read leaves the last good one."""
        state.typed, state.mistake = text, None
        if self.vocabulary is not None:
            try:
                parse(text, self.vocabulary)
            except FilterError as error:
                state.mistake = error
                return False
        changed, state.filter = text != state.filter, text
        return changed

    def columns_of(self, state: TabState) -> Sequence[Column[Any]]:
        """Those of its table as it is set."""
        return self.columns

    def fresh_state(self) -> TabState:
        return TabState(sort=self.first_sort)

    def sheet(self, snapshot: Snapshot, found: Sequence[Problem], look: Look, state: TabState) -> Sheet:
        """What it shows."""
        raise NotImplementedError

    def is_unread(self, snapshot: Snapshot) -> bool:
        """Whether what it shows was never read."""
        return False

    def note(self, snapshot: Snapshot, state: TabState) -> SafeText:
        """A few words at the right of the keys."""
        return EMPTY

    def held(self, status: Status) -> int | None:
        """How much is in it, for its label."""
        return None

    def exported(self, snapshot: Snapshot, key: int | str | None) -> tuple[str, Json] | None:
        """What copying and saving take, with the cursor on ``key``: its name and its JSON."""
        return snapshot.whole("status")

    def interest(self, state: TabState, window: Window) -> Interest:
        """What to ask the sidecar for."""
        return Interest(needs=self.needs)

    def lacks(self, snapshot: Snapshot, window: Window) -> bool:
        """Whether something in view has still to be asked for."""
        return False

    def press(self, state: TabState, snapshot: Snapshot, key: str) -> bool:
        """A key that nobody else has; whether it means something here, and has changed what is shown."""
        return False

    def drill(self, state: TabState, target: Target) -> bool:
        """Enter on a row that narrows this very list; whether it is such a row."""
        return False

    def back(self, state: TabState) -> bool:
        """Out of what :meth:`drill` went into; whether there was something."""
        return False

    # Sorting.

    def sorts(self, state: TabState) -> list[Hashable]:
        return [column.sort for column in self.columns_of(state) if column.sort is not None]

    def sort_of(self, state: TabState, letter: str) -> Hashable:
        """What shift and this letter sort by; None for nothing."""
        return next((each.sort for each in self.columns_of(state) if each.letter == letter), None)

    def sort_by(self, state: TabState, sort: Hashable) -> None:
        """By this; once more turns it round."""
        state.descending = not state.descending if sort == state.sort else sort in self.largest_first
        state.sort = sort
