"""How long it takes to serve from nothing, and how long ``tlsidecar health`` takes to answer."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.contenders import Program, free_port, start
from benchmarks.rig import Rig

HEALTH_WITHIN_S = 10.0


@dataclass(frozen=True)
class Start:
    """One start to ready, in seconds: by the clock, and of CPU by all its processes that are alive then. The second is
    what a busy machine does not stretch; far below the first on a quiet one, it tells of waits."""

    wall_s: float
    cpu_s: float


def start_to_ready(rig: Rig, program: Program) -> Start:
    """From exec to the first accepted connection; ours, too, must say on its admin socket that it is ready. Raises
    DidNotStart."""
    port = free_port()
    began = time.perf_counter()
    contender = start(program, rig.place, port)
    taken = Start(time.perf_counter() - began, contender.process.cpu_s())
    rig.stop([contender])
    return taken


def health_s(rig: Rig, program: Program, tlsidecar: Sequence[str], times: int) -> list[float]:
    """Wall time of ``tlsidecar health`` against one of ours. Raises DidNotStart; RuntimeError when it answers ill."""
    contender = start(program, rig.place)
    try:
        return [_one_health_s(tlsidecar, str(contender.admin_socket)) for _ in range(times)]
    finally:
        rig.stop([contender])


def _one_health_s(tlsidecar: Sequence[str], admin_socket: str) -> float:
    command = [*tlsidecar, "health", "--socket", admin_socket]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=HEALTH_WITHIN_S, check=False)
    taken_s = time.perf_counter() - began
    if done.returncode != 0:
        raise RuntimeError(f"tlsidecar health ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    return taken_s
