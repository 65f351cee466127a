"""Any text, through every widget and onto the strips: no crash, no control byte, and the width that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.strip import Strip
from textual.widget import Widget
from ui_bench import Bench, bench
from ui_clock import StillClock
from ui_world import HOSTILE, NOW, World, hostile

from tui.app import Console
from tui.lines import Kind, Role, Span, Target, line
from tui.options import Options
from tui.reach.targets import local
from tui.sheet import Page
from tui.text import SafeText
from tui.widgets.bar import Bar
from tui.widgets.rows import Rows


def _is_clean(text: str) -> bool:
    return not any(ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F for character in text)


def _strips(widget: Widget) -> Iterator[Strip]:
    for y in range(widget.size.height):
        yield widget.render_line(y)


class _Bench(App[None]):
    def compose(self) -> ComposeResult:
        yield Bar(id="bar")
        yield Bar(id="ascii", ascii_art=True)
        yield Rows(id="rows")


@given(st.lists(st.text(max_size=60) | st.sampled_from(HOSTILE), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_not_even_an_unsafe_text_passes_the_last_door(texts: list[str]) -> None:
    """The widgets are given what should have been made safe before: they must not rely on it."""
    app = _bench[0]
    bar, ascii_bar, rows = app.query_one("#bar", Bar), app.query_one("#ascii", Bar), app.query_one(Rows)
    spans = [Span(SafeText(text), role) for text, role in zip(texts, list(Role) * 2, strict=False)]
    bar.show(spans)
    ascii_bar.show(spans)
    rows.show(Page([line(*spans, target=Target(Kind.EVENT, 1)), *(line(span) for span in spans)]))
    for widget in (bar, ascii_bar, rows):
        for strip in _strips(widget):
            assert _is_clean(strip.text)
            assert strip.cell_length == widget.size.width
    assert all(strip.text.isascii() for strip in _strips(ascii_bar))


_bench: list[_Bench] = []


@pytest.fixture(autouse=True)
async def _running_bench(request: pytest.FixtureRequest) -> Any:
    if "last_door" not in request.node.name:
        yield
        return
    app = _Bench()
    async with app.run_test(size=(60, 12)):
        _bench[:] = [app]
        yield


def _screen_text(app: App[Any]) -> list[str]:
    """Every line of the screen, the overlays included, as it goes to the terminal."""
    width, height = app.size
    return [strip.text for strip in app.screen._compositor.render_strips(app.size)] if width and height else []


@contextmanager
def _checked(app: App[Any]) -> Iterator[None]:
    yield
    lines = _screen_text(app)
    assert lines
    assert [text for text in lines if not _is_clean(text)] == []


async def _through_every_view(desk: Bench, *others: str) -> None:
    """Each tab and the first thing in it; ``others`` are pressed in each."""
    for key in "12345678":
        for pressed in (key, "enter", "escape", *others):
            await desk.press(pressed)
            with _checked(desk.app):
                if pressed in (key, "enter"):
                    await desk.second()
    await desk.press("2", "enter", "a", "down", "down", "down", "enter")
    with _checked(desk.app):
        assert "Yes, close it" in desk.text
    await desk.press("escape", "escape")


@pytest.mark.parametrize("ascii_art", [False, True])
async def test_a_hostile_sidecar_through_every_view(tmp_path: Path, ascii_art: bool) -> None:
    async with bench(tmp_path, hostile(), ascii_art=ascii_art, toasts=True) as desk:
        desk.happened()
        await _through_every_view(desk, *(() if ascii_art else ("w", "a", "escape", "y", "w")))
        assert desk.sidecar.changes == []
        assert not ascii_art or desk.text.isascii()


_VIEWS = "123456"


@given(st.lists(st.text(min_size=1, max_size=40), min_size=8, max_size=8), st.sampled_from(_VIEWS))
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
async def test_any_text_in_every_view(texts: list[str], view: str) -> None:
    world = hostile()
    _repoison(world, texts)
    app, pilot = _console[0]
    _feed(app, world)
    await pilot.press(view)
    with _checked(app):
        app.repaint()
        await pilot.pause()


def _repoison(world: World, texts: list[str]) -> None:
    """Put ``texts`` where the hostile ones were."""
    table = dict(zip(HOSTILE, texts * 2, strict=False))

    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: change(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [change(inner) for inner in value]
        return table.get(value, value) if isinstance(value, str) else value

    world.status, world.certificates = change(world.status), change(world.certificates)
    world.connections, world.refusals = change(world.connections), change(world.refusals)
    world.events = [(kind, change(fields)) for kind, fields in world.events]


def _feed(app: Console, world: World) -> None:
    from tui.model import ConnectionQuery
    from tui.records import event_of

    model = app.monitor.model
    model.take_status(world.document("status"), app.clock.monotonic(), NOW, 0.0)
    model.take_certificates(world.document("certificates"), app.clock.monotonic())
    model.take_refusals({"total": 40, "refusals": world.refusals}, 100, app.clock.monotonic())
    page = {"total": 12, "matched": 12, "connections": world.connections}
    model.take_connections(page, ConnectionQuery())
    model.events.clear()
    for kind, fields in world.events:
        model.take_event(event_of(kind, fields))


_console: list[tuple[Console, Pilot[int]]] = []


@pytest.fixture(autouse=True)
async def _running_console(request: pytest.FixtureRequest, clock: StillClock, socket: Any) -> Any:
    if "any_text" not in request.node.name:
        yield
        return
    app = Console(Options((local(socket),), automatic=False), clock)
    async with app.run_test(size=(80, 24)) as pilot:
        _console[:] = [(app, pilot)]
        yield
