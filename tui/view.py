"""What is drawn of the sidecar shown: the present, or the moment at which the view was held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tui.clock import Clock
from tui.freshness import Freshness, Link, freshness
from tui.lines import Target
from tui.model import Model, Snapshot
from tui.problems import problems
from tui.records import Problem


@dataclass(slots=True)
class View:
    """A moment, and what was known then."""

    clock: Clock
    shown: Snapshot
    shown_at: datetime = field(init=False)
    monotonic: float = field(init=False)
    found: Sequence[Problem] = ()
    link: Link = field(default_factory=Link)  # of the present, also while the view is held
    held_from: int | None = None  # while it is held: the updates there were until then

    def __post_init__(self) -> None:
        self.shown_at, self.monotonic = self.clock.now(), self.clock.monotonic()

    @property
    def is_paused(self) -> bool:
        return self.held_from is not None

    @property
    def freshness(self) -> Freshness:
        return freshness(self.link, self.monotonic)

    @property
    def is_stale(self) -> bool:
        """Whether what is shown is older than it should be."""
        return not self.freshness.is_fresh

    def held(self, updates: int) -> int:
        """How many updates were kept back, of so many there are now."""
        return 0 if self.held_from is None else updates - self.held_from

    def take(self, model: Model) -> None:
        """The present, unless the view is held."""
        self.link = model.link
        if self.is_paused:
            return
        self.shown = model.snapshot(self.monotonic)
        # Stale data is shown as of when it was fresh: a countdown that goes on would look alive.
        self.shown_at = self.shown.taken_at or self.clock.now() if self.is_stale else self.clock.now()
        self.found = problems(self.shown)

    def seed_connection(self, model: Model, target: Target) -> None:
        """Begin a connection's page with what its row told, so that there is something at once, and something at all
        while the view is held."""
        row = self.shown.raw_row("connections", "connections", "id", target.key)
        model.leave_connection()
        if row is not None:
            model.take_connection({"connection": row})
        if self.is_paused:
            self.shown = self.shown.with_connection_of(model)
