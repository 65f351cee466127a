"""Workers killed under load: which connections each kill may cost, and whether it cost another."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from support.several import pids_of, replaced
from support.sidecar import Sidecar
from support.waiting import eventually

from soak.load import Failure

# An error of a connection that a kill has cut is seen at once, or when the client next uses it; later its port may be
# another connection's.
SEEN_WITHIN_S = 25.0


@dataclass(frozen=True)
class Killing:
    """``ports``: of the clients whose connections the worker held when it was stopped for good."""

    at_s: float
    ports: frozenset[int]


class Killings:
    """Kills one worker after another. The first is spared: what it holds over the whole time is judged."""

    def __init__(self, sidecar: Sidecar, ports: Iterable[int]) -> None:
        """``ports`` are those of the listeners."""
        self._sidecar = sidecar
        self._listening = frozenset(ports)
        self._spared = pids_of(sidecar)[0]
        self.done: list[Killing] = []
        self.problems: list[str] = []
        self.longest_s = 0.0

    def kill(self, number: int) -> None:
        """The ``number``-th kill, and wait until another worker is in its place."""
        try:
            pids = pids_of(self._sidecar)
            place = 1 + (number - 1) % (len(pids) - 1)
            victim = pids[place]
            if not victim:
                self.problems.append(f"kill {number}: there is no worker {place}")
                return
            os.kill(victim, signal.SIGSTOP)  # so that what it holds is known exactly
            eventually(lambda: _state(victim) == "T")
            self.done.append(Killing(time.monotonic(), _clients_of(victim, self._listening)))
            os.kill(victim, signal.SIGKILL)
            began = time.monotonic()
            replaced(self._sidecar, place, victim)
            self.longest_s = max(self.longest_s, time.monotonic() - began)
        except Exception as error:
            self.problems.append(f"kill {number}: {error!r}")

    def told(self, failures: list[Failure]) -> list[str]:
        """Print the figures; the failures that no kill explains, and what else is not as it should be."""
        left = {(killing.at_s, port) for killing in self.done for port in killing.ports}
        held, unexplained = len(left), []
        for failure in failures:
            cut = {each for each in left if each[1] == failure.local_port and failure.at_s - each[0] >= 0}
            cut = {each for each in cut if failure.at_s - each[0] < SEEN_WITHIN_S}
            if cut and "let in" not in failure.what:
                left -= cut
            else:
                unexplained.append(f"not of a killed worker's connection: {failure}")
        print(
            f"kills             {len(self.done)}, which cut {held} connections: {held - len(left)} clients saw it; "
            f"replaced within {self.longest_s:.2f} s"
        )
        problems = self.problems + unexplained
        if pids_of(self._sidecar)[0] != self._spared:
            problems.append("the worker that was spared is another one now")
        restarts = self._sidecar.metric("tlsidecar_worker_restarts_total")
        if restarts != len(self.done):
            problems.append(f"{restarts:.0f} restarts for {len(self.done)} kills")
        return problems


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _clients_of(pid: int, listening: frozenset[int]) -> frozenset[int]:
    """The ports of the other side of the connections to these ports that a process has taken up."""
    inodes = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{entry}").removeprefix("socket:[").removesuffix("]"))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        if local in listening and fields[9] in inodes:
            found.add(remote)
    return frozenset(found)
