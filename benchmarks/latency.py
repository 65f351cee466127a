"""Latency at a fixed rate below saturation: what a proxy adds to the way straight to the service."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.admin import generation
from benchmarks.contenders import Contender
from benchmarks.entrances import CIPHER_SUITE
from benchmarks.rig import Rig
from benchmarks.settings import HTTP
from benchmarks.variants import RELOADING

CONNECTIONS = 64
LOAD_SHARE = 0.7
CALIBRATION_S = 1.0
# What is carried is looked for from above, in steps. A proxy that is asked for more falls behind for as long as it is
# asked: after a second half the answers are late by a multiple of this.
CALIBRATION_STEP = 0.93
KEEPS_UP_US = 2000.0
LEAST_RATE = 100.0  # who is not in time at this is not measured
WARM_UP_S = 0.3
RELOAD_INTERVAL_S = 1.0

DIRECT = "straight to the service"


@dataclass
class Latencies:
    """Percentiles by name, one a round, in microseconds; ``DIRECT`` is the way without a proxy."""

    rate: float = 0.0
    p50_us: dict[str, list[float]] = field(default_factory=dict)
    p99_us: dict[str, list[float]] = field(default_factory=dict)
    reloads: dict[str, int] = field(default_factory=dict)

    def added(self, percentiles: dict[str, list[float]]) -> dict[str, list[float]]:
        """Each round's percentile, less the direct way's in the same round."""
        direct = percentiles[DIRECT]
        return {
            name: [value - straight for value, straight in zip(values, direct, strict=True)]
            for name, values in percentiles.items()
            if name != DIRECT
        }


def measure(rig: Rig, running: Sequence[Contender], rounds: int, seconds: float) -> Latencies:
    """All in turn, each round in another order, at one rate: LOAD_SHARE of what the slowest carries in this rig. Ours
    once more, while new material is put to use every second."""
    latencies = Latencies(rate=LOAD_SHARE * _carried_by_all(rig, running))
    for _ in range(rounds):
        ways: list[tuple[str, Contender | None]] = [(DIRECT, None)]
        ways += [(contender.name, contender) for contender in running]
        ways += [(contender.name + RELOADING, contender) for contender in running if contender.ours]
        random.shuffle(ways)
        for name, contender in ways:
            others = [other for other in running if other is not contender]
            with _paused(others), _reloaded(rig, name, contender, latencies):
                if contender is None:
                    result = _pace(rig, rig.place.service_ports[HTTP], latencies.rate, seconds, plain=True)
                else:
                    result = _pace(rig, contender.port, latencies.rate, seconds)
            latencies.p50_us.setdefault(name, []).append(result["p50_us"])
            latencies.p99_us.setdefault(name, []).append(result["p99_us"])
    return latencies


def _carried_by_all(rig: Rig, running: Sequence[Contender]) -> float:
    """The highest rate at which each keeps up. Requests come one by one there, as they do when it is measured: as fast
    as answers come they come in dozens, which costs a proxy half as much for each, and is more than any can carry.
    Raises RuntimeError where one never does."""
    rate = min(_pace(rig, contender.port, 0.0, CALIBRATION_S)["rate"] for contender in running)
    for contender in running:
        while _pace(rig, contender.port, rate, CALIBRATION_S)["p50_us"] > KEEPS_UP_US:
            rate *= CALIBRATION_STEP
            if rate < LEAST_RATE:
                raise RuntimeError(f"{contender.name} does not keep up with {LEAST_RATE:.0f} requests a second")
    return rate


def _pace(rig: Rig, port: int, rate: float, seconds: float, *, plain: bool = False) -> dict[str, float]:
    client = rig.place.pki.client
    command = [sys.executable, "-m", "benchmarks.pacer", str(port), "--rate", str(rate), "--seconds", str(seconds)]
    command += ["--connections", str(CONNECTIONS), "--warm-up", str(WARM_UP_S), "--suite", CIPHER_SUITE]
    if not plain:
        command += ["--cert", str(client.certificate), "--key", str(client.key), "--trust", str(client.trust)]
    output = rig.place.directory / f"pacer-{port}.json"
    output.unlink(missing_ok=True)
    root = Path(__file__).parent.parent
    process = rig.place.processes.start(f"pacer {port}", command, rig.place.cores.load, output=output, directory=root)
    try:
        process.wait(seconds + 30)
        result: dict[str, float] = json.loads(output.read_text())
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        raise RuntimeError(f"no latencies from port {port}: {process.last_words}") from None
    finally:
        rig.place.processes.stop(process)
    return result


@contextlib.contextmanager
def _paused(others: Sequence[Contender]) -> Iterator[None]:
    for contender in others:
        contender.process.pause()
    try:
        yield
    finally:
        for contender in others:
            contender.process.resume()


@contextlib.contextmanager
def _reloaded(rig: Rig, name: str, contender: Contender | None, latencies: Latencies) -> Iterator[None]:
    """While this lasts, ``contender`` is given another certificate and key every second, if ``name`` says so."""
    if contender is None or not name.endswith(RELOADING):
        yield
        return
    before = generation(contender.admin_socket)
    done = threading.Event()
    thread = threading.Thread(target=_keep_rotating, args=(rig, contender, done))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    latencies.reloads[name] = latencies.reloads.get(name, 0) + generation(contender.admin_socket) - before


def _keep_rotating(rig: Rig, contender: Contender, done: threading.Event) -> None:
    while not done.wait(RELOAD_INTERVAL_S):
        rig.place.pki.rotate()
        os.kill(contender.process.pid, signal.SIGHUP)
