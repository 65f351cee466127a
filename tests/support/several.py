"""A sidecar with several worker processes, and what can be done to them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.mtls import Peer
from support.sidecar import Sidecar, running
from support.waiting import eventually


@contextlib.contextmanager
def several_workers(directory: Path, config: str, *, workers: int = 2, **environment: str) -> Iterator[Sidecar]:
    env = {"TLSIDECAR_WORKERS": str(workers), **{f"TLSIDECAR_{name}": text for name, text in environment.items()}}
    with running(directory, config, env=env) as sidecar:
        yield sidecar


def workers_of(sidecar: Sidecar) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sidecar.status()["workers"]
    return found


def pids_of(sidecar: Sidecar) -> list[int]:
    return [worker["pid"] for worker in workers_of(sidecar)]


def worker_of(sidecar: Sidecar, peer: Peer) -> int:
    """The number of the worker that serves this connection."""
    host, port = peer.sock.getsockname()
    address = f"{host}:{port}"

    def look() -> dict[str, Any]:
        rows = sidecar.json("/v1/connections?limit=1000")["connections"]
        found: dict[str, Any] | None = next((row for row in rows if row["peer_address"] == address), None)
        assert found is not None, f"no connection from {address}"
        return found

    return int(eventually(look)["worker"])


def in_one_worker(sidecar: Sidecar, count: int, opened: Callable[[], Peer]) -> list[Peer]:
    """So many connections that one worker serves, however many workers there are; no others are left open."""
    served: dict[int, list[Peer]] = {}
    while all(len(peers) < count for peers in served.values()):
        peer = opened()
        served.setdefault(worker_of(sidecar, peer), []).append(peer)
        assert sum(map(len, served.values())) <= 2 * count * sidecar.workers, "a worker takes part in nothing"
    wanted = max(served.values(), key=len)
    for peers in served.values():
        if peers is not wanted:
            for peer in peers:
                peer.close()
    eventually(lambda: sidecar.status()["totals"]["connections_active"] == count)
    return wanted


def in_every_worker(sidecar: Sidecar, count: int, opened: Callable[[], Peer]) -> list[list[Peer]]:
    """So many connections of each worker, by its number."""
    served: list[list[Peer]] = [[] for _ in range(sidecar.workers)]
    for _ in range(10 * count * sidecar.workers):
        peer = opened()
        peers = served[worker_of(sidecar, peer)]
        if len(peers) < count:
            peers.append(peer)
            if all(len(each) == count for each in served):
                return served
        else:
            peer.close()
    raise AssertionError(f"not {count} connections in each worker: {[len(each) for each in served]}")


def replaced(sidecar: Sidecar, number: int, pid: int, within_s: float = 20.0) -> int:
    """Wait until another process has this worker's place; its pid."""

    def look() -> int:
        found = pids_of(sidecar)[number]
        return found if found != pid else 0

    return eventually(look, within_s)


def fork_server_of(sidecar: Sidecar) -> int:
    """The process id of the parent of the workers."""
    status = Path(f"/proc/{pids_of(sidecar)[0]}/stat").read_text().rpartition(")")[2].split()
    return int(status[1])


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that is only not yet waited for has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
