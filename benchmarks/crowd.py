"""``python -m benchmarks.crowd``: ten thousand real mutual-TLS connections to a real sidecar, of which 500 change a
second, and the real ``tlsidecar ui`` before them. What is asked: how long a key takes to the screen, what the UI costs,
and what it costs one client's traffic, by turns with nobody watching.

A change is a row of the console's list that differs afterwards: a connection asks something and is answered (its
requests, bytes and idle time are others), or it ends and another one comes. A new connection costs client and sidecar
some three milliseconds of CPU together, most of it the two handshakes' signatures: 500 of them a second are more than
two cores have beside all else. So ``--replacing`` of the changes are new connections, and the rest are requests; both
are printed as they were reached."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.admin import ask
from benchmarks.console import Console
from benchmarks.contenders import free_port
from benchmarks.credentials import CLIENT_ID, SERVER_NAME, Pki, issue_clients, make_pki
from benchmarks.keys import LOOKS as KEYS_LOOKS
from benchmarks.keys import measure
from benchmarks.processes import cpu_s

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
THREADS = 8
TIMEOUT_S = 60.0
OPEN_WITHIN_S = 600.0

# As in benchmarks.keys, with a filter that these match.
LOOKS = tuple((label, way.replace(b"/app-12", b"/127"), keys) for label, way, keys in KEYS_LOOKS)

CONFIG = """[admin]
socket = "{directory}/admin.sock"
[identity]
cert = "{server.certificate}"
key = "{server.key}"
trust = "{server.trust}"
[log]
access = "off"
[[listener]]
name = "web"
mode = "terminate"
listen = "127.0.0.1:{port}"
upstream = "127.0.0.1:{upstream}"
protocol = "http"
allow = ["{identity}", "{identity}/*"]
[limits]
max_connections = {most}
keepalive_timeout = "1h"
"""


class Client:
    """Connections of one kind to one port."""

    def __init__(self, published: Path, port: int) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=str(published / "ca.crt"))
        self._context.load_cert_chain(published / "tls.crt", published / "tls.key")

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)
        connection = self._context.wrap_socket(plain, server_hostname=SERVER_NAME)
        exchange(connection)
        return connection


def exchange(connection: ssl.SSLSocket) -> None:
    connection.sendall(REQUEST)
    received = b""
    while not received.endswith(b"\r\n\r\nok"):
        more = connection.recv(4096)
        if not more:
            raise ConnectionError("closed in the middle of an answer")
        received += more


def serve(port: int) -> None:
    """The service: it says ``ok`` to whatever ends with an empty line."""

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while received := connection.recv(65536):
                connection.sendall(ANSWER * received.count(b"\r\n\r\n"))

    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


class Changes(NamedTuple):
    """What has changed so far."""

    requests: int
    replaced: int


def crowd(pki: Path, port: int, count: int, changing: int, replacing: int) -> None:
    """Open ``count`` connections, and then change so many of them a second, of which ``replacing`` are others
    afterwards, until the end of standard input."""
    asked, replaced = [0] * THREADS, [0] * THREADS

    def share(number: int) -> None:
        dice, client = random.Random(number), Client(pki / f"client-{number}", port)
        held = [client.connect() for _ in range(count // THREADS)]
        print("open", flush=True)
        began, done = time.monotonic(), 0
        while True:
            done += 1
            time.sleep(max(0.0, began + done * THREADS / changing - time.monotonic()))
            place = dice.randrange(len(held))
            if done * replacing // changing == (done - 1) * replacing // changing:
                with contextlib.suppress(OSError):
                    exchange(held[place])
                    asked[number] += 1
                    continue
            held[place].close()
            held[place] = client.connect()
            replaced[number] += 1

    for number in range(THREADS):
        threading.Thread(target=share, args=(number,), daemon=True).start()
    while sys.stdin.readline():
        print(f"changes {sum(asked)} {sum(replaced)}", flush=True)


@contextlib.contextmanager
def child(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process of ours; ended with the block."""
    command = [sys.executable, "-m", *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def changes(process: subprocess.Popen[str]) -> Changes:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    _, requests, replaced = process.stdout.readline().split()
    return Changes(int(requests), int(replaced))


def one_client(client: Client, seconds: float) -> list[float]:
    """Milliseconds of each exchange on one kept connection, one after the other with pauses."""
    took = []
    with client.connect() as connection:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            exchange(connection)
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(0.005)
    return took


def p99(took: Sequence[float]) -> float:
    """What 99 of 100 do not exceed."""
    return sorted(took)[int(0.99 * len(took))]


def traffic(label: str, client: Client, sidecar: int, crowded: subprocess.Popen[str], seconds: float) -> list[float]:
    """One row; milliseconds of each exchange of the one client."""
    before, cpu, began = changes(crowded), cpu_s(sidecar), time.monotonic()
    took = one_client(client, seconds)
    elapsed = time.monotonic() - began
    after, share = changes(crowded), (cpu_s(sidecar) - cpu) / elapsed
    requests, replaced = ((now - then) / elapsed for now, then in zip(after, before, strict=True))
    print(
        f"| {label} | {statistics.median(took):.1f} ms | {p99(took):.0f} ms | {share * 100:.0f} % "
        f"| {requests + replaced:.0f}/s | {replaced:.0f}/s |",
        flush=True,
    )
    return took


def compare(quiet: Sequence[float], watched: Sequence[float]) -> None:
    """Whether the one client noticed that somebody watches, over all turns."""
    for name, value in (("median", statistics.median), ("99 of 100", p99)):
        before, after = value(quiet), value(watched)
        print(f"{name}: {before:.2f} ms with nobody watching, {after:.2f} ms watched: {after / before:.2f} times")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--changing", type=int, default=500, help="connections that change in a second")
    parser.add_argument("--replacing", type=int, default=25, help="of these, connections that are others afterwards")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each row is measured")
    parser.add_argument("--keys", type=int, default=20, help="how many keys of each row")
    parser.add_argument("--turns", type=int, default=2, help="rows of the traffic with and without somebody watching")
    parser.add_argument("--size", default="120x40", help="of the terminal")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--crowd", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
    if options.crowd is not None:
        pki, port = options.crowd
        crowd(Path(pki), int(port), options.connections, options.changing, options.replacing)
        return 0
    with tempfile.TemporaryDirectory(prefix="tlsidecar-crowd-") as directory:
        pki = make_pki(Path(directory))
        issue_clients(Path(directory), THREADS)
        run(Path(directory), pki, options)
    return 0


def run(directory: Path, pki: Pki, options: argparse.Namespace) -> None:
    port, upstream = free_port(), free_port()
    config = directory / "tlsidecar.toml"
    values = {"directory": directory, "server": pki.server, "port": port, "upstream": upstream}
    config.write_text(CONFIG.format(**values, identity=CLIENT_ID, most=options.connections + 100))
    counts = ("--connections", options.connections, "--changing", options.changing, "--replacing", options.replacing)
    admin = directory / "admin.sock"
    with (
        child("benchmarks.crowd", "--serve", upstream),
        child("tlsidecar", "run", "--config", config) as sidecar,
    ):
        subprocess.run([sys.executable, "-m", "tlsidecar", "wait", "--socket", admin, "--timeout", "60s"], check=True)
        with child("benchmarks.crowd", *counts, "--crowd", directory, port) as crowded:
            await_crowd(admin, crowded, options.connections // THREADS * THREADS)
            columns, rows = (int(each) for each in options.size.split("x"))
            client = Client(directory / "client", port)
            print("| one client beside them | median | 99 of 100 | sidecar | changes | of these new connections |")
            print("|---|---|---|---|---|---|")
            quiet, watched = list[float](), list[float]()
            for _ in range(options.turns):
                quiet += traffic("nobody watches", client, sidecar.pid, crowded, options.seconds)
                console = Console(admin, columns, rows)
                try:
                    time.sleep(4.0)
                    console.press(b"2")
                    watched += traffic("the connections are watched", client, sidecar.pid, crowded, options.seconds)
                finally:
                    console.close()
            print()
            compare(quiet, watched)
            print()
            measure(admin, columns, rows, options.seconds, options.keys, LOOKS)


def await_crowd(admin: Path, crowded: subprocess.Popen[str], wanted: int) -> None:
    """Raises RuntimeError when they are not there in time."""
    deadline = time.monotonic() + OPEN_WITHIN_S
    while (there := json.loads(ask(admin, "/v1/status"))["totals"]["connections_active"]) < wanted:
        if crowded.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"only {there} of {wanted} connections were opened")
        time.sleep(1.0)
    assert crowded.stdout is not None
    for _ in range(THREADS):
        crowded.stdout.readline()
    print(f"{there:,} connections are open.\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
