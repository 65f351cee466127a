"""The controls of a replay, and what its keys do, without a screen."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ui_clock import StillClock
from ui_world import NOW, World, healthy, stamp

from tlsidecar.api.history import history_target
from tlsidecar.api.recording import Recording, Writer, read_recording
from tui.client import AdminClient
from tui.monitor import Monitor
from tui.plan import Interest
from tui.reach.endpoints import SocketEndpoint
from tui.records import Severity
from tui.replay.playback import Playback
from tui.replay.player import Player
from tui.replay.source import replay_sources
from tui.screens.choice import Field, Window
from tui.screens.replay import ReplayKeys
from tui.text import SafeText

LENGTH_S = 60
MARKS_S = {"a.sock": (12.0, 40.0), "b\u200b.sock": (25.0,), "b.sock": (30.0,)}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A minute of three sidecars, of which one cannot be shown as it is called."""
    file = tmp_path_factory.mktemp("player") / "r.gz"
    written = io.BytesIO()
    writer = Writer(written, NOW)
    for name in MARKS_S:
        world, number = healthy(), writer.sidecar(name)
        world.status["generation"] = 1
        for t in range(0, LENGTH_S + 1, 5):
            world.status["generation"] += 1
            writer.reply(float(t), number, "/v1/status", world.document("status"))
            world.advance(5, bytes_out=5000)
        writer.reply(float(LENGTH_S), number, history_target(60, 1, of_each=False), _history(world, MARKS_S[name]))
    writer.close()
    file.write_bytes(written.getvalue())
    return read_recording(file)


def _history(world: World, moments: tuple[float, ...]) -> dict[str, Any]:
    past = world.past(60, 1)
    nowhere = [{"at": None, "kind": "reload"}, {"at": stamp(NOW - timedelta(days=1)), "kind": "reload"}]
    past["marks"] = [*nowhere, *({"at": stamp(NOW + timedelta(seconds=t)), "kind": "reload"} for t in moments)]
    return past


@pytest.fixture
def playback(recording: Recording, clock: StillClock) -> Playback:
    return Playback(recording, clock)


async def _monitors(playback: Playback) -> list[Monitor]:
    endpoints = [endpoint for source in replay_sources(playback) for endpoint in await source.endpoints()]
    return [Monitor(AdminClient(endpoint), playback, random.Random(1)) for endpoint in endpoints]


def test_the_label_says_when_and_how_time_goes(playback: Playback, clock: StillClock) -> None:
    player = Player(playback)
    assert player.label == "REPLAY 23:15:00Z 1x"
    playback.faster(1)
    clock.move(2)
    assert player.label == "REPLAY 23:15:04Z 2x"
    playback.pause(True)
    clock.move(100)
    assert player.label == "REPLAY 23:15:04Z paused"
    playback.pause(False)
    clock.move(100)
    assert player.label == "REPLAY 23:16:00Z end"


@pytest.mark.parametrize(("t", "comes_to", "generation"), [(30.0, 30.0, 8), (-5.0, 0.0, 2), (1e9, 60.0, 14)])
async def test_what_was_known_then_is_known_and_what_comes_after_is_forgotten(
    playback: Playback, t: float, comes_to: float, generation: int
) -> None:
    player, monitors = Player(playback), await _monitors(playback)
    playback.pause(True)
    for moment in (60.0, t):
        await player.seek(moment, monitors, lambda monitor: Interest(needs=None))
    assert playback.t == comes_to
    for monitor in monitors:
        status = monitor.model.status
        assert status is not None
        assert status.generation == generation
        assert monitor.model.restarts == 0, "another moment is no other process"
        assert (monitor.model.snapshot(playback.monotonic()).rates.bytes_out_per_s is None) == (comes_to == 0.0)


async def test_marks_are_those_of_the_sidecar_shown_whatever_it_is_called(playback: Playback) -> None:
    player, monitors = Player(playback), await _monitors(playback)
    assert [str(monitor.name) for monitor in monitors] == ["a.sock", "b\\u200b.sock", "b.sock"]
    for monitor, moments in zip(monitors, MARKS_S.values(), strict=True):
        playback.seek(0)
        visited = []
        while (t := player.mark(1, monitor)) is not None:
            visited.append(t)
            playback.seek(t)
        assert tuple(visited) == moments
        assert player.mark(-1, monitor) == (moments[-2] if len(moments) > 1 else None)
        playback.seek(moments[-1] + 0.4)
        assert player.mark(-1, monitor) == (moments[-2] if len(moments) > 1 else None), "one is at it still"
        playback.seek(moments[-1] + 0.6)
        assert player.mark(-1, monitor) == moments[-1]


def test_what_is_no_recording_has_no_marks(playback: Playback, clock: StillClock) -> None:
    monitor = Monitor(AdminClient(SocketEndpoint(Path("x.sock"))), clock, random.Random(1))
    assert Player(playback).mark(1, monitor) is None


class Desk:
    """Who the keys are for; a window is answered as was said."""

    def __init__(self, playback: Playback, monitors: list[Monitor]) -> None:
        self.player: Player | None = Player(playback)
        self.monitors = monitors
        self.monitor = monitors[0]
        self.answer: str | None = None
        self.told: list[tuple[str, Severity | None]] = []
        self.drawn = self.moments = 0
        self._seeking: asyncio.Task[Any] | None = None

    def interest(self, monitor: Monitor) -> Interest:
        return Interest(needs=None)

    def moment_changed(self) -> None:
        self.moments += 1

    def repaint(self) -> None:
        self.drawn += 1

    async def push_screen_wait(self, screen: Window) -> str | None:
        assert isinstance(screen, Field)
        return self.answer

    def run_worker(self, work: Coroutine[Any, Any, Any], *, group: str, exclusive: bool, exit_on_error: bool) -> None:
        assert (group, exclusive, exit_on_error) == ("seek", True, False)
        self._seeking = asyncio.ensure_future(work)

    def tell(self, words: SafeText, severity: Severity | None = None) -> None:
        self.told.append((words, severity))

    async def there(self) -> float:
        """Where one is, once the jump is over."""
        if self._seeking is not None:
            await self._seeking
        assert self.player is not None
        return self.player.playback.t


async def test_a_step_stands_still_where_it_leads(playback: Playback, clock: StillClock) -> None:
    desk = Desk(playback, await _monitors(playback))
    keys = ReplayKeys(desk)
    keys.step(7)
    assert await desk.there() == 7.0
    clock.move(30)
    assert await desk.there() == 7.0
    keys.step(-60)
    assert await desk.there() == 0.0
    assert desk.moments == 2
    keys.pause()
    clock.move(3)
    assert await desk.there() == 3.0
    keys.faster(1)
    assert (playback.speed, desk.drawn) == (2.0, 1)


async def test_beyond_the_last_mark_it_stays_and_says_so(playback: Playback) -> None:
    desk = Desk(playback, await _monitors(playback))
    keys = ReplayKeys(desk)
    playback.pause(True)
    for t in MARKS_S["a.sock"]:
        keys.to_mark(1)
        assert await desk.there() == t
    keys.to_mark(1)
    assert await desk.there() == MARKS_S["a.sock"][-1]
    assert desk.told == [("no reload and no problem after this", None)]
    playback.seek(0)
    keys.to_mark(-1)
    assert desk.told[-1] == ("no reload and no problem before this", None)


@pytest.mark.parametrize(
    ("typed", "comes_to", "told"),
    [
        ("+20s", 20.0, None),
        ("-10s", 50.0, None),
        ("23:15:30", 30.0, None),
        (None, 0.0, None),
        ("soon\x1b[2J", 0.0, "'soon\\x1b[2J' is no moment"),
        ("23:59", 0.0, "23:59 is not in the recording, which is of 23:15:00Z to 23:16:00Z"),
    ],
)
async def test_a_moment_that_is_typed(playback: Playback, typed: str | None, comes_to: float, told: str | None) -> None:
    desk = Desk(playback, await _monitors(playback))
    desk.answer = typed
    playback.pause(True)
    await ReplayKeys(desk).to_typed()
    assert await desk.there() == comes_to
    if told is None:
        assert desk.told == []
    else:
        ((words, severity),) = desk.told
        assert words.startswith(told)
        assert severity is Severity.CRITICAL
