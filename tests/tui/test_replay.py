"""A recording in place of a sidecar: its time, its answers, its keys, and that it looks as what was recorded."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ui_bench import Bench
from ui_clock import StillClock
from ui_sidecar import running
from ui_world import HOSTILE, NOW, World, degraded, healthy, hostile, stamp

from tlsidecar.api.errors import Refused, Unreachable
from tlsidecar.api.history import history_target
from tlsidecar.api.recording import Recording, Writer, read_recording
from tui.app import Console
from tui.cli import main
from tui.client import AdminClient
from tui.clock import SYSTEM_CLOCK
from tui.once import OnceOptions, once
from tui.options import Options
from tui.past import SPANS
from tui.reach.targets import local
from tui.recorder import Recorder, open_new
from tui.replay.answers import Answers
from tui.replay.moments import seconds_of
from tui.replay.playback import Playback
from tui.replay.source import ReplayEndpoint, replay_sources
from tui.roster import Roster
from tui.text import SafeText

SECONDS = 120


def recorded(folder: Path, *worlds: World, seconds: int = SECONDS) -> Path:
    """So many seconds of these, all of it, with traffic; half way there is another generation."""
    file = folder / "recording.gz"
    with file.open("wb") as opened:
        writer = Writer(opened, NOW)
        for number, world in enumerate(worlds):
            writer.sidecar(f"s{number}.sock")
            for kind, fields in world.events:
                writer.event(0.0, number, kind, str(fields["seq"]), fields)
        for t in range(seconds):
            for number, world in enumerate(worlds):
                tell(writer, t, number, world)
                world.advance(1, bytes_in=1000, bytes_out=20_000, connections=2)
                if t == seconds // 2:
                    world.status["generation"] += 1
        writer.close()
    return file


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes in which all is well."""
    return recorded(tmp_path_factory.mktemp("in_order"), healthy())


@pytest.fixture(scope="module")
def in_trouble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes and a little, with problems."""
    return recorded(tmp_path_factory.mktemp("in_trouble"), degraded(), seconds=130)


@pytest.fixture(scope="module")
def two_minutes(in_order: Path) -> Recording:
    return read_recording(in_order)


def tell(writer: Writer, t: float, number: int, world: World) -> None:
    writer.reply(t, number, "/v1/status", world.document("status"))
    if t % 5:
        return
    total = {"now": stamp(world.now), "total": len(world.connections), "matched": len(world.connections)}
    writer.reply(t, number, "/v1/connections?limit=200", {**total, "connections": world.connections[::-1]})
    refusals = {"now": stamp(world.now), "total": len(world.refusals), "refusals": world.refusals}
    writer.reply(t, number, "/v1/refusals?limit=200", refusals)
    writer.reply(t, number, "/v1/failures?limit=100", {"now": stamp(world.now), **world.failures})
    writer.reply(t, number, "/v1/certificates", world.document("certificates"))
    for span in SPANS:
        past = world.past(span.span_s, span.step_s, upstream="*", identity="*")
        writer.reply(t, number, history_target(span.span_s, span.step_s, of_each=True), past)


@asynccontextmanager
async def replaying(file: Path, size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[Bench, Playback, StillClock]]:
    """A console on it, at its beginning; the real clock moves by hand."""
    real = StillClock()
    playback = Playback(read_recording(file), real)
    options = Options(replay_sources(playback), read_only=True, automatic=False, playback=playback)
    app = Console(options, playback)
    async with app.run_test(size=size) as pilot:
        desk = Bench(app, pilot, [], real)
        await app.tick()
        await desk.settle()
        yield desk, playback, real


async def pressed(desk: Bench, *keys: str) -> None:
    """Keys that jump, and the jump."""
    await desk.press(*keys)
    await desk.app.workers.wait_for_complete(
        [worker for worker in desk.app.workers if worker.group == "seek" and not worker.is_finished]
    )
    await desk.settle()


def test_time_runs_stands_still_jumps_and_ends(two_minutes: Recording) -> None:
    real = StillClock()
    playback = Playback(two_minutes, real)
    assert (playback.t, playback.now()) == (0.0, NOW)
    real.move(3)
    before = playback.monotonic()
    playback.faster(1)
    real.move(3)
    assert (playback.t, playback.monotonic() - before) == (9.0, 6.0)
    playback.pause(True)
    real.move(50)
    assert playback.t == 9.0
    playback.pause(False)
    playback.faster(-9)
    real.move(4)
    assert (playback.speed, playback.t) == (0.25, 10.0)
    playback.seek(-5)
    assert playback.t == 0.0
    playback.faster(9)
    real.move(3)
    assert (playback.speed, playback.t, playback.is_over) == (60.0, SECONDS - 1.0, True)


async def test_the_answer_is_the_newest_up_to_the_moment(two_minutes: Recording) -> None:
    playback = Playback(two_minutes, StillClock())
    client = AdminClient(ReplayEndpoint(SafeText("x"), Answers(playback.recording.tracks[0], playback)))
    for t, generation in ((0, 3), (60, 3), (61, 4), (119, 4)):
        playback.seek(t)
        status = await client.read("/v1/status")
        assert (status["generation"], status["now"]) == (generation, stamp(playback.now()))
    with pytest.raises(Refused, match="this is not in the recording"):
        await client.read("/v1/connections", group="identity")
    with pytest.raises(Refused, match="no connection 4711"):
        await client.read("/v1/connections/4711")
    with pytest.raises(Refused, match="this is a recording"):
        await client.change("POST", "/v1/reload")
    assert (await client.read("/v1/connections/7"))["connection"]["id"] == 7
    await client.close()


async def test_lists_are_filtered_sorted_and_cut(tmp_path: Path) -> None:
    playback = Playback(read_recording(recorded(tmp_path, healthy(connections=60))), StillClock())
    client = AdminClient(ReplayEndpoint(SafeText("x"), Answers(playback.recording.tracks[0], playback)))
    page = await client.read("/v1/connections", sort="id", order="asc", offset=10, limit=5)
    assert ([row["id"] for row in page["connections"]], page["matched"]) == ([11, 12, 13, 14, 15], 60)
    page = await client.read("/v1/connections", filter="listener:web sa/cart", sort="id", order="desc", limit=3)
    assert {row["listener"] for row in page["connections"]} == {"web"}
    assert 3 == len(page["connections"]) < page["matched"] < 60
    assert (await client.read("/v1/refusals", limit=2))["refusals"][1]["seq"] == 2
    with pytest.raises(Refused, match="at character"):
        await client.read("/v1/connections", filter="nofield:x", limit=3)
    await client.close()


async def test_what_was_not_recorded_is_said(tmp_path: Path) -> None:
    file = tmp_path / "gap.gz"
    with file.open("wb") as opened:
        writer = Writer(opened, NOW)
        number = writer.sidecar("a.sock")
        writer.reply(0.0, number, "/v1/status", healthy().document("status"))
        writer.lost(5.0, number, "nobody listens on a.sock: the sidecar has ended")
        writer.reply(9.0, number, "/v1/status", healthy().document("status"))
        writer.reply(99.0, number, "/v1/failures", {"total": 0, "failures": []})
        writer.close()
    playback = Playback(read_recording(file), StillClock())
    client = AdminClient(ReplayEndpoint(SafeText("x"), Answers(playback.recording.tracks[0], playback)))
    await client.read("/v1/status")
    for t, why in ((6, "nobody listens on a.sock"), (60, "nothing was recorded of it for 51 s")):
        playback.seek(t)
        with pytest.raises(Unreachable, match=why):
            await client.read("/v1/status")
    playback.seek(10)
    await client.read("/v1/status")
    await client.close()


async def test_events_come_up_to_the_moment(tmp_path: Path) -> None:
    world = healthy()
    playback = Playback(read_recording(recorded(tmp_path, world)), StillClock())
    client = AdminClient(ReplayEndpoint(SafeText("x"), Answers(playback.recording.tracks[0], playback)))
    stream = client.events(2)
    seen = [(await anext(stream)).id for _ in range(len(world.events) - 2)]
    assert seen == [str(fields["seq"]) for _, fields in world.events[2:]]
    await stream.aclose()


async def test_it_looks_as_what_was_recorded(in_trouble: Path) -> None:
    async with replaying(in_trouble) as (desk, playback, real):
        for _ in range(30):
            real.move(1)
            await desk.app.tick()
        await desk.settle()
        assert "REPLAY 23:15:30Z 1x" in desk.lines[0]
        assert "new material was refused" in desk.text
        assert "20.0 KiB/s" in desk.text or "19.5 KiB/s" in desk.text
        for key, words in (("2", "cart"), ("3", "Prod Root CA"), ("4", "not_allowed"), ("7", "Last 2 h")):
            await desk.press(key)
            await desk.app.tick()
            await desk.settle()
            assert words in desk.text
        await desk.press("2", "enter")
        await desk.app.tick()
        await desk.settle()
        assert "Connections > connection 1" in desk.text
        assert "actions" not in desk.lines[-1]
        assert playback.t == 30.0


async def test_its_keys(in_trouble: Path) -> None:
    async with replaying(in_trouble, (120, 40)) as (desk, playback, real):
        await desk.press("p")
        real.move(100)
        assert playback.t == 0.0
        assert "paused" in desk.lines[0]
        # What they reckon is in test_player.py; here each is pressed, and the screen is of the moment that it led to.
        for key, t, generation in (
            ("full_stop", 1.0, 3),
            ("greater_than_sign", 61.0, 3),
            ("comma", 60.0, 3),
            ("greater_than_sign", 120.0, 4),
            ("greater_than_sign", 129.0, 4),  # further than there is
            ("less_than_sign", 69.0, 4),
            ("less_than_sign", 9.0, 3),
        ):
            await pressed(desk, key)
            assert playback.t == t
            status = desk.app.view.shown.status
            assert status is not None
            assert status.generation == generation
            assert desk.app.view.shown.rates.bytes_out_per_s == pytest.approx(20_000)
        await desk.press("plus", "p")
        real.move(10)
        assert playback.t == 9.0 + 20.0
        await desk.press("minus")
        assert playback.speed == 1.0
        await desk.press("question_mark")
        assert "to the next reload or problem" in desk.text
        await desk.press("escape")
        # A console that is closed while it is paused ends as any other.
        await desk.press("p")


async def test_it_goes_from_mark_to_mark(in_trouble: Path) -> None:
    async with replaying(in_trouble) as (desk, playback, _):
        await desk.press("p")
        await pressed(desk, "right_square_bracket")
        first = playback.t
        assert first > 0
        while not any("no reload and no problem after this" in toast for toast in desk.toasts):
            assert len(desk.toasts) < 9
            await pressed(desk, "right_square_bracket")
        last = playback.t
        assert last >= first
        await pressed(desk, "left_square_bracket")
        assert playback.t <= last


async def test_several_sidecars_are_a_fleet(tmp_path: Path) -> None:
    async with replaying(recorded(tmp_path, degraded(), healthy(node="web-2"), seconds=20)) as (desk, _, real):
        real.move(5)
        for monitor in desk.app.monitors:
            await monitor.poll(desk.app.interest(monitor))
        desk.app.repaint()
        await desk.settle()
        assert "2 sidecars" in desk.lines[0]
        assert "REPLAY" in desk.lines[0]
        assert "s1.sock" in desk.text


async def test_hostile_text_is_shown_and_obeyed_by_nobody(tmp_path: Path) -> None:
    world = hostile()
    world.events = [("opened", {"seq": number, "identity": text}) for number, text in enumerate(HOSTILE, 1)]
    async with replaying(recorded(tmp_path, world, seconds=6)) as (desk, _, real):
        real.move(2)
        for key in "12345678":
            await desk.press(key)
            await desk.app.tick()
            await desk.settle()
            assert all(line.isprintable() for line in desk.lines)


async def test_once_prints_what_it_would_have_printed_then(tmp_path: Path) -> None:
    world, clock = degraded(), StillClock()
    file = recorded(tmp_path, degraded(), seconds=1)
    world.pasts = {(60, 10): world.past(900, 10)}  # the newest steps of what was recorded
    playback = Playback(read_recording(file), at_end=True)
    sources = replay_sources(playback)

    def look(options: OnceOptions, at: Any) -> tuple[int, str]:
        out = io.StringIO()
        return once(options, out=out, err=io.StringIO(), clock=at, randomness=random.Random(1)), out.getvalue()

    async with running(tmp_path / "s0.sock", world):
        live = await asyncio.to_thread(look, OnceOptions((local(tmp_path / "s0.sock"),)), clock)
    assert await asyncio.to_thread(look, OnceOptions(sources), playback) == live
    assert live[0] == 2


async def test_a_recorder_writes_all_that_is_told(tmp_path: Path) -> None:
    file, world = tmp_path / "new.gz", degraded()
    told: list[str] = []
    async with running(tmp_path / "a.sock", world) as sidecar:
        roster = Roster((local(sidecar.socket),), True, SYSTEM_CLOCK, random.Random(1))
        recorder = Recorder(open_new(file), roster, SYSTEM_CLOCK, told.append)
        async with asyncio.timeout(20):
            run = asyncio.create_task(recorder.run())
            while len([path for _, path in sidecar.requests if "history" in path]) < 3:
                await asyncio.sleep(0.01)
            await sidecar.stop()  # and it is gone
            while not run.done():
                await asyncio.sleep(0.01)
                recorder.close()
        await roster.close()
    recording: Recording = read_recording(file)
    track = recording.tracks[0]
    assert (track.name, recording.complaint, told) == (str(sidecar.socket), "", [])
    assert {target.partition("?")[0] for target in track.replies} == {
        *("/v1/status", "/v1/certificates", "/v1/connections", "/v1/refusals", "/v1/failures", "/v1/history")
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_directory_that_is_not_listed_yet_is_no_sidecar(tmp_path: Path) -> None:
    file, folder = tmp_path / "new.gz", tmp_path / "sockets"
    folder.mkdir()
    async with running(folder / "a.sock", healthy()) as sidecar, asyncio.timeout(20):
        roster = Roster((local(folder),), True, SYSTEM_CLOCK, random.Random(1))
        recorder = Recorder(open_new(file), roster, SYSTEM_CLOCK, lambda why: None)
        run = asyncio.create_task(recorder.run())
        await asyncio.sleep(0)  # it has begun, with nobody listed
        await roster.fill()
        while len(sidecar.requests) < 3:
            await asyncio.sleep(0.01)
        recorder.close()
        await run
        await roster.close()
    assert [track.name for track in read_recording(file).tracks.values()] == [str(folder / "a.sock")]


async def test_a_recording_that_cannot_be_written_ends_and_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    async with running(tmp_path / "a.sock", healthy()) as sidecar:
        roster = Roster((local(sidecar.socket),), True, SYSTEM_CLOCK, random.Random(1))
        full = open("/dev/full", "wb")  # noqa: SIM115 - it takes nothing; the recorder closes it
        recorder = Recorder(full, roster, SYSTEM_CLOCK, told.append)
        async with asyncio.timeout(20):
            run = asyncio.create_task(recorder.run())
            while recorder.is_recording:
                await asyncio.sleep(0.01)
                for _ in range(40):
                    recorder._write(roster.monitors[0], Writer.reply, "/v1/x", {"filler": os.urandom(4000).hex()})
            await run
        await roster.close()
    assert told[-1] == "the recording ends here: No space left on device"
    assert full.closed


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "there.gz"
    file.write_text("before")
    for path, words in ((file, "it exists already"), (tmp_path / "no" / "x", "No such file"), (tmp_path, "directory")):
        with pytest.raises(OSError, match=words):
            open_new(path)
    assert file.read_text() == "before"
    empty = tmp_path / "empty"
    empty.touch()
    open_new(empty).close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--replay", "missing.gz"],
        ["--replay", "."],
        ["--replay", "text"],
        ["--replay", "recording.gz", "--socket", "a.sock"],
        ["--replay", "recording.gz", "a.sock"],
        ["--replay", "recording.gz", "--watch"],
        ["--replay", "recording.gz", "--record", "b.gz"],
        ["--replay", "recording.gz", "--at", "noon"],
        ["--replay", "recording.gz", "--at", "+1h"],
        ["--replay", "recording.gz", "--at", "25:00"],
        ["--replay", "recording.gz", "--speed", "3"],
        ["--at", "+1s", "--once"],
        ["--record", "b.gz", "--once"],
        ["--record", "text", "--watch"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_line_and_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path, healthy(), seconds=1)
    (tmp_path / "text").write_text("not one\n")
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "b.gz").exists()


def test_one_that_was_cut_short_is_shown_and_said(
    tmp_path: Path, in_order: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, octets = tmp_path / "recording.gz", in_order.read_bytes()
    file.write_bytes(octets[: len(octets) * 2 // 3])
    assert main(["--once", "--replay", str(file)]) == 0
    told = capsys.readouterr()
    assert told.err == f"tlsidecar ui: {file}: it was cut short\n"
    assert "web-1" in told.out


@pytest.mark.parametrize(
    ("text", "t"),
    [
        ("+0s", 0),
        ("+1m30s", 90),
        ("-30s", SECONDS - 31),
        ("23:15", 0),
        ("23:16:05", 65),
        ("23:16:05Z", 65),
        ("2026-11-23T23:16:00Z", 60),
        ("2026-11-24T00:16:00+01:00", 60),
    ],
)
def test_a_moment_is_written_in_several_forms(two_minutes: Recording, text: str, t: float) -> None:
    assert seconds_of(text, two_minutes) == t


@pytest.mark.parametrize(
    "text", ["", "+", "5m", "24:00", "23:14", "23:18", "-3m", "2026-11-23", "tomorrow", "+1h\x1b[31m"]
)
def test_another_moment_is_refused_in_words(two_minutes: Recording, text: str) -> None:
    with pytest.raises(ValueError, match=r"is no moment|is not in the recording") as raised:
        seconds_of(text, two_minutes)
    assert str(raised.value).isprintable()


def test_once_is_of_the_moment_asked_for(in_order: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for at, generation in (("+30s", 3), ("-30s", 4)):
        assert main(["-o", "json", "--replay", str(in_order), "--at", at]) == 0
        assert json.loads(capsys.readouterr().out)["sidecars"][0]["status"]["generation"] == generation


async def test_to_a_moment_that_is_typed(in_order: Path) -> None:
    async with replaying(in_order) as (desk, playback, _):
        for typed, t in (("+7s", 7.0), ("-10s", playback.recording.end_s - 10.0)):
            await desk.press("at")
            await pressed(desk, *typed, "enter")
            assert playback.t == pytest.approx(t)
        before = playback.t
        await desk.press("at")
        await pressed(desk, *"noon", "enter")
        assert any("is no moment" in toast for toast in desk.toasts)
        await desk.press("at")
        await pressed(desk, "escape")
        assert playback.t == before


async def test_the_charts_of_one_identity_are_in_it(in_order: Path) -> None:
    async with replaying(in_order) as (desk, _, _):
        await pressed(desk, "full_stop", "7")
        await desk.app.tick()
        await pressed(desk, "b", "b", "l", "l")
        await desk.app.tick()
        await desk.settle()
        assert "identity backup" in desk.text
        assert "requests/s" in desk.text
