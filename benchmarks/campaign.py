"""What a run measures, in which order, and how long for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import h2load, idle, latency, startup
from benchmarks.catalogue import KEYS, ROWS, Row
from benchmarks.contenders import Contender, Program
from benchmarks.entrances import Entrance, entrances
from benchmarks.load import Counts
from benchmarks.machine import most_connections
from benchmarks.processes import DidNotStart
from benchmarks.results import Run
from benchmarks.rig import Rig
from benchmarks.settings import H2, HTTP, SETTINGS, SHIPPED, TCP
from benchmarks.turns import Turns, take_turns
from benchmarks.variants import TWO_WORKERS

# What is found beside the rows of the catalogue.
ALONE = ("latency", "memory", "start", "health", "watched")


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    figures: frozenset[str]
    settings: frozenset[str]
    rounds: int
    rounds_of_targets: int  # of the decisive rows
    turn_s: float
    connection_turn_s: float
    latency_rounds: int
    latency_s: float
    memory_repeats: int
    memory_connections: int
    watched_connections: int
    start_repeats: int
    health_repeats: int
    watch_s: float
    narrow: bool  # memory and start of ours only, bulk over TCP only


FULL = Plan(
    figures=frozenset((*KEYS, *ALONE)),
    settings=frozenset(SETTINGS),
    rounds=6,
    rounds_of_targets=18,
    turn_s=0.1,
    connection_turn_s=0.2,
    latency_rounds=4,
    latency_s=1.5,
    memory_repeats=1,
    memory_connections=1500,
    watched_connections=3000,
    start_repeats=5,
    health_repeats=10,
    watch_s=12.0,
    narrow=False,
)
QUICK = Plan(
    figures=frozenset(
        (
            *("exchange_64", "connection_full", "download", "upload"),
            *("chunked_1k", "post_1k", "event", "h2_unary_8x16", "memory", "start", "health"),
        )
    ),
    settings=frozenset((SHIPPED, TCP, HTTP, H2)),
    rounds=6,
    rounds_of_targets=6,
    turn_s=0.1,
    connection_turn_s=0.2,
    latency_rounds=0,
    latency_s=0.0,
    memory_repeats=1,
    memory_connections=200,
    watched_connections=0,
    start_repeats=3,
    health_repeats=3,
    watch_s=0.0,
    narrow=True,
)


class Campaign:
    """Carries out a plan, and puts what it finds into a run."""

    def __init__(self, rig: Rig, plan: Plan, run: Run, tlsidecar: Sequence[str]) -> None:
        self._rig = rig
        self._plan = plan
        self._run = run
        self._tlsidecar = tlsidecar
        self._began = time.monotonic()

    def carry_out(self, programs: Sequence[Program]) -> None:
        for setting in SETTINGS:
            mine = [program for program in programs if program.setting == setting]
            if mine and SETTINGS[setting].speaks == H2 and not h2load.is_installed():
                self._run.left_out[setting] = "h2load and nghttpd are not installed"
            elif mine:
                self._together(setting, mine)
        self._one_by_one(
            [
                program
                for program in programs
                if SETTINGS[program.setting].is_measured_alone
                and not program.variant
                and f"{program.name} {program.setting}" not in self._run.left_out
            ]
        )

    def _together(self, setting: str, programs: Sequence[Program]) -> None:
        rows = [row for row in ROWS if setting in row.settings and row.key in self._plan.figures]
        if self._plan.narrow and setting != TCP:
            rows = [row for row in rows if row.work.counts is Counts.REQUESTS]
        has_latency = "latency" in self._plan.figures and setting in (TCP, HTTP)
        if not rows and not has_latency:
            return
        needed = {"", *(variant for row in rows for variant in row.variants)}
        running = self._rig.start([program for program in programs if program.variant in needed], self._run.left_out)
        try:
            with entrances(self._rig.place, running) as doors:
                for row in rows:
                    chosen = _those(doors, row.variants)
                    self._attempt(f"{setting} {row.key}", partial(self._row, row, setting, chosen))
                if has_latency:
                    self._attempt(f"{setting} latency", partial(self._latency, setting, list(_those(doors))))
        finally:
            self._rig.stop(running)

    def _row(self, row: Row, setting: str, doors: dict[Contender, Entrance]) -> None:
        plan = self._plan
        rounds = plan.rounds_of_targets if row.is_decisive else plan.rounds
        turn_s = plan.connection_turn_s if row.opens else plan.turn_s
        turns = take_turns(self._rig.place, doors, row.work, rounds, turn_s)
        errors = {name: count for name, count in turns.errors.items() if count}
        if errors:
            self._run.notes.setdefault("errors", {})[f"{setting} {row.key}"] = errors
            self._say(f"  failed requests: {errors}")
        if row.key == "exchange_64":
            self._note_spread(setting, turns)
        samples = turns.us_per_unit if row.work.counts is Counts.REQUESTS else turns.units_per_cpu_s
        self._run.add(row.key, setting, samples)

    def _note_spread(self, setting: str, turns: Turns) -> None:
        """How the 64 connections lay on two workers."""
        for name, connections in turns.connections_by_worker.items():
            if name.endswith(TWO_WORKERS):
                note = self._run.notes.setdefault("spread_of_two_workers", {}).setdefault(setting, {})
                note[name] = [*connections, 0][:2]

    def _latency(self, setting: str, running: Sequence[Contender]) -> None:
        found = latency.measure(self._rig, running, self._plan.latency_rounds, self._plan.latency_s)
        self._run.add("latency_p50", setting, found.added(found.p50_us))
        self._run.add("latency_p99", setting, found.added(found.p99_us))
        self._run.notes.setdefault("latency_rate", {})[setting] = found.rate
        self._run.notes.setdefault("latency_direct_us", {})[setting] = {
            "p50": found.p50_us[latency.DIRECT],
            "p99": found.p99_us[latency.DIRECT],
        }
        self._run.notes.setdefault("reloads", {})[setting] = found.reloads

    def _one_by_one(self, programs: Sequence[Program]) -> None:
        plan = self._plan
        descriptors = self._rig.place.descriptors
        connections = most_connections(plan.memory_connections, descriptors)
        measured = [program for program in programs if program.ours or not plan.narrow]
        ours = [program for program in programs if program.ours and program.setting == TCP]
        if "memory" in plan.figures:
            self._run.notes["idle_connections"] = connections
            for _ in range(plan.memory_repeats):
                for program in measured:
                    self._attempt(
                        f"{program.setting} memory: {program.name}", partial(self._memory, program, connections)
                    )
        if "start" in plan.figures:
            for _ in range(plan.start_repeats):
                for program in measured:
                    if program.setting == TCP:
                        self._attempt(f"{program.setting} start: {program.name}", partial(self._start, program))
        if "health" in plan.figures:
            for program in ours:
                self._attempt(f"{program.setting} health: {program.name}", partial(self._health, program))
        if "watched" in plan.figures:
            for program in ours:
                self._attempt(f"{program.setting} watched: {program.name}", partial(self._watched, program))

    def _attempt(self, what: str, measure: Callable[[], None]) -> None:
        """What cannot be done is noted, and the run goes on."""
        self._say(what)
        try:
            measure()
        except (DidNotStart, OSError, RuntimeError) as error:
            self._run.notes.setdefault("failed", {})[what] = str(error)
            self._say(f"  {error}")

    def _memory(self, program: Program, connections: int) -> None:
        found = idle.memory(self._rig, program, connections)
        self._run.add("memory_base", program.setting, {program.name: [found.base_mib]})
        self._run.add("memory_alone", program.setting, {program.name: [found.alone_mib]})
        self._run.add("memory_idle", program.setting, {program.name: [found.per_connection_kib]})

    def _start(self, program: Program) -> None:
        start = startup.start_to_ready(self._rig, program)
        self._run.add("start", program.setting, {program.name: [start.wall_s * 1e3]})
        self._run.add("start_cpu", program.setting, {program.name: [start.cpu_s * 1e3]})

    def _health(self, program: Program) -> None:
        seconds = startup.health_s(self._rig, program, self._tlsidecar, self._plan.health_repeats)
        self._run.add("health", program.setting, {program.name: [second * 1e3 for second in seconds]})

    def _watched(self, program: Program) -> None:
        connections = most_connections(self._plan.watched_connections, self._rig.place.descriptors)
        found = idle.watching(self._rig, program, connections, self._plan.watch_s)
        self._run.add("idle_cpu", program.setting, {program.name: [found.idle_percent]})
        self._run.add("watched_cpu", program.setting, {program.name: [found.watched_percent]})

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.0f} s  {text}", file=sys.stderr, flush=True)


def _those(doors: Mapping[Contender, Entrance], variants: Sequence[str] = ()) -> dict[Contender, Entrance]:
    """The plain ones, and of ours these variants."""
    return {contender: door for contender, door in doors.items() if contender.program.variant in ("", *variants)}
