"""A sidecar with several worker processes, and what can be done to them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.sidecar import Sidecar, running
from support.waiting import eventually


@contextlib.contextmanager
def crew(directory: Path, config: str, *, workers: int = 2, **environment: str) -> Iterator[Sidecar]:
    env = {"TLSIDECAR_WORKERS": str(workers), **{f"TLSIDECAR_{name}": text for name, text in environment.items()}}
    with running(directory, config, env=env) as sidecar:
        yield sidecar


def workers_of(sidecar: Sidecar) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sidecar.status()["workers"]
    return found


def pids_of(sidecar: Sidecar) -> list[int]:
    return [worker["pid"] for worker in workers_of(sidecar)]


def replaced(sidecar: Sidecar, number: int, pid: int, within_s: float = 10.0) -> int:
    """Wait until another process has this worker's place; its pid."""

    def look() -> int:
        found = pids_of(sidecar)[number]
        return found if found != pid else 0

    return eventually(look, within_s)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that is only not yet waited for has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
