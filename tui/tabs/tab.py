"""What a tab is: one object that knows its sheet, its keys and what it asks the sidecar for, and how it is filtered,
sorted and copied. What the reader has set in it (:class:`TabState`) is kept with each sidecar."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tui.keys import KeyHint
from tui.model import Snapshot
from tui.plan import Ask, Interest
from tui.records import Json, Problem, Status
from tui.sheet import Column, Look, Sheet
from tui.text import EMPTY, SafeText


@dataclass(slots=True)
class TabState:
    """What the reader has set in one tab of one sidecar."""

    filter: str = ""
    sort: Hashable = None
    descending: bool = True
    follow: bool = True
    span: str = ""  # how far back charts go, by name; empty for all there is
    listener: str = ""  # whose charts; empty for all


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
    is_filtered: ClassVar[bool] = False
    is_filtered_there: ClassVar[bool] = False  # by the sidecar: typing rests before it is asked
    asks_for_filter: ClassVar[bool] = False  # a filter needs more than what was read
    follows_events: ClassVar[bool] = False

    def __repr__(self) -> str:
        return f"<tab {self.name}>"

    @property
    def id(self) -> str:
        return f"view-{self.name.lower()}"

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

    # Sorting.

    @property
    def sorts(self) -> list[Hashable]:
        return [column.sort for column in self.columns if column.sort is not None]

    def sort_of(self, letter: str) -> Hashable:
        """What shift and this letter sort by; None for nothing."""
        return next((each.sort for each in self.columns if each.letter == letter), None)

    def sort_by(self, state: TabState, sort: Hashable) -> None:
        """By this; once more turns it round."""
        state.descending = not state.descending if sort == state.sort else sort in self.largest_first
        state.sort = sort
