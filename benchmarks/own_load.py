"""Load by small clients of our own, where no program of the field makes it: messages pushed one by one, and connections
that a client opens, uses once and closes."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender, Place, free_port
from benchmarks.entrances import CIPHER_SUITE, Entrance
from benchmarks.load import Counts, Outcome
from benchmarks.processes import Process
from benchmarks.tally import Tally

ROOT = Path(__file__).parent.parent
UNDER_WAY_WITHIN_S = 30.0
# So much was done before the first turn, for whatever is made once to have been made.
UNDER_WAY_AT = 20


@dataclass(frozen=True)
class MessageWork:
    """Small messages, each answered by the next: ``kind`` is what :mod:`benchmarks.messages` knows."""

    kind: str
    connections: int = 64
    counts: Counts = Counts.REQUESTS

    def start(self, place: Place, contender: Contender, door: Entrance, most_s: float) -> OwnLoad:
        arguments = [self.kind, str(door.full), str(free_port()), str(self.connections)]
        return OwnLoad(place, "messages", arguments, door.full, most_s)


@dataclass(frozen=True)
class OpeningWork:
    """New connections straight to the proxy: :mod:`benchmarks.openings` speaks TLS itself."""

    at_once: int = 8
    counts: Counts = Counts.REQUESTS

    def start(self, place: Place, contender: Contender, door: Entrance, most_s: float) -> OwnLoad:
        client = place.pki_of(contender.setting).client
        material = [str(path) for path in (client.certificate, client.key, client.trust)]
        arguments = [str(contender.port), str(self.at_once), *material, CIPHER_SUITE]
        return OwnLoad(place, "openings", arguments, contender.port, most_s)


class OwnLoad:
    """One such client. It goes on until it is stopped; one that has ended by itself has met an error."""

    def __init__(self, place: Place, module: str, arguments: list[str], port: int, most_s: float) -> None:
        path = place.directory / f"tally-{port}"
        path.unlink(missing_ok=True)
        self._tally = Tally(path)
        self._processes = place.processes
        command = [sys.executable, "-m", f"benchmarks.{module}", str(path), str(most_s), *arguments]
        self.process: Process = place.processes.start(f"{module} {port}", command, place.cores.load, directory=ROOT)

    def wait_until_under_way(self) -> None:
        deadline = time.monotonic() + UNDER_WAY_WITHIN_S
        while time.monotonic() < deadline and self.process.is_running and self._tally.count < UNDER_WAY_AT:
            time.sleep(0.02)

    def done(self) -> float:
        return self._tally.count

    def stop(self) -> Outcome:
        errors = 0 if self.process.is_running else 1
        self._processes.stop(self.process)
        return Outcome(self._tally.count, errors)
