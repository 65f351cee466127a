"""``python -m benchmarks.console``: what the real ``tlsidecar ui`` on a terminal, and Prometheus beside it, cost a
sidecar with thousands of connections open; and what the UI itself needs."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.admin import ask
from benchmarks.contenders import Contender, programs, start
from benchmarks.idle import MIB, idle_connections
from benchmarks.processes import cpu_s
from benchmarks.rig import set_up
from benchmarks.settings import TCP

SETTLE_S = 2.0
# What is looked at, and the keys that lead there from what was looked at before. The connections are sorted by a
# column that changes, and filtered: what costs the sidecar most.
LOOKS = (
    ("the overview", b""),
    ("connections, newest first", b"2"),
    ("connections, by idle time", b"D"),
    ("connections, by bytes out, filtered", b"O/127\r"),
    ("events", b"5"),
)
SCRAPES_S = (15.0, 1.0)


class Console:
    """``tlsidecar ui`` on a pseudo-terminal whose output is thrown away."""

    def __init__(self, socket: Path, columns: int, rows: int) -> None:
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        command = [sys.executable, "-m", "tlsidecar", "ui", "--socket", str(socket)]
        env = {**os.environ, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES"):
            env.pop(name, None)
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
        )
        os.close(theirs)
        self.written = 0
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):  # the terminal is closed from the other side
            while octets := os.read(self._terminal, 65536):
                self.written += len(octets)

    def send(self, key: int) -> None:
        os.write(self._terminal, bytes([key]))

    def press(self, keys: bytes) -> None:
        for key in keys:
            self.send(key)
            time.sleep(0.1)

    def cpu_s(self) -> float:
        return cpu_s(self._process.pid)

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._terminal)


@contextlib.contextmanager
def _scraped(socket: Path, every_s: float) -> Iterator[None]:
    done = threading.Event()

    def scrape() -> None:
        while not done.is_set():
            ask(socket, "/metrics")
            done.wait(every_s)

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _row(label: str, seconds: float, contender: Contender, console: Console | None) -> None:
    time.sleep(SETTLE_S)
    before, began = (contender.process.cpu_s(), 0.0 if console is None else console.cpu_s()), time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    share = (contender.process.cpu_s() - before[0]) / elapsed * 100
    of_ui = "" if console is None else f"{(console.cpu_s() - before[1]) / elapsed * 100:.1f} %"
    print(f"| {label} | {share:.2f} % | {of_ui} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--connections", type=int, default=3000)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each row is measured")
    parser.add_argument("--size", default="120x40", help="of the terminal")
    options = parser.parse_args()
    columns, rows = (int(each) for each in options.size.split("x"))
    program = next(each for each in programs([sys.executable, "-m", "tlsidecar"], "") if each.setting == TCP)
    with set_up() as rig:
        contender = start(program, rig.place)
        try:
            with idle_connections(rig, contender, options.connections):
                print(f"| {options.connections} connections, {options.size} | sidecar | UI |\n|---|---|---|")
                _row("nobody watches", options.seconds, contender, None)
                console = Console(contender.admin_socket, columns, rows)
                try:
                    for every_s in SCRAPES_S:
                        with _scraped(contender.admin_socket, every_s):
                            for label, keys in LOOKS:
                                console.press(keys)
                                _row(f"{label}; a scrape each {every_s:.0f} s", options.seconds, contender, console)
                            console.press(b"2\x1b")
                            time.sleep(SETTLE_S)
                            console.press(b"A1")
                    print(f"\nThe UI: {console.resident_mib():.0f} MiB resident, {console.written:,} bytes drawn.")
                finally:
                    console.close()
        finally:
            rig.stop([contender])
    return 0


if __name__ == "__main__":
    sys.exit(main())
