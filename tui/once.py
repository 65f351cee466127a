"""Without the interactive UI: one look, or a line a second, for scripts, logs and screen readers.

Exit codes: 0 all is well, 1 warnings, 2 something is critical, 3 not reachable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import threading
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, BinaryIO, NoReturn, TextIO

from tui.amounts import count, duration, grouped, utc
from tui.clock import SYSTEM_CLOCK, Clock
from tui.fleet import fleet_row
from tui.freshness import freshness
from tui.lines import ASCII_GLYPHS, UNICODE_GLYPHS, Line, heading, line
from tui.model import ConnectionQuery, Snapshot, Sort
from tui.pages.chrome import Banner, identity_row
from tui.pages.connections import connections_table
from tui.pages.fleet import (
    ONCE_COLUMNS,
    FleetBanner,
    FleetSort,
    arranged,
    fleet_identity_row,
    fleet_table,
)
from tui.pages.overview import overview
from tui.plan import POLL_INTERVAL_S, Interest
from tui.reach.processes import Processes
from tui.reach.sources import Source
from tui.recorder import Recorder
from tui.roster import Roster
from tui.sheet import Look, Sheet
from tui.sight import Exit, Sight, worst_first
from tui.tabs import CONNECTIONS, OVERVIEW
from tui.text import EMPTY, SafeText, ascii_only, wrap

_TABLE_WIDTH = 100
_WIDE_WIDTH = 240
_UNBOUNDED_HEIGHT = 10_000
_WIDE_CONNECTIONS = 50


class Format(StrEnum):
    """What is printed: columns, all columns, or JSON."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class OnceOptions:
    """What a run without a screen was asked for."""

    sources: tuple[Source, ...]
    format: Format = Format.TABLE
    watch: bool = False
    ascii_art: bool = False
    processes: Processes = field(default_factory=Processes)
    """What the sources start; ended before it returns."""
    record: BinaryIO | None = None
    """A new file for a recording, while it watches."""


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
    roster = Roster(options.sources, True, clock, randomness)
    try:
        return asyncio.run(_until_ended(_run(roster, options, clock, out, err)))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has left. What is still buffered must not complain at the interpreter's exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK


async def _until_ended(work: Coroutine[Any, Any, int]) -> int:
    """Signals end this process by default at once, and what it started would go on."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        task.cancel()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                loop.add_signal_handler(number, end, number)
    try:
        return await work
    except asyncio.CancelledError:
        if not received:
            raise
        return 128 + received[0]


async def _run(roster: Roster, options: OnceOptions, clock: Clock, out: TextIO, err: TextIO) -> int:
    try:
        await roster.fill()
        if options.watch:
            with contextlib.ExitStack() as stack:
                recorder = None
                if options.record is not None:
                    recorder = Recorder(options.record, roster, clock, lambda why: _complain(err, why))
                    stack.callback(recorder.close)
                await _watch(roster, clock, out, recorder)
        if options.format is Format.WIDE:
            newest = ConnectionQuery(sort=Sort.OPENED, limit=_WIDE_CONNECTIONS)
            await _look(roster, clock, Interest(needs=CONNECTIONS.needs, connections=newest))
        sights = worst_first(await _look(roster, clock, Interest(needs=OVERVIEW.needs)))
        if options.format is Format.JSON:
            out.write(json.dumps({"sidecars": [_as_json(sight) for sight in sights]}, indent=2) + "\n")
        elif roster.is_fleet and options.format is Format.TABLE:
            _print_fleet(roster, options, clock, out, err)
        else:
            for sight in sights:
                _print(sight, options, clock, out, err)
        out.flush()
        return max(sight.exit for sight in sights)
    finally:
        await roster.close()
        await options.processes.close()


def _complain(err: TextIO, why: SafeText) -> None:
    err.write(f"tlsidecar ui: {why}\n")


async def _watch(roster: Roster, clock: Clock, out: TextIO, recorder: Recorder | None) -> NoReturn:
    try:
        async with asyncio.TaskGroup() as group:
            if recorder is not None:
                group.create_task(recorder.run())
            group.create_task(roster.follow(lambda: None))
            while True:
                for sight in await _look(roster, clock, Interest(needs=None)):
                    out.write(json.dumps(_as_json(sight)) + "\n")
                out.flush()
                await asyncio.sleep(POLL_INTERVAL_S)
    except BaseExceptionGroup as ended:
        raise ended.exceptions[0] from None  # the reader of the output has left, as a rule


async def _look(roster: Roster, clock: Clock, interest: Interest) -> list[Sight]:
    monitors = roster.monitors
    async with asyncio.TaskGroup() as group:
        for monitor in monitors:
            group.create_task(monitor.poll(interest))
    return [Sight.of(monitor.model.snapshot(clock.monotonic())) for monitor in monitors]


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
    _write(lines, options, out)


def _print_fleet(roster: Roster, options: OnceOptions, clock: Clock, out: TextIO, err: TextIO) -> None:
    """A row each, worst first; then, in full, what is wrong with whom."""
    glyphs = ASCII_GLYPHS if options.ascii_art else UNICODE_GLYPHS
    look = Look(clock.now(), _width(out), _UNBOUNDED_HEIGHT, glyphs=glyphs)
    rows = [fleet_row(monitor, clock.monotonic()) for monitor in roster.monitors]
    rows = arranged(rows, "", FleetSort.WORST, descending=False, now=clock.now())
    lines = [
        Line(fleet_identity_row(rows, FleetBanner(), look).spans[1:]),
        line(),
        *_all_lines(fleet_table(rows, look, sort=None, columns=ONCE_COLUMNS)),
    ]
    troubled = [row for row in rows if row.sight.found and not row.is_lost]
    if troubled:
        lines += [line(), heading("Problems")]
    for row in troubled:
        for problem in row.sight.found:
            about = f" ({problem.subject})" if problem.subject else ""
            words = SafeText(f"{row.label}: {problem.severity.value}: {problem.message}{about}")
            lines += [line(text) for text in wrap(words, look.width)]
    for row in rows:
        if row.is_lost:
            err.write(f"tlsidecar ui: {row.label}: {row.sight.snapshot.link.error}\n")
    _write(lines, options, out)


def _write(lines: Iterable[Line], options: OnceOptions, out: TextIO) -> None:
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
