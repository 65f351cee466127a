"""How each screen looks, at 80x24 and 120x40: with data, empty, in error, stale, paused, expired, without colours.

After a change that is meant: ``pytest tests/tui/test_snapshots.py --snapshot-update``, then look at each picture.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from textual.pilot import Pilot
from ui_bench import Bench
from ui_clock import StillClock
from ui_sidecar import running
from ui_world import World, crowded, degraded, empty, expired, healthy, hostile

from tui.app import Console
from tui.options import Options
from tui.reach.targets import local
from tui.tabs import TABS

Compare = Callable[..., bool]
Step = Callable[[Bench], Awaitable[None]]
Look = Callable[..., bool]

SMALL = (80, 24)
BROAD = (120, 40)
TAB_NAMES = [tab.name.lower() for tab in TABS]
LARGE = (200, 50)
SIZES = pytest.mark.parametrize("size", [SMALL, BROAD], ids=["80x24", "120x40"])
ALL_SIZES = pytest.mark.parametrize("size", [SMALL, BROAD, LARGE], ids=["80x24", "120x40", "200x50"])


@pytest.fixture
def look(snap_compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """``look(world, *keys, size=…, then=…)`` compares the screen after those keys and steps with its picture.

    The sockets have relative names, so that no picture depends on where the test runs.
    """
    monkeypatch.chdir(tmp_path)

    def compare(
        *worlds: World,
        keys: tuple[str, ...] = (),
        size: tuple[int, int] = SMALL,
        then: Step | None = None,
        **options: object,
    ) -> bool:
        clock = StillClock()
        sockets = tuple(Path(f"admin{number}.sock") for number in range(1, len(worlds) + 1))
        app = Console(Options(tuple(local(each) for each in sockets), automatic=False, **options), clock)  # type: ignore[arg-type]

        async def act(pilot: Pilot[int]) -> None:
            async with AsyncExitStack() as stack:
                sidecars = [
                    await stack.enter_async_context(running(socket, world))
                    for socket, world in zip(sockets, worlds, strict=True)
                ]
                desk = Bench(app, pilot, sidecars, clock)
                await _traffic(desk)
                for key in keys:
                    await desk.press(key)
                    await desk.second()
                if then is not None:
                    await then(desk)
                await desk.settle()

        return snap_compare(app, terminal_size=size, run_before=act)

    return compare


async def _traffic(desk: Bench) -> None:
    """Half a minute of it, always the same."""
    dice = random.Random(20)
    desk.happened()
    with desk.app.batch_update():  # nobody looks meanwhile
        for _ in range(30):
            for sidecar in desk.sidecars:
                sidecar.world.advance(
                    1, bytes_in=dice.randrange(20_000), bytes_out=dice.randrange(900_000), connections=dice.randrange(3)
                )
            desk.clock.move(1)
            await desk.app.tick()
    await desk.settle()


@ALL_SIZES
@pytest.mark.parametrize("world", [healthy, degraded])
def test_overview(look: Look, world: Callable[[], World], size: tuple[int, int]) -> None:
    assert look(world(), size=size)


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("console", "test_overview[degraded-80x24]"),
        ("traffic", "test_tab[traffic-120x40]"),
        ("fleet", "test_sidecars[80x24]"),
    ],
)
def test_the_pictures_in_the_documents_are_of_the_present(name: str, test: str) -> None:
    picture = Path(__file__).parents[2] / "docs" / f"{name}.svg"
    snapshot = Path(__file__).parent / "__snapshots__" / "test_snapshots" / f"{test}.svg"
    assert picture.read_text() == snapshot.read_text(), f"cp '{snapshot}' '{picture}'"


@ALL_SIZES
@pytest.mark.parametrize("key", list("2345678"), ids=TAB_NAMES[1:])
def test_tab(look: Look, key: str, size: tuple[int, int]) -> None:
    assert look(degraded(), keys=(key,), size=size)


@pytest.mark.parametrize("span", ["1 min", "15 min", "2 h"])
def test_traffic_fills_a_large_screen(look: Look, span: str) -> None:
    keys = {"1 min": ("7", "t"), "15 min": ("7", "t", "t"), "2 h": ("7",)}[span]
    assert look(degraded(), keys=keys, size=(200, 50))


@pytest.mark.parametrize("how", ["ascii", "hostile"])
def test_traffic_otherwise(look: Look, how: str) -> None:
    assert look(degraded() if how == "ascii" else hostile(), keys=("7",), ascii_art=how == "ascii")


@ALL_SIZES
def test_connection(look: Look, size: tuple[int, int]) -> None:
    assert look(healthy(), keys=("2", "down", "enter"), size=size)


@ALL_SIZES
def test_groups(look: Look, size: tuple[int, int]) -> None:
    assert look(crowded(connections=400), keys=("2", "b"), size=size)


def test_kinds(look: Look) -> None:
    assert look(healthy(), keys=("5", "e"))


async def _mistaken(desk: Bench) -> None:
    await desk.press("2", "slash", *"cart listner:raw")
    await desk.second()


def test_a_mistake_in_the_filter(look: Look) -> None:
    assert look(crowded(connections=400), then=_mistaken)


@ALL_SIZES
@pytest.mark.parametrize(
    "keys",
    [("3", "enter"), ("4", "b", "enter"), ("5", "enter"), ("enter",), ("G", "enter"), ("4", "enter"), ("8", "enter")],
    ids=["certificate", "refusal", "event", "problem", "listener", "party", "failure"],
)
def test_detail(look: Look, keys: tuple[str, ...], size: tuple[int, int]) -> None:
    assert look(degraded(), keys=keys, size=size)


@SIZES
@pytest.mark.parametrize("key", list("12345678"), ids=TAB_NAMES)
def test_empty(look: Look, key: str, size: tuple[int, int]) -> None:
    assert look(empty(), keys=(key,), size=size)


@pytest.mark.parametrize("key", ["1", "3"], ids=["overview", "certificates"])
def test_expired(look: Look, key: str) -> None:
    assert look(expired(), keys=(key,))


@SIZES
@pytest.mark.parametrize("key", list("12345678"), ids=TAB_NAMES)
def test_stale(look: Look, key: str, size: tuple[int, int]) -> None:
    assert look(healthy(), keys=(key,), size=size, then=_lose)


@SIZES
def test_stale_connection(look: Look, size: tuple[int, int]) -> None:
    assert look(healthy(), keys=("2", "enter"), size=size, then=_lose)


async def _lose(desk: Bench) -> None:
    await desk.sidecar.stop()
    await desk.second(7)


def test_toast(look: Look) -> None:
    async def act(desk: Bench) -> None:
        desk.sidecar.refuses = "the key does not belong to the certificate (/etc/tls/tls.key)"
        await desk.press("y", "a", "enter", "y")
        await desk.eventually(lambda: len(desk.toasts) == 3)

    assert look(healthy(), then=act)


def test_not_connected(look: Look) -> None:
    async def never(desk: Bench) -> None:
        desk.app.monitor.model.status = None
        await desk.sidecar.stop()
        await desk.second(3)

    assert look(healthy(), then=never)


def test_paused(look: Look) -> None:
    async def pause(desk: Bench) -> None:
        await desk.press("p")
        desk.sidecar.world.refuse(3)
        await desk.second(12)

    assert look(healthy(), then=pause)


def test_filtered_and_sorted(look: Look) -> None:
    async def narrow(desk: Bench) -> None:
        await desk.press("2", "slash", *"cart", "enter", "O")
        await desk.second()

    assert look(crowded(connections=400), then=narrow)


def test_wide(look: Look) -> None:
    assert look(healthy(), keys=("2", "w", "right", "right", "right"))


@pytest.mark.parametrize("keys", [(), ("4", "down")], ids=["overview", "refusals"])
def test_without_colours(look: Look, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert look(degraded(), keys=keys)


def test_ascii(look: Look) -> None:
    assert look(degraded(), ascii_art=True)


def test_terminal_colours(look: Look) -> None:
    assert look(degraded(), theme="ansi-dark")


def test_read_only(look: Look) -> None:
    assert look(healthy(), read_only=True)


@pytest.mark.parametrize("keys", [(), ("2",), ("4", "b", "enter")], ids=["overview", "connections", "refusal"])
def test_hostile(look: Look, keys: tuple[str, ...]) -> None:
    assert look(hostile(), keys=keys)


@pytest.mark.parametrize(
    "keys", [("2", "a"), ("a", "down", "down", "enter"), ("question_mark",)], ids=["menu", "question", "help"]
)
def test_window(look: Look, keys: tuple[str, ...]) -> None:
    async def press(desk: Bench) -> None:
        for key in keys:
            await desk.press(key)
            await desk.second()

    assert look(healthy(), then=press)


@SIZES
def test_sidecars(look: Look, size: tuple[int, int]) -> None:
    """One that is well, one in trouble, one that is silent, one with an expired certificate; one is marked."""
    others = [degraded(), healthy(), expired()]
    for number, other in enumerate(others):
        other.status["node"] = f"db-{number}"

    async def press(desk: Bench) -> None:
        await desk.sidecars[2].stop()
        await desk.second()
        await desk.press("down", "space")

    assert look(healthy(), *others, size=size, then=press)


def test_an_action_on_several(look: Look) -> None:
    other = degraded()
    other.status["node"] = "db-7"
    assert look(healthy(), other, keys=("M", "a", "down", "down", "enter"))
