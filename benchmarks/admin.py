"""What the benchmark asks a sidecar's admin socket: its generation, and what a terminal UI and Prometheus would ask."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TIMEOUT_S = 5.0

POLL_INTERVAL_S = 1.0
SCRAPE_INTERVAL_S = 5.0
CERTIFICATES_INTERVAL_S = 10.0
# The UI's connections view: the page that fits a tall terminal, sorted by a column that changes.
POLLED = ("/v1/status", "/v1/connections?sort=idle_s&order=desc&limit=100")


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


def ask(path: Path, target: str) -> bytes:
    """One GET. Raises OSError, and RuntimeError for anything but 200."""
    connection = _Connection(path)
    try:
        return _get(connection, target)
    finally:
        connection.close()


def generation(path: Path) -> int:
    """The generation of material that a sidecar serves."""
    return int(json.loads(ask(path, "/v1/status"))["generation"])


def connections_by_worker(path: Path) -> dict[int, int]:
    """How many client connections each worker has that has any."""
    rows = json.loads(ask(path, "/v1/connections?limit=1000"))["connections"]
    return dict(Counter(row["worker"] for row in rows))


def wait_until_ready(path: Path, within_s: float) -> float:
    """Returns when /readyz first said so, on time.perf_counter. Raises TimeoutError."""
    deadline = time.perf_counter() + within_s
    while time.perf_counter() < deadline:
        with contextlib.suppress(OSError, RuntimeError, http.client.HTTPException):
            ask(path, "/readyz")
            return time.perf_counter()
        time.sleep(0.001)
    raise TimeoutError(f"not ready within {within_s:.0f} s")


@contextlib.contextmanager
def watched(path: Path) -> Iterator[list[int]]:
    """A terminal UI on the connections view, with the event stream open, and a Prometheus, for as long as this lasts.
    Yields the list of reply sizes, which grows."""
    sizes: list[int] = []
    done = threading.Event()
    threads = [
        threading.Thread(target=_poll, args=(path, sizes, done)),
        threading.Thread(target=_follow_events, args=(path, done)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield sizes
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _poll(path: Path, sizes: list[int], done: threading.Event) -> None:
    connection = _Connection(path)
    due = dict.fromkeys((*POLLED, "/v1/certificates", "/metrics"), 0.0)
    intervals = dict.fromkeys(POLLED, POLL_INTERVAL_S) | {
        "/v1/certificates": CERTIFICATES_INTERVAL_S,
        "/metrics": SCRAPE_INTERVAL_S,
    }
    while not done.is_set():
        now = time.monotonic()
        for target, at in due.items():
            if at <= now:
                sizes.append(len(_get(connection, target)))
                due[target] = now + intervals[target]
        done.wait(max(0.0, min(due.values()) - time.monotonic()))
    connection.close()


def _follow_events(path: Path, done: threading.Event) -> None:
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(str(path))
    stream.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    stream.settimeout(0.5)
    while not done.is_set():
        with contextlib.suppress(TimeoutError):
            if not stream.recv(65536):
                break
    stream.close()


def _get(connection: http.client.HTTPConnection, target: str) -> bytes:
    connection.request("GET", target)
    reply = connection.getresponse()
    body = reply.read()
    if reply.status != 200:
        raise RuntimeError(f"GET {target}: {reply.status} {body[:200]!r}")
    return body
