"""What a run measures, in which order, and how long for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import h2load, idle, latency, startup
from benchmarks.contenders import H2, HTTP, LOGGED, OVER_H2, PROTOCOLS, STREAMS, TCP, Contender, Program
from benchmarks.h2load import H2Work
from benchmarks.load import Counts, Work
from benchmarks.machine import most_connections
from benchmarks.processes import DidNotStart
from benchmarks.results import Run
from benchmarks.rig import Entrance, Rig
from benchmarks.stream_service import MESSAGES
from benchmarks.targets import TWO_WORKERS
from benchmarks.turns import Turns, take_turns

MIB = 1 << 20

EXCHANGES = {
    "exchange_64": Work(Counts.REQUESTS, 64),
    "exchange_1": Work(Counts.REQUESTS, 1),
    "body_1k": Work(Counts.REQUESTS, 64, "/files/1k"),
    "body_16k": Work(Counts.REQUESTS, 64, "/files/16k"),
    "body_1m": Work(Counts.REQUESTS, 64, "/files/1m"),
    "chunked_1k": Work(Counts.REQUESTS, 64, "/chunked/1k"),
    "gzip_16k": Work(Counts.REQUESTS, 64, "/gzip/16k", takes_gzip=True),
    "close_1k": Work(Counts.REQUESTS, 64, "/close/1k"),
    "post_1k": Work(Counts.REQUESTS, 64, "/upload", "POST", 1 << 10),
    "chunked_post_1k": Work(Counts.REQUESTS, 64, "/upload", "POST", 1 << 10, chunked=True),
    "http10": Work(Counts.REQUESTS, 8, closing=True, minor=0),
}
H2_EXCHANGES = {
    "h2_unary_64x1": H2Work(Counts.REQUESTS, 64, body_bytes=21),
    "h2_unary_8x16": H2Work(Counts.REQUESTS, 8, 16, body_bytes=21),
    "h2_new_paths": H2Work(Counts.REQUESTS, 1, 64, paths=50_000),
    "h2_download": H2Work(Counts.DOWNLOADED, 8, 2, "/1m"),
    "h2_upload": H2Work(Counts.UPLOADED, 8, 2, body_bytes=MIB),
}
OF_STREAMS = {"h2_message": H2Work(Counts.REQUESTS, 8, body_bytes=21, messages=MESSAGES)}
# With the access log as shipped only what tells its cost.
OF_THE_LOG = ("exchange_64",)
OF_HTTP = ("chunked_1k", "gzip_16k", "close_1k", "post_1k", "chunked_post_1k", "http10")
CONNECTIONS = Work(Counts.REQUESTS, 8, closing=True)
BULK = {
    "download": Work(Counts.DOWNLOADED, 2, "/files/100m"),
    "upload": Work(Counts.UPLOADED, 2, "/upload", "POST", MIB),
}
WITH_TARGETS = ("exchange_64", "connection_full", *BULK, "h2_unary_64x1", "h2_unary_8x16")
# These figures are made with two workers, too.
SHARED_BY_WORKERS = ("exchange_64", "connection_full")


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    figures: frozenset[str]
    rounds: int
    rounds_of_targets: int  # of the figures below that a target is set for: a few hundredths decide
    turn_s: float
    connection_turn_s: float
    latency_rounds: int
    latency_s: float
    memory_repeats: int
    idle_connections: int
    start_repeats: int
    health_repeats: int
    watch_s: float
    narrow: bool  # memory and start of ours only, bulk over TCP only


FULL = Plan(
    figures=frozenset(
        (
            *EXCHANGES,
            *H2_EXCHANGES,
            *OF_STREAMS,
            "connection_full",
            "connection_resumed",
            *BULK,
            "latency",
            "memory",
            "start",
            "health",
            "watched",
        )
    ),
    rounds=25,
    rounds_of_targets=60,
    turn_s=0.1,
    connection_turn_s=0.25,
    latency_rounds=7,
    latency_s=2.0,
    memory_repeats=2,
    idle_connections=3000,
    start_repeats=7,
    health_repeats=10,
    watch_s=20.0,
    narrow=False,
)
QUICK = Plan(
    figures=frozenset(("exchange_64", "connection_full", "download", "upload", "memory", "start", "health")),
    rounds=6,
    rounds_of_targets=6,
    turn_s=0.1,
    connection_turn_s=0.2,
    latency_rounds=0,
    latency_s=0.0,
    memory_repeats=1,
    idle_connections=200,
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
        for protocol in PROTOCOLS:
            mine = [program for program in programs if program.protocol == protocol]
            if mine and protocol in OVER_H2 and not h2load.is_installed():
                self._run.left_out[protocol] = "h2load and nghttpd are not installed"
            elif mine:
                self._together(protocol, mine)
        single = [
            program
            for program in programs
            if not program.name.endswith(TWO_WORKERS) and program.protocol not in (LOGGED, STREAMS)
        ]
        present = [program for program in single if f"{program.name} {program.protocol}" not in self._run.left_out]
        self._one_by_one(present)

    def _together(self, protocol: str, programs: Sequence[Program]) -> None:
        running = self._rig.start(programs, self._run.left_out)
        try:
            with self._rig.entrances(running) as doors:
                single = {contender: door for contender, door in doors.items() if not _has_two_workers(contender)}
                for key in (*EXCHANGES, *H2_EXCHANGES, *OF_STREAMS, "connection_full", "connection_resumed", *BULK):
                    if key in self._plan.figures and _is_for(key, protocol):
                        self._figure(key, protocol, doors if key in SHARED_BY_WORKERS else single)
                if "latency" in self._plan.figures and protocol in (TCP, HTTP):
                    self._latency(protocol, list(single))
        finally:
            self._rig.stop(running)

    def _figure(self, key: str, protocol: str, doors: dict[Contender, Entrance]) -> None:
        plan = self._plan
        over_h2 = H2_EXCHANGES | OF_STREAMS
        if key in over_h2:
            turns = self._turns(key, protocol, doors, over_h2[key], plan.turn_s)
            samples = turns.us_per_unit if over_h2[key].counts is Counts.REQUESTS else turns.units_per_cpu_s
        elif key in EXCHANGES:
            turns = self._turns(key, protocol, doors, EXCHANGES[key], plan.turn_s)
            samples = turns.us_per_unit
            if key == "exchange_64":
                self._note_spread(protocol, turns)
        elif key in BULK:
            if plan.narrow and protocol != TCP:
                return
            samples = self._turns(key, protocol, doors, BULK[key], plan.turn_s).units_per_cpu_s
        else:
            resumed = key == "connection_resumed"
            samples = self._turns(
                key, protocol, doors, CONNECTIONS, plan.connection_turn_s, resumed=resumed
            ).us_per_unit
        self._run.add(key, protocol, samples)

    def _turns(
        self,
        key: str,
        protocol: str,
        doors: dict[Contender, Entrance],
        work: Work | H2Work,
        turn_s: float,
        *,
        resumed: bool = False,
    ) -> Turns:
        self._say(f"{protocol.upper()} {key}")
        rounds = self._plan.rounds_of_targets if key in WITH_TARGETS else self._plan.rounds
        turns = take_turns(self._rig, doors, work, rounds, turn_s, resumed=resumed)
        errors = {name: count for name, count in turns.errors.items() if count}
        if errors:
            self._run.notes.setdefault("errors", {})[f"{protocol} {key}"] = errors
            self._say(f"  failed requests: {errors}")
        return turns

    def _note_spread(self, protocol: str, turns: Turns) -> None:
        """How the 64 connections lay on two workers."""
        for name, connections in turns.connections_by_worker.items():
            if name.endswith(TWO_WORKERS):
                note = self._run.notes.setdefault("spread_of_two_workers", {}).setdefault(protocol, {})
                note[name] = [*connections, 0][:2]

    def _latency(self, protocol: str, running: Sequence[Contender]) -> None:
        self._say(f"{protocol.upper()} latency")
        found = latency.measure(self._rig, running, self._plan.latency_rounds, self._plan.latency_s)
        self._run.add("latency_p50", protocol, found.added(found.p50_us))
        self._run.add("latency_p99", protocol, found.added(found.p99_us))
        self._run.notes.setdefault("latency_rate", {})[protocol] = found.rate
        self._run.notes.setdefault("latency_direct_us", {})[protocol] = {
            "p50": found.p50_us[latency.DIRECT],
            "p99": found.p99_us[latency.DIRECT],
        }
        self._run.notes.setdefault("reloads", {})[protocol] = found.reloads

    def _one_by_one(self, programs: Sequence[Program]) -> None:
        plan = self._plan
        connections = most_connections(plan.idle_connections, self._rig.place.descriptors)
        measured = [program for program in programs if program.ours or not plan.narrow]
        ours = [program for program in programs if program.ours and program.protocol == TCP]
        if "memory" in plan.figures:
            self._run.notes["idle_connections"] = connections
            for _ in range(plan.memory_repeats):
                for program in measured:
                    self._attempt("memory", program, partial(self._memory, program, connections))
        if "start" in plan.figures:
            for _ in range(plan.start_repeats):
                for program in measured:
                    if program.protocol == TCP:
                        self._attempt("start", program, partial(self._start, program))
        if "health" in plan.figures:
            for program in ours:
                self._attempt("health", program, partial(self._health, program))
        if "watched" in plan.figures:
            for program in ours:
                self._attempt("watched", program, partial(self._watched, program, connections))

    def _attempt(self, what: str, program: Program, measure: Callable[[], None]) -> None:
        """What one proxy cannot do is noted, and the run goes on."""
        self._say(f"{program.protocol.upper()} {what}: {program.name}")
        try:
            measure()
        except (DidNotStart, OSError, RuntimeError) as error:
            self._run.notes.setdefault("failed", {})[f"{program.name} {program.protocol} {what}"] = str(error)
            self._say(f"  {error}")

    def _memory(self, program: Program, connections: int) -> None:
        found = idle.memory(self._rig, program, connections)
        self._run.add("memory_base", program.protocol, {program.name: [found.base_mib]})
        self._run.add("memory_idle", program.protocol, {program.name: [found.per_connection_kib]})

    def _start(self, program: Program) -> None:
        self._run.add("start", program.protocol, {program.name: [startup.start_to_ready_s(self._rig, program) * 1e3]})

    def _health(self, program: Program) -> None:
        seconds = startup.health_s(self._rig, program, self._tlsidecar, self._plan.health_repeats)
        self._run.add("health", program.protocol, {program.name: [second * 1e3 for second in seconds]})

    def _watched(self, program: Program, connections: int) -> None:
        found = idle.watching(self._rig, program, connections, self._plan.watch_s)
        self._run.add("idle_cpu", program.protocol, {program.name: [found.idle_percent]})
        self._run.add("watched_cpu", program.protocol, {program.name: [found.watched_percent]})

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.0f} s  {text}", file=sys.stderr, flush=True)


def _is_for(key: str, protocol: str) -> bool:
    if protocol == LOGGED:
        return key in OF_THE_LOG
    if protocol in OVER_H2 or key in H2_EXCHANGES or key in OF_STREAMS:
        return key in {H2: H2_EXCHANGES, STREAMS: OF_STREAMS}.get(protocol, {})
    return protocol == HTTP or key not in OF_HTTP


def _has_two_workers(contender: Contender) -> bool:
    return contender.name.endswith(TWO_WORKERS)
