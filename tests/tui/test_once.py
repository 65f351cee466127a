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
from ui_sidecar import Sidecar
from ui_world import HOSTILE, World, degraded, empty, expired, healthy, hostile

from tui.once import Exit, Format, OnceOptions, once

Serve = Callable[[World], Awaitable[Sidecar]]


async def _once(clock: StillClock, *sockets: Path, **options: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    chosen = OnceOptions(sockets, **options)  # type: ignore[arg-type]
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


async def test_several_sidecars_give_the_worst_code(serve: Serve, clock: StillClock, socket: Path) -> None:
    good, bad = await serve(healthy()), await serve(degraded())
    code, out, _ = await _once(clock, good.socket, bad.socket)
    assert code == Exit.CRITICAL
    assert out.count("Expires next") == 2
    code, out, err = await _once(clock, good.socket, socket)
    assert code == Exit.UNREACHABLE
    assert out.count("Expires next") == 1
    assert "no socket" in err
    _, out, _ = await _once(clock, good.socket, socket, format=Format.JSON)
    first, second = json.loads(out)["sidecars"]
    assert (first["reachable"], second["reachable"], second["status"]) == (True, False, None)


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
    options = OnceOptions((sidecar.socket,), watch=True)
    code = await asyncio.to_thread(once, options, out=out, err=io.StringIO(), clock=clock)
    assert code == 130
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(lines) == 3
    assert all(line["status"]["node"] == "web-1" and line["refusals"] is None for line in lines)
    assert {target for _, target in sidecar.requests} == {"/v1/status"}
