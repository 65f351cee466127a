"""How long it takes to serve from nothing, and how long ``tlsidecar health`` takes to answer."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from benchmarks.contenders import Program, free_port, start
from benchmarks.rig import Rig

HEALTH_WITHIN_S = 10.0


def start_to_ready_s(rig: Rig, program: Program) -> float:
    """From exec to the first accepted connection; ours, too, must say on its admin socket that it is ready. Raises
    DidNotStart."""
    port = free_port()
    began = time.perf_counter()
    contender = start(program, rig.place, port)
    taken_s = time.perf_counter() - began
    rig.stop([contender])
    return taken_s


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
