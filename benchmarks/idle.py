"""Idle connections: the memory each keeps, and the CPU that watching thousands of them costs."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.admin import watched
from benchmarks.contenders import Contender, Program, start
from benchmarks.entrances import entrances
from benchmarks.processes import KIB
from benchmarks.rig import Rig
from benchmarks.settings import H2
from benchmarks.stream_service import ACK, END_HEADERS, END_STREAM, frame

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
SETTLE_S = 1.0
EXCHANGE_WITHIN_S = 10.0
MIB = KIB * KIB


@dataclass(frozen=True)
class Memory:
    """By proportional set size, but for ``alone_mib``."""

    base_mib: float
    alone_mib: float
    per_connection_kib: float


@dataclass(frozen=True)
class Watching:
    """Shares of one core, in percent, with the connections open and idle."""

    idle_percent: float
    watched_percent: float
    reply_bytes: int


def memory(rig: Rig, program: Program, connections: int) -> Memory:
    """PSS of a proxy that has just started, and what each of ``connections`` adds after one exchange. Raises
    DidNotStart, and PermissionError where PSS is kept from us."""
    contender = start(program, rig.place)
    try:
        time.sleep(SETTLE_S)
        base, alone = contender.process.pss_bytes(), contender.process.alone_bytes()
        with idle_connections(rig, contender, connections):
            time.sleep(SETTLE_S)
            full = contender.process.pss_bytes()
    finally:
        rig.stop([contender])
    return Memory(base / MIB, alone / MIB, (full - base) / connections / KIB)


def watching(rig: Rig, program: Program, connections: int, seconds: float) -> Watching:
    """CPU of one of ours with ``connections`` idle, left alone and then watched. Raises DidNotStart."""
    contender = start(program, rig.place)
    try:
        with idle_connections(rig, contender, connections):
            time.sleep(SETTLE_S)
            alone_s = _cpu_over(contender, seconds)
            with watched(contender.admin_socket) as sizes:
                watched_s = _cpu_over(contender, seconds)
    finally:
        rig.stop([contender])
    return Watching(alone_s / seconds * 100, watched_s / seconds * 100, sum(sizes))


def _cpu_over(contender: Contender, seconds: float) -> float:
    before = contender.process.cpu_s()
    time.sleep(seconds)
    return contender.process.cpu_s() - before


@contextlib.contextmanager
def idle_connections(rig: Rig, contender: Contender, count: int) -> Iterator[None]:
    """``count`` mutual-TLS connections, each after one exchange, kept open."""
    with entrances(rig.place, [contender]) as doors, contextlib.ExitStack() as sockets:
        port = doors[contender].full
        for _ in range(count):
            connection = sockets.enter_context(socket.create_connection(("127.0.0.1", port), EXCHANGE_WITHIN_S))
            if contender.speaks == H2:
                _ask_over_h2(connection)
                continue
            connection.sendall(REQUEST)
            if not connection.recv(4096):
                raise RuntimeError(f"{contender.name} closed an idle connection")
        yield


def _ask_over_h2(connection: socket.socket) -> None:
    """One exchange, up to the end of its stream."""
    # HPACK: GET, http, and literals for the path and the authority.
    block = b"\x82\x86\x04\x06/small\x01\x09localhost"
    connection.sendall(PREFACE + frame(_SETTINGS, 0, 0) + frame(_HEADERS, END_HEADERS | END_STREAM, 1, block))
    data = b""
    while True:
        while len(data) < 9 or len(data) < 9 + int.from_bytes(data[:3], "big"):
            more = connection.recv(4096)
            if not more:
                raise RuntimeError("an HTTP/2 connection was closed before it could idle")
            data += more
        kind, flags = data[3], data[4]
        data = data[9 + int.from_bytes(data[:3], "big") :]
        if kind == _SETTINGS and not flags:
            connection.sendall(frame(_SETTINGS, ACK, 0))
        if kind in (_DATA, _HEADERS) and flags & END_STREAM:
            return
