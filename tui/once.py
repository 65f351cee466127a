"""Without the interactive UI: one look, or a line a second, for scripts, logs and screen readers.

Exit codes: 0 all is well, 1 warnings, 2 something is critical, 3 not reachable.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TextIO

from tui.amounts import count, duration, grouped, utc
from tui.client import AdminClient
from tui.clock import SYSTEM_CLOCK, Clock
from tui.freshness import freshness
from tui.lines import ASCII_GLYPHS, UNICODE_GLYPHS, Line, heading, line
from tui.model import ConnectionQuery, Snapshot, Sort
from tui.monitor import Monitor
from tui.pages.chrome import Banner, identity_row
from tui.pages.connections import connections_table
from tui.pages.overview import overview
from tui.plan import POLL_INTERVAL_S, Interest
from tui.problems import problems, worst_severity
from tui.records import Problem, Severity
from tui.sheet import Look, Sheet
from tui.tabs import CONNECTIONS, OVERVIEW
from tui.text import EMPTY, SafeText, ascii_only

_TABLE_WIDTH = 100
_WIDE_WIDTH = 240
_UNBOUNDED_HEIGHT = 10_000
_WIDE_CONNECTIONS = 50


class Exit(IntEnum):
    """What the exit code says, as monitoring plug-ins have it."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNREACHABLE = 3


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class OnceOptions:
    sockets: tuple[Path, ...]
    format: Format = Format.TABLE
    watch: bool = False
    ascii_art: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """One sidecar at one moment, and what is wrong with it."""

    snapshot: Snapshot
    found: Sequence[Problem]

    @property
    def exit(self) -> Exit:
        if self.snapshot.status is None or self.snapshot.link.is_lost:
            return Exit.UNREACHABLE
        match worst_severity(self.found):
            case Severity.CRITICAL:
                return Exit.CRITICAL
            case Severity.WARNING:
                return Exit.WARNING
            case _:
                return Exit.OK


def once(
    options: OnceOptions,
    *,
    out: TextIO | None = None,
    err: TextIO | None = None,
    clock: Clock = SYSTEM_CLOCK,
    randomness: random.Random | None = None,
) -> int:
    """Look, print, and return the exit code of the sidecar that is worst off. Data to ``out``, the rest to ``err``."""
    out = out or sys.stdout
    err = err or sys.stderr
    randomness = randomness or random.Random()  # noqa: S311 - spreads retries, guards nothing
    monitors = [Monitor(AdminClient(socket, read_only=True), clock, randomness) for socket in options.sockets]
    try:
        return asyncio.run(_run(monitors, options, clock, out, err))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has left. What is still buffered must not complain at the interpreter's exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK


async def _run(monitors: Sequence[Monitor], options: OnceOptions, clock: Clock, out: TextIO, err: TextIO) -> int:
    try:
        if options.watch:
            while True:
                for sight in await _look(monitors, clock, Interest(needs=None)):
                    out.write(json.dumps(_as_json(sight)) + "\n")
                out.flush()
                await asyncio.sleep(POLL_INTERVAL_S)
        if options.format is Format.WIDE:
            newest = ConnectionQuery(sort=Sort.OPENED, limit=_WIDE_CONNECTIONS)
            await _look(monitors, clock, Interest(needs=CONNECTIONS.needs, connections=newest))
        sights = await _look(monitors, clock, Interest(needs=OVERVIEW.needs))
        if options.format is Format.JSON:
            out.write(json.dumps({"sidecars": [_as_json(sight) for sight in sights]}, indent=2) + "\n")
        else:
            for sight in sights:
                _print(sight, options, clock, out, err)
        out.flush()
        return max(sight.exit for sight in sights)
    finally:
        for monitor in monitors:
            await monitor.client.close()


async def _look(monitors: Sequence[Monitor], clock: Clock, interest: Interest) -> list[Sight]:
    async with asyncio.TaskGroup() as group:
        for monitor in monitors:
            group.create_task(monitor.poll(interest))
    snapshots = [monitor.model.snapshot(clock.monotonic()) for monitor in monitors]
    return [Sight(snapshot, problems(snapshot)) for snapshot in snapshots]


def _as_json(sight: Sight) -> dict[str, object]:
    """Verbatim what the sidecar said, and what is made of it. JSON's own escapes keep it harmless."""
    snapshot = sight.snapshot
    return {
        "socket": snapshot.socket,
        "reachable": sight.exit is not Exit.UNREACHABLE,
        "error": snapshot.link.error,
        "exit_code": int(sight.exit),
        "clock_skew_s": round(snapshot.skew_s, 3),
        "findings": [
            {
                "severity": problem.severity.value,
                "code": problem.code,
                "message": problem.message,
                "subject": problem.subject,
            }
            for problem in sight.found
        ],
        "status": snapshot.raw.get("status"),
        "certificates": snapshot.raw.get("certificates"),
        "failures": snapshot.raw.get("failures", {}).get("failures"),
        "refusals": snapshot.raw.get("refusals", {}).get("refusals"),
    }


def _print(sight: Sight, options: OnceOptions, clock: Clock, out: TextIO, err: TextIO) -> None:
    snapshot = sight.snapshot
    if sight.exit is Exit.UNREACHABLE:
        err.write(f"tlsidecar ui: {snapshot.link.error}\n")
        return
    wide = options.format is Format.WIDE
    glyphs = ASCII_GLYPHS if options.ascii_art else UNICODE_GLYPHS
    look = Look(clock.now(), _WIDE_WIDTH if wide else _width(out), _UNBOUNDED_HEIGHT, glyphs=glyphs)
    lines = [*_head(sight, look), line(), *_all_lines(overview(snapshot, sight.found, look))]
    if wide:
        lines += [line(), heading("Connections", _connections_note(snapshot))]
        lines += _all_lines(connections_table(snapshot, look))
    for each in lines:
        text = ascii_only(each.plain) if options.ascii_art else each.plain
        out.write(text.rstrip() + "\n")


def _head(sight: Sight, look: Look) -> list[Line]:
    snapshot = sight.snapshot
    status = snapshot.status
    assert status is not None
    fresh = freshness(snapshot.link, snapshot.link.last_reply_at or 0.0)
    until = utc(snapshot.own_validity.not_after)
    open_now = count(status.totals.connections_active)
    summary = f"up {duration(status.uptime_s)}, generation {status.generation}, {open_now} open connections"
    return [
        Line(identity_row(snapshot, Banner(fresh), look).spans[1:]),
        line(SafeText(f"{summary}, certificate until {until}")),
    ]


def _width(out: TextIO) -> int:
    """The terminal's, or a constant, so that what is piped does not depend on a window."""
    return max(80, shutil.get_terminal_size().columns) if out.isatty() else _TABLE_WIDTH


def _connections_note(snapshot: Snapshot) -> SafeText:
    page = snapshot.connections
    if page is None:
        return EMPTY
    return SafeText(f"the newest {grouped(len(page.connections))} of {grouped(page.total)}")


def _all_lines(sheet: Sheet) -> list[Line]:
    header = [] if sheet.header is None else [sheet.header]
    return header + [each for index in range(sheet.count) if (each := sheet.line(index)) is not None]
