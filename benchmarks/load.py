"""What a load is, and closed-loop load by wrk. How much has been done is read off wrk's own I/O counters at any moment,
so that connecting and warming up stay out of the measure."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from benchmarks.contenders import Contender, Place
from benchmarks.entrances import Entrance
from benchmarks.processes import Process, Processes, bytes_moved

LUA = Path(__file__).parent / "configs" / "load.lua"
STOP_WITHIN_S = 10.0
MIB = 1 << 20


class Counts(Enum):
    """What one unit of work is, and by which of wrk's counters it is counted."""

    REQUESTS = "requests"  # bytes written, by the length of the request
    UPLOADED = "MB up"
    DOWNLOADED = "MB down"


@dataclass(frozen=True)
class Outcome:
    """What a load says at its end."""

    requests: int
    errors: int


class Load(Protocol):
    """A load that is running against one proxy."""

    process: Process

    def wait_until_under_way(self) -> None: ...

    def done(self) -> float:
        """Units of work done so far."""

    def stop(self) -> Outcome: ...


class Work(Protocol):
    """One kind of load."""

    @property
    def counts(self) -> Counts: ...

    def start(self, place: Place, contender: Contender, door: Entrance, most_s: float) -> Load:
        """Against this proxy, for ``most_s`` at most."""


@dataclass(frozen=True)
class WrkWork:
    """What wrk asks for."""

    counts: Counts
    connections: int
    path: str = "/"
    method: str = "GET"
    body_bytes: int = 0
    closing: bool = False  # a new connection for every request
    chunked: bool = False  # the body
    takes_gzip: bool = False
    minor: int = 1  # of HTTP/1
    resumed: bool = False  # sessions, where the proxy offers it

    def start(self, place: Place, contender: Contender, door: Entrance, most_s: float) -> Wrk:
        port = door.resumed if self.resumed else door.full
        return Wrk(place.processes, self, port, place.cores.load, most_s)

    @property
    def is_written_out(self) -> bool:
        """Whether wrk cannot make it itself."""
        return self.chunked or self.takes_gzip or self.minor == 0

    def request(self, port: int) -> bytes:
        """The request, headers as wrk writes them."""
        lines = [f"{self.method} {self.path} HTTP/1.{self.minor}", f"Host: 127.0.0.1:{port}"]
        if self.takes_gzip:
            lines.append("Accept-Encoding: gzip")
        if self.closing and self.minor:
            lines.append("Connection: close")
        body = b"x" * self.body_bytes
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        elif body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body


class Wrk:
    """One wrk against one port."""

    def __init__(self, processes: Processes, work: WrkWork, port: int, cores: tuple[int, ...], most_s: float) -> None:
        self._counts = work.counts
        self._processes = processes
        request = work.request(port)
        self._request_bytes = len(request)
        # Its proxy is paused while others have their turn: wrk must not call that a timeout.
        command = ["wrk", "-t1", f"-c{work.connections}", f"-d{int(most_s) + 1}s", f"--timeout={int(most_s) + 10}s"]
        arguments = [work.method, work.path, str(work.body_bytes), "close" if work.closing else "keep"]
        if work.is_written_out:
            arguments.append(request.hex())
        command += ["-s", str(LUA), f"http://127.0.0.1:{port}", "--", *arguments]
        self.process: Process = processes.start(f"wrk {port}", command, cores)

    def wait_until_under_way(self) -> None:
        """It connects anew whatever it has lost: nothing to wait for."""

    def done(self) -> float:
        read, written = bytes_moved(self.process.pid)
        match self._counts:
            case Counts.REQUESTS:
                return written / self._request_bytes
            case Counts.UPLOADED:
                return written / MIB
            case Counts.DOWNLOADED:
                return read / MIB

    def stop(self) -> Outcome:
        self.process.signal(signal.SIGINT)
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._processes.stop(self.process)
            return Outcome(0, 0)
        said = self.process.log.read_text(errors="replace")
        self._processes.stop(self.process)
        summary = next((json.loads(line) for line in said.splitlines() if line.startswith("{")), None)
        if summary is None:
            return Outcome(0, 0)
        errors = sum(summary[kind] for kind in ("connect", "read", "write", "status", "timeout"))
        return Outcome(summary["requests"], errors)
