"""``PYTHONPATH=tests python -m benchmarks.keys``: how long the real ``tlsidecar ui`` takes from a key to the screen,
what CPU it needs and what it sends to the terminal, before a sidecar with ten thousand connections of which 500 change
a second. The sidecar is a controller in memory behind the real admin server: what is measured is the console."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.console import Console

BATCHES_A_SECOND = 10
PATIENCE_S = 5.0
SETTLE_S = 4.0

# What is looked at, the keys that lead there, and a key whose effect is waited for.
LOOKS = (
    ("the overview", b"1", b"jk"),
    ("connections, newest first", b"2", b"jk"),
    ("connections, by bytes out, filtered", b"O/app-12\r", b"jk"),
    ("connections, by identity", b"\x1bb", b"jk"),
    ("events, problems and changes", b"5", b"p"),
    ("events, with 500 opened and closed a second", b"ejjjjj\rj\r\x1b", b"p"),
)


async def serve(socket: Path, connections: int, changing: int) -> None:
    """The sidecar: records that change, and the events of those that come and go."""
    from unit.admin.fake_control import FakeControl, made_connection

    from tlsidecar.admin.server import AdminServer
    from tlsidecar.settings import Admin

    dice = random.Random(1)
    admin = Admin(socket)
    control = FakeControl(admin)
    names = [f"spiffe://prod.example/ns/n{number % 40}/sa/app-{number}" for number in range(400)]
    control.records = [
        made_connection(number, identity=names[number % len(names)]) for number in range(1, connections + 1)
    ]
    server = AdminServer(control, admin)
    await server.start()
    latest = connections
    try:
        while True:
            await asyncio.sleep(1 / BATCHES_A_SECOND)
            for _ in range(changing // BATCHES_A_SECOND):
                place = dice.randrange(connections)
                record = control.records[place]
                if dice.random() < 0.5:
                    latest += 1
                    control.events.publish("closed", {"id": record.id, "listener": "web", "identity": record.identity})
                    fresh = made_connection(latest, identity=dice.choice(names))
                    control.records[place] = dataclasses.replace(fresh, opened_at=datetime.now(UTC))
                    control.events.publish("opened", {"id": latest, "listener": "web", "identity": record.identity})
                else:
                    moved = record.bytes_out + dice.randrange(100_000)
                    control.records[place] = dataclasses.replace(record, bytes_out=moved, requests=record.requests + 1)
    finally:
        await server.close()


def key_to_screen_ms(console: Console, keys: bytes, times: int) -> list[float]:
    """From writing a key to the first octet that comes back, at moments that have nothing to do with the polls."""
    dice = random.Random(2)
    found = []
    for number in range(times):
        time.sleep(dice.uniform(0.15, 0.45))
        written, began = console.written, time.monotonic()
        console.send(keys[number % len(keys)])
        while console.written == written and time.monotonic() < began + PATIENCE_S:
            time.sleep(0.0005)
        found.append((time.monotonic() - began) * 1000)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keys", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--changing", type=int, default=500, help="connections that change in a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each row is measured")
    parser.add_argument("--keys", type=int, default=40, help="how many keys of each row")
    parser.add_argument("--size", default="120x40", help="of the terminal")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve, options.connections, options.changing))
        return 0
    columns, rows = (int(each) for each in options.size.split("x"))
    with tempfile.TemporaryDirectory() as directory:
        socket = Path(directory) / "admin.sock"
        counts = ["--connections", str(options.connections), "--changing", str(options.changing)]
        command = [sys.executable, "-m", "benchmarks.keys", "--serve", str(socket), *counts]
        with subprocess.Popen(command) as sidecar:
            try:
                while not socket.exists():
                    time.sleep(0.1)
                    if sidecar.poll() is not None:
                        return 1
                measure(socket, columns, rows, options.seconds, options.keys)
            finally:
                sidecar.terminate()
    return 0


def measure(
    socket: Path, columns: int, rows: int, seconds: float, keys: int, looks: Sequence[tuple[str, bytes, bytes]] = LOOKS
) -> None:
    console = Console(socket, columns, rows)
    try:
        print(f"| {columns}x{rows} | key to screen, median | 90 of 100 | UI | to the terminal |\n|---|---|---|---|---|")
        for label, way, pressed in looks:
            time.sleep(SETTLE_S)
            console.press(way)
            time.sleep(SETTLE_S)
            before, written, began = console.cpu_s(), console.written, time.monotonic()
            time.sleep(seconds)
            elapsed = time.monotonic() - began
            share, octets = (console.cpu_s() - before) / elapsed, (console.written - written) / elapsed
            found = sorted(key_to_screen_ms(console, pressed, keys))
            slow = found[int(0.9 * len(found))]
            print(
                f"| {label} | {statistics.median(found):.0f} ms | {slow:.0f} ms | {share * 100:.1f} % "
                f"| {octets / 1000:.1f} KB/s |",
                flush=True,
            )
        print(f"\nThe UI: {console.resident_mib():.0f} MiB resident.")
    finally:
        console.close()


if __name__ == "__main__":
    sys.exit(main())
