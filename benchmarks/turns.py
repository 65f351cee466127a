"""Taking turns. All loads run at once, but only one proxy at a time is let run, for a tenth of a second, in an order
drawn anew for every round; the others are stopped. What else the machine does then falls on all of them alike, and a
ratio of two proxies within one round is worth more than two long runs one after the other."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks import admin
from benchmarks.contenders import Contender, Place
from benchmarks.entrances import Entrance
from benchmarks.load import Load, Work
from benchmarks.neighbour import neighbour

SETTLE_S = 0.02  # from "continue" to the first reading: what waited in the sockets is worked off
WARM_UP_ROUNDS = 2


@dataclass
class Turns:
    """One round of turns after another: what each proxy did in its turn, and the CPU time it took. None for a turn in
    which nothing was done, so that equal places in two lists are always the same round."""

    us_per_unit: dict[str, list[float | None]]
    units_per_cpu_s: dict[str, list[float | None]]
    units_per_s: dict[str, list[float]]
    errors: dict[str, int] = field(default_factory=dict)
    connections_by_worker: dict[str, list[int]] = field(default_factory=dict)  # ours, while the load was running


def take_turns(place: Place, doors: Mapping[Contender, Entrance], work: Work, rounds: int, turn_s: float) -> Turns:
    """Every proxy in ``doors`` gets ``rounds`` turns of ``turn_s`` under its own ``work``."""
    most_s = 30 + (rounds + WARM_UP_ROUNDS) * len(doors) * (turn_s + SETTLE_S) * 2
    loads: dict[Contender, Load] = {}
    try:
        for contender, door in doors.items():
            loads[contender] = work.start(place, contender, door, most_s)
        time.sleep(0.5)  # everybody connects
        for load in loads.values():
            load.wait_until_under_way()
        for contender in doors:
            contender.process.pause()
        with neighbour(place):
            return _rounds(loads, rounds, turn_s)
    finally:
        for contender in doors:
            contender.process.resume()
        for load in loads.values():
            if load.process.is_running:
                load.stop()


def _rounds(loads: Mapping[Contender, Load], rounds: int, turn_s: float) -> Turns:
    names = [contender.name for contender in loads]  # in the order of the report
    turns = Turns({name: [] for name in names}, {name: [] for name in names}, {name: [] for name in names})
    order = list(loads)
    for number in range(rounds + WARM_UP_ROUNDS):
        random.shuffle(order)
        for contender in order:
            cpu_s, units, wall_s = _turn(contender, loads[contender], turn_s)
            if number < WARM_UP_ROUNDS:
                continue
            something = cpu_s > 0 and units > 0
            turns.us_per_unit[contender.name].append(cpu_s / units * 1e6 if something else None)
            turns.units_per_cpu_s[contender.name].append(units / cpu_s if something else None)
            turns.units_per_s[contender.name].append(units / wall_s)
    for contender, load in loads.items():
        contender.process.resume()
        if contender.ours:
            by_worker = admin.connections_by_worker(contender.admin_socket)
            turns.connections_by_worker[contender.name] = sorted(by_worker.values(), reverse=True)
        turns.errors[contender.name] = load.stop().errors
    return turns


def _turn(contender: Contender, load: Load, turn_s: float) -> tuple[float, float, float]:
    process = contender.process
    process.resume()
    time.sleep(SETTLE_S)
    began, cpu_s, units = time.perf_counter(), process.cpu_s(), load.done()
    time.sleep(turn_s)
    cpu_s, units, wall_s = process.cpu_s() - cpu_s, load.done() - units, time.perf_counter() - began
    process.pause()
    return cpu_s, units, wall_s
