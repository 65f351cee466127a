"""What is drawn: the present, or the moment at which the view was held."""

from __future__ import annotations

import pytest
from ui_clock import StillClock
from ui_world import World, healthy

from tui.lines import Kind, Target
from tui.model import ConnectionQuery, Model
from tui.text import SafeText
from tui.view import View


class Watched:
    """A sidecar that answers, and a view of it."""

    def __init__(self, clock: StillClock, world: World) -> None:
        self.clock, self.world = clock, world
        self.model = Model(SafeText("x"))
        self.view = View(clock, self.model.snapshot(0.0))

    def answer(self) -> None:
        reply = self.world.document("status")
        self.model.take_status(reply, self.clock.monotonic(), self.clock.now(), 0.0)

    def draw(self) -> None:
        self.view.monotonic = self.clock.monotonic()
        self.view.take(self.model)


@pytest.fixture
def watched(clock: StillClock) -> Watched:
    made = Watched(clock, healthy())
    made.answer()
    made.draw()
    return made


def test_a_held_view_stays_and_says_how_much_it_keeps_back(watched: Watched) -> None:
    watched.view.held_from = watched.model.updates
    for _ in range(3):
        watched.clock.move(1)
        watched.world.advance(1)
        watched.answer()
    before = watched.view.shown, watched.view.shown_at
    watched.draw()
    assert (watched.view.shown, watched.view.shown_at) == before
    assert watched.view.held(watched.model.updates) == 3
    watched.view.held_from = None
    watched.draw()
    assert watched.view.shown_at == watched.clock.now()


def test_countdowns_stand_still_with_what_is_stale(watched: Watched) -> None:
    """They would look alive; also while the view is held, one sees that nobody answers."""
    began = watched.clock.now()
    watched.model.lose(SafeText("gone"), watched.clock.monotonic() + 1)
    watched.clock.move(60)
    watched.draw()
    assert watched.view.is_stale
    assert watched.view.shown_at == began
    assert watched.view.found[0].code == "admin_socket"
    watched.view.held_from = 0
    watched.answer()
    watched.draw()
    assert not watched.view.is_stale


def test_a_connections_page_begins_with_its_row_also_while_held(watched: Watched) -> None:
    rows = {"total": 12, "matched": 12, "connections": watched.world.connections}
    watched.model.take_connections(rows, ConnectionQuery())
    watched.draw()
    watched.view.held_from = watched.model.updates
    watched.view.seed_connection(watched.model, Target(Kind.CONNECTION, 3))
    assert watched.view.shown.connection is not None
    assert watched.view.shown.connection.id == 3
    watched.view.seed_connection(watched.model, Target(Kind.CONNECTION, 4711))
    assert watched.view.shown.connection is None
