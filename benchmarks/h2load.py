"""Closed-loop load over HTTP/2, by nghttp2's h2load. Like wrk's it is read off the client's own I/O counters: on a
connection whose header table has settled each request is as long as the one before it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import Contender, Place
from benchmarks.entrances import Entrance
from benchmarks.load import MIB, Counts, Outcome
from benchmarks.processes import Process, bytes_moved

# What HPACK's Huffman code writes with five bits (RFC 7541 appendix B): paths of them are equally long when encoded.
_FIVE_BITS = "012aceiost"
_PREFACE_BYTES = 24
_FRAME_HEAD_BYTES = 9
_DATA, _HEADERS = 0, 1
_CALIBRATED_WITHIN_S = 10.0
_UNDER_WAY_WITHIN_S = 20.0


@dataclass(frozen=True)
class H2Work:
    """One kind of load. ``paths``: so many different ones, one after the other. ``messages``: what one request counts
    for."""

    counts: Counts
    connections: int
    streams: int = 1
    path: str = "/small"
    body_bytes: int = 0
    paths: int = 0
    messages: int = 1

    def start(self, place: Place, contender: Contender, door: Entrance, most_s: float) -> H2Load:
        size = request_bytes(self, place.service_ports[contender.setting])
        return H2Load(place, self, door.full, most_s, request_bytes=size)

    def arguments(self, directory: Path, port: int) -> list[str]:
        """Of h2load, but for how long and how many."""
        arguments = ["-H", "te: trailers", "-H", "content-type: application/grpc"]
        url = f"http://127.0.0.1:{port}{self.path}"
        if self.body_bytes:
            body = directory / f"body-{port}"
            body.write_bytes(bytes(self.body_bytes))
            arguments += ["-d", str(body)]
        if not self.paths:
            return [*arguments, url]
        places = itertools.islice(itertools.product(_FIVE_BITS, repeat=6), self.paths)
        listed = directory / f"paths-{port}"
        listed.write_text("".join(f"{url}?{''.join(place)}\n" for place in places))
        return [*arguments, "-i", str(listed)]


class H2Load:
    """One h2load against one port."""

    def __init__(self, place: Place, work: H2Work, port: int, most_s: float, *, request_bytes: int) -> None:
        self._work = work
        self._processes = place.processes
        self._request_bytes = request_bytes
        self._moved = (0, 0)
        command = ["h2load", f"-c{work.connections}", f"-m{work.streams}", f"-D{int(most_s) + 1}", "-T3600s", "-N3600s"]
        command += work.arguments(place.directory, port)
        self.process: Process = place.processes.start(f"h2load {port}", command, place.cores.load)

    def done(self) -> float:
        """Units of work done so far: no more, once h2load has ended."""
        with contextlib.suppress(OSError):
            self._moved = bytes_moved(self.process.pid)
        read, written = self._moved
        match self._work.counts:
            case Counts.REQUESTS:
                return written / self._request_bytes * self._work.messages
            case Counts.UPLOADED:
                return written / MIB
            case Counts.DOWNLOADED:
                return read / MIB

    def wait_until_under_way(self) -> None:
        """h2load connects once: whoever is paused while its handshakes are under way would have lost its load."""
        deadline = time.monotonic() + _UNDER_WAY_WITHIN_S
        while time.monotonic() < deadline and self.process.is_running:
            _, written = bytes_moved(self.process.pid)
            if written > self._work.connections * (_PREFACE_BYTES + 3 * self._request_bytes):
                return
            time.sleep(0.05)

    def stop(self) -> Outcome:
        """h2load says nothing when it is stopped before its time: what failed is not known."""
        self._processes.stop(self.process)
        return Outcome(0, 0)


def is_installed() -> bool:
    return all(shutil.which(program) for program in ("h2load", "nghttpd"))


@functools.cache
def request_bytes(work: H2Work, service_port: int) -> int:
    """How many bytes the last of a few requests is, its body included, when the service itself is asked. Raises
    RuntimeError when it does not answer."""
    seen = bytearray()
    with tempfile.TemporaryDirectory() as directory, socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = work.arguments(Path(directory), listener.getsockname()[1])
        command = ["h2load", "-n4", "-c1", "-m1", *arguments]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            listener.settimeout(_CALIBRATED_WITHIN_S)
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", service_port), _CALIBRATED_WITHIN_S) as service:
                back = threading.Thread(target=_pass_on, args=(service, client, bytearray()), daemon=True)
                back.start()
                _pass_on(client, service, seen)
                process.wait(_CALIBRATED_WITHIN_S)
    sizes: dict[int, int] = {}
    at = _PREFACE_BYTES
    while at + _FRAME_HEAD_BYTES <= len(seen):
        length = int.from_bytes(seen[at : at + 3], "big") + _FRAME_HEAD_BYTES
        stream = int.from_bytes(seen[at + 5 : at + _FRAME_HEAD_BYTES], "big")
        if seen[at + 3] in (_DATA, _HEADERS):
            sizes[stream] = sizes.get(stream, 0) + length
        at += length
    if len(sizes) < 2:
        raise RuntimeError(f"the service answered {len(sizes)} of four requests for {work.path}")
    return sizes[max(sizes)]


def _pass_on(source: socket.socket, sink: socket.socket, seen: bytearray) -> None:
    try:
        while data := source.recv(65536):
            seen += data
            sink.sendall(data)
    except OSError:
        return
