"""How each screen looks, at 80x24, 120x40 and 200x50: with data, empty, in error, stale, paused, expired, without
colours. A console is started once for all pictures of one sidecar at one size.

After a change that is meant: ``pytest tests/tui/test_snapshots.py --snapshot-update``, then look at each picture. One
that is not as it was is written to the test's folder, which its failure names.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pytest_textual_snapshot import SVGImageExtension
from syrupy.assertion import SnapshotAssertion
from ui_bench import Bench
from ui_clock import StillClock
from ui_sidecar import running
from ui_world import World, crowded, degraded, empty, expired, healthy, hostile

from tui.app import Console
from tui.options import Options
from tui.reach.targets import local
from tui.tabs import TABS

SMALL = (80, 24)
TAB_NAMES = [tab.name.lower() for tab in TABS]
SIZES = {"80x24": SMALL, "120x40": (120, 40), "200x50": (200, 50)}
every_size = pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
two_sizes = pytest.mark.parametrize("size", list(SIZES.values())[:2], ids=list(SIZES)[:2])


@dataclass
class Album(Bench):
    """A console whose screen is held against pictures; each second has the traffic that it always had."""

    dice: random.Random = field(default_factory=lambda: random.Random(20))
    pictures: SnapshotAssertion = None  # type: ignore[assignment]
    folder: Path = Path()
    differing: list[str] = field(default_factory=list)

    def pass_a_second(self) -> None:
        for sidecar in self.sidecars:
            moved, connections = (self.dice.randrange(20_000), self.dice.randrange(900_000)), self.dice.randrange(3)
            sidecar.world.advance(1, bytes_in=moved[0], bytes_out=moved[1], connections=connections)
        self.clock.move(1)

    async def second(self, number: int = 1) -> None:
        for _ in range(number):
            self.pass_a_second()
            await self.app.tick()
        await self.settle()

    async def visit(self, *keys: str) -> None:
        """Press these, a second apart."""
        for key in keys:
            await self.press(key)
            await self.second()

    async def picture(self, name: str, *keys: str) -> None:
        """The screen after these keys, as it was when the picture of this name was looked at."""
        await self.visit(*keys)
        await self.settle()
        drawn = self.app.export_screenshot(title=self.app.title, simplify=True)
        if self.pictures(name=name) != drawn:
            file = self.folder / f"{name}.svg"
            file.write_text(drawn)
            self.differing.append(str(file))


Albums = Callable[..., AbstractAsyncContextManager[Album]]


@pytest.fixture
def album(snapshot: SnapshotAssertion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Albums:
    """``async with album(world, size=…) as desk`` after half a minute of traffic.

    The sockets have relative names, so that no picture depends on where the test runs.
    """
    monkeypatch.chdir(tmp_path)
    pictures = snapshot.use_extension(SVGImageExtension)

    @asynccontextmanager
    async def opened(*worlds: World, size: tuple[int, int] = SMALL, **options: object) -> AsyncIterator[Album]:
        clock = StillClock()
        sockets = [Path(f"admin{number}.sock") for number in range(1, len(worlds) + 1)]
        app = Console(Options(tuple(map(local, sockets)), automatic=False, **options), clock)  # type: ignore[arg-type]
        async with AsyncExitStack() as stack:
            sidecars = [
                await stack.enter_async_context(running(socket, world))
                for socket, world in zip(sockets, worlds, strict=True)
            ]
            pilot = await stack.enter_async_context(app.run_test(size=size, notifications=True))
            desk = Album(app, pilot, sidecars, clock, pictures=pictures, folder=tmp_path)
            await _traffic(desk)
            yield desk
        assert desk.differing == [], "other than it was: look at it beside the one in __snapshots__"

    return opened


async def _traffic(desk: Album) -> None:
    """Half a minute of it; nobody looks meanwhile."""
    desk.happened()
    for _ in range(30):
        desk.pass_a_second()
        for monitor in desk.app.monitors:
            await monitor.poll(desk.app.interest(monitor))
    await desk.app.tick()
    await desk.settle()


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("console", "test_in_trouble[80x24][overview]"),
        ("traffic", "test_in_trouble[120x40][traffic]"),
        ("fleet", "test_sidecars[80x24][list]"),
    ],
)
def test_the_pictures_in_the_documents_are_of_the_present(name: str, test: str) -> None:
    picture = Path(__file__).parents[2] / "docs" / f"{name}.svg"
    snapshot = Path(__file__).parent / "__snapshots__" / "test_snapshots" / f"{test}.svg"
    assert picture.read_text() == snapshot.read_text(), f"cp '{snapshot}' '{picture}'"


@every_size
async def test_in_trouble(album: Albums, size: tuple[int, int]) -> None:
    """Each tab, and each thing in full."""
    async with album(degraded(), size=size) as desk:
        await desk.picture("overview")
        await desk.picture("problem", "enter")
        await desk.visit("escape")
        await desk.picture("listener", "G", "enter")
        await desk.visit("escape")
        for number, tab in enumerate(TAB_NAMES[1:], 2):
            await desk.picture(tab, str(number))
        await desk.picture("certificate", "3", "enter")
        await desk.picture("event", "escape", "5", "enter")
        await desk.picture("failure", "escape", "8", "enter")
        await desk.picture("party", "escape", "4", "enter")
        await desk.picture("refusal", "escape", "b", "enter")
        if size == (200, 50):
            await desk.picture("traffic of a minute", "escape", "7", "t")
            await desk.picture("traffic of 15 minutes", "t")


@every_size
async def test_well(album: Albums, size: tuple[int, int]) -> None:
    async with album(healthy(), size=size) as desk:
        await desk.picture("overview")
        await desk.picture("connection", "2", "down", "enter")
        await desk.visit("escape")
        if size != SMALL:
            return
        await desk.picture("menu", "a")
        await desk.picture("wide", "escape", "w", "right", "right", "right")
        await desk.visit("w")
        await desk.picture("kinds", "5", "e")
        await desk.picture("question", "escape", "1", "a", "down", "down", "enter")
        await desk.picture("help", "escape", "question_mark")
        await desk.press("escape", "p")
        desk.sidecar.world.refuse(3)
        await desk.second(12)
        await desk.picture("paused")
        await desk.press("p")
        await desk.second()
        desk.sidecar.refuses = "the key does not belong to the certificate (/etc/tls/tls.key)"
        await desk.press("y", "a", "enter", "y")
        await desk.eventually(lambda: len(desk.toasts) == 3)
        await desk.picture("toast")


@two_sizes
async def test_stale(album: Albums, size: tuple[int, int]) -> None:
    """Each tab was looked at before the socket was lost."""
    async with album(healthy(), size=size) as desk:
        await desk.visit(*"2345678")
        await desk.sidecar.stop()
        await desk.second(7)
        for number, tab in enumerate(TAB_NAMES, 1):
            await desk.picture(tab, str(number))
        await desk.picture("connection", "2", "enter")


@two_sizes
async def test_empty(album: Albums, size: tuple[int, int]) -> None:
    async with album(empty(), size=size) as desk:
        for number, tab in enumerate(TAB_NAMES, 1):
            await desk.picture(tab, str(number))


async def test_expired(album: Albums) -> None:
    async with album(expired()) as desk:
        await desk.picture("overview")
        await desk.picture("certificates", "3")


@every_size
async def test_many(album: Albums, size: tuple[int, int]) -> None:
    async with album(crowded(connections=400), size=size) as desk:
        await desk.picture("groups", "2", "b")
        if size != SMALL:
            return
        await desk.press(*"bbbbbb", "slash", *"cart listner:raw")
        await desk.second()
        await desk.picture("a mistake in the filter")
        await desk.press("escape", "slash", *"cart", "enter", "O")
        await desk.second()
        await desk.picture("filtered and sorted")


async def test_not_connected(album: Albums) -> None:
    async with album(healthy()) as desk:
        desk.app.monitor.model.status = None
        await desk.sidecar.stop()
        await desk.second(3)
        await desk.picture("overview")


async def test_without_colours(album: Albums, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with album(degraded()) as desk:
        await desk.picture("overview")
        await desk.picture("refusals", "4", "down")


async def test_ascii(album: Albums) -> None:
    async with album(degraded(), ascii_art=True) as desk:
        await desk.picture("overview")
        await desk.picture("traffic", "7")


async def test_terminal_colours(album: Albums) -> None:
    async with album(degraded(), theme="ansi-dark") as desk:
        await desk.picture("overview")


async def test_read_only(album: Albums) -> None:
    async with album(healthy(), read_only=True) as desk:
        await desk.picture("overview")


async def test_hostile(album: Albums) -> None:
    async with album(hostile()) as desk:
        await desk.picture("overview")
        await desk.picture("connections", "2")
        await desk.picture("traffic", "7")
        await desk.picture("refusal", "4", "b", "enter")


@two_sizes
async def test_sidecars(album: Albums, size: tuple[int, int]) -> None:
    """One that is well, one in trouble, one that is silent, one with an expired certificate; one is marked."""
    others = [degraded(), healthy(), expired()]
    for number, other in enumerate(others):
        other.status["node"] = f"db-{number}"
    async with album(healthy(), *others, size=size) as desk:
        await desk.sidecars[2].stop()
        await desk.second()
        await desk.press("down", "space")
        await desk.picture("list")
        await desk.picture("an action on several", "M", "a", "down", "down", "enter")
