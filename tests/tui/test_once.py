"""One look without a terminal: data on stdout, the rest on stderr, and an exit code that says how bad it is."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from ui_clock import StillClock
from ui_sidecar import Sidecar, running
from ui_world import HOSTILE, World, degraded, empty, expired, healthy, hostile

from tui.once import Format, OnceOptions, once
from tui.reach.targets import local
from tui.sight import Exit

Serve = Callable[[World], Awaitable[Sidecar]]


async def _once(clock: StillClock, *sockets: Path, **options: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    chosen = OnceOptions(tuple(local(each) for each in sockets), **options)  # type: ignore[arg-type]
    code = await asyncio.to_thread(once, chosen, out=out, err=err, clock=clock, randomness=random.Random(1))
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("world", "code"),
    [(healthy, Exit.OK), (empty, Exit.OK), (degraded, Exit.CRITICAL), (expired, Exit.CRITICAL)],
)
async def test_the_exit_code_says_how_bad_it_is(
    serve: Serve, clock: StillClock, world: Callable[[], World], code: Exit
) -> None:
    sidecar = await serve(world())
    got, out, err = await _once(clock, sidecar.socket)
    assert (got, err) == (code, "")
    assert all(title in out for title in ("Problems", "Refused", "Expires next", "Traffic"))
    assert all(len(line) <= 100 for line in out.splitlines())


async def test_warnings_alone_are_one(serve: Serve, clock: StillClock) -> None:
    world = healthy()
    world.status["problems"] = [{"severity": "warning", "code": "connections_nearly_full", "message": "web is full"}]
    sidecar = await serve(world)
    assert (await _once(clock, sidecar.socket))[0] == Exit.WARNING


async def test_unreachable_says_so_on_stderr_only(clock: StillClock, socket: Path) -> None:
    code, out, err = await _once(clock, socket)
    assert (code, out) == (Exit.UNREACHABLE, "")
    assert err == f"tlsidecar ui: no socket at {socket}: is tlsidecar running?\n"


async def test_the_table_cannot_steer_the_terminal(serve: Serve, clock: StillClock) -> None:
    sidecar = await serve(hostile())
    for form in (Format.TABLE, Format.WIDE):
        _, out, err = await _once(clock, sidecar.socket, format=form)
        assert err == ""
        assert all(line.isprintable() for line in out.split("\n"))


async def test_wide_has_every_column_and_the_connections(serve: Serve, clock: StillClock) -> None:
    sidecar = await serve(healthy())
    _, out, _ = await _once(clock, sidecar.socket, format=Format.WIDE)
    assert "Connections  the newest 12 of 12" in out
    assert "RULE" in out
    assert "TLSv1.3" in out
    assert "Problems" in out


async def test_ascii(serve: Serve, clock: StillClock) -> None:
    sidecar = await serve(degraded())
    _, out, _ = await _once(clock, sidecar.socket, ascii_art=True)
    assert out.isascii()


async def test_json_is_verbatim(serve: Serve, clock: StillClock) -> None:
    world = hostile()
    sidecar = await serve(world)
    code, out, _ = await _once(clock, sidecar.socket, format=Format.JSON)
    assert out.isascii()
    (told,) = json.loads(out)["sidecars"]
    assert told["reachable"]
    assert told["exit_code"] == code
    assert told["status"]["node"] == world.status["node"]
    assert told["refusals"] == world.refusals[:100]
    assert told["certificates"]["source"] in HOSTILE
    assert told["findings"][0]["severity"] == "critical"


async def test_several_sidecars_are_a_list_worst_first(serve: Serve, clock: StillClock, socket: Path) -> None:
    good, bad = await serve(healthy()), await serve(degraded())
    code, out, err = await _once(clock, good.socket, bad.socket)
    assert (code, err) == (Exit.CRITICAL, "")
    lines = out.splitlines()
    assert lines[0] == "tlsidecar  2 sidecars  1 critical  1 ok"
    assert lines[2].split()[:4] == ["NAME", "STATE", "PROBLEM", "CERT"]
    assert ["degraded" in lines[3], "ready" in lines[4]] == [True, True]
    assert all(len(line) <= 100 for line in lines)
    problems = out[out.index("Problems") :]
    assert all(problem["message"].split()[0] in problems for problem in bad.world.status["problems"])

    code, out, err = await _once(clock, good.socket, socket, bad.socket)
    assert code == Exit.UNREACHABLE
    assert [line.split()[-1] for line in out.splitlines()[3:6]] == ["-", bad.world.status["node"], "web-1"]
    assert err == f"tlsidecar ui: {socket}: no socket at {socket}: is tlsidecar running?\n"
    _, out, _ = await _once(clock, good.socket, socket, format=Format.JSON)
    first, second = json.loads(out)["sidecars"]
    assert (first["reachable"], first["socket"], first["status"]) == (False, str(socket), None)
    assert (second["reachable"], second["socket"]) == (True, str(good.socket))
    _, out, _ = await _once(clock, good.socket, bad.socket, format=Format.WIDE)
    assert out.count("Expires next") == 2
    assert out.index("degraded") < out.index("ready")


async def test_a_directory_is_its_sockets(serve: Serve, clock: StillClock, tmp_path: Path) -> None:
    await serve(healthy())
    (tmp_path / "a-file").write_text("")
    below = tmp_path / "below"
    below.mkdir()
    async with (
        running(below / "admin.sock", healthy()),
        running(below / "other.sock", healthy()),
        running(tmp_path / "admin.take", healthy()),
    ):
        code, out, err = await _once(clock, tmp_path)
        assert (code, err) == (Exit.OK, "")
        assert [line.split()[0] for line in out.splitlines()[3:]] == ["admin1.sock", "below/admin.sock"]
    empty_folder = tmp_path / "empty"
    empty_folder.mkdir()
    code, out, err = await _once(clock, empty_folder)
    assert (code, err) == (3, f"tlsidecar ui: {empty_folder}: no socket *.sock in {empty_folder}\n")


async def test_what_several_sidecars_tell_cannot_steer_the_terminal(serve: Serve, clock: StillClock) -> None:
    first, second = await serve(hostile()), await serve(hostile())
    _, out, err = await _once(clock, first.socket, second.socket, ascii_art=True)
    assert err == ""
    assert out.isascii()
    assert all(line.isprintable() for line in out.split("\n"))


class _Reader(io.StringIO):
    """Leaves after so many lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self._left = lines

    def write(self, text: str) -> int:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return super().write(text)


async def test_watching_is_a_line_of_json_a_time(serve: Serve, clock: StillClock, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("tui.once.POLL_INTERVAL_S", 0.0)
    sidecar = await serve(healthy())
    out = _Reader(3)
    options = OnceOptions((local(sidecar.socket),), watch=True)
    code = await asyncio.to_thread(once, options, out=out, err=io.StringIO(), clock=clock)
    assert code == 130
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == 3
    assert all(line["status"]["node"] == "web-1" and line["refusals"] is None for line in lines)
    assert {target for _, target in sidecar.requests} == {"/v1/status"}
