"""A client that sends at a fixed rate, whatever the answers do (``python -m benchmarks.pacer``; JSON on stdout).

Open loop: requests are due at random moments (exponential gaps), and a latency runs from when a request was *due* to
the last byte of its answer, so that a proxy that stalls is charged for everything it held up. A fixed set of
connections is kept; a request that finds none free waits, and its wait counts. ``--rate 0`` sends as fast as answers
come, to learn what the whole rig can carry.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import random
import select
import socket
import statistics
import time
from collections import deque
from pathlib import Path

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from benchmarks.tls_client import client_context

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONNECT_WITHIN_S = 10.0
LONGEST_WAIT_S = 0.05
BUFFER_BYTES = 16384
_PR_SET_TIMERSLACK = 29  # prctl(2)


class Channel:
    """One connection, plain or TLS, with at most one request under way; ``due`` is when that was due. TLS goes straight
    to OpenSSL: this client shares its core with the service, and what it spends itself is load that is not there."""

    def __init__(self, sock: socket.socket, tls: SSL.Connection | None) -> None:
        self.sock = sock
        self.due = 0.0
        self.left = 0
        self._tls = tls
        self._ssl = tls._ssl if tls else None
        self._buffer = bytearray(BUFFER_BYTES)
        self._address = ffi.from_buffer(self._buffer)

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self) -> None:
        if self._ssl is None:
            self.sock.send(REQUEST)
        elif lib.SSL_write(self._ssl, REQUEST, len(REQUEST)) <= 0:
            raise ConnectionError("a request could not be written")

    def receive(self) -> int:
        """How many bytes are here; 0 for none yet. Raises ConnectionError at the end of the stream."""
        if self._ssl is None:
            count = self.sock.recv_into(self._buffer)
        else:
            count = lib.SSL_read(self._ssl, self._address, BUFFER_BYTES)
            if count <= 0 and lib.SSL_get_error(self._ssl, count) == lib.SSL_ERROR_WANT_READ:
                return 0
        if count <= 0:
            raise ConnectionError("closed by the other side")
        return int(count)


def connect(port: int, context: SSL.Context | None) -> Channel:
    sock = socket.create_connection(("127.0.0.1", port), CONNECT_WITHIN_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    if context is None:
        return Channel(sock, None)
    tls = SSL.Connection(context, sock)
    tls.set_connect_state()
    deadline = time.monotonic() + CONNECT_WITHIN_S
    while time.monotonic() < deadline:
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            select.select([sock], [], [], CONNECT_WITHIN_S)
        else:
            return Channel(sock, tls)
    raise TimeoutError("no handshake")


def response_bytes(channel: Channel) -> int:
    """One exchange, to learn how long the answer is: it is always the same."""
    channel.send()
    got = 0
    quiet_s = CONNECT_WITHIN_S
    while select.select([channel], [], [], quiet_s)[0]:
        got += channel.receive()
        quiet_s = 0.1 if got else CONNECT_WITHIN_S
    if not got:
        raise TimeoutError("no answer")
    return got


def pace(channels: list[Channel], size: int, rate: float, warm_up_s: float, measure_s: float) -> list[float]:
    """The latencies, in seconds, of the requests that were due after the warm-up."""
    clock = time.perf_counter
    latencies: list[float] = []
    free, waiting = deque(channels), deque[float]()
    by_descriptor = {channel.fileno(): channel for channel in channels}
    poll = select.epoll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    now = due = clock()
    counted_from, end = now + warm_up_s, now + warm_up_s + measure_s
    while now < end:
        while rate and due <= now:
            waiting.append(due)
            due += random.expovariate(rate)
        if not rate:
            waiting.extend([now] * len(free))
        while free and waiting:
            channel = free.popleft()
            channel.due, channel.left = waiting.popleft(), size
            channel.send()
        # epoll counts in milliseconds; select on the epoll does in microseconds.
        wait_s = min(LONGEST_WAIT_S, due - clock()) if rate else LONGEST_WAIT_S
        select.select([poll], [], [], max(0.0, wait_s))
        for descriptor, _ in poll.poll(0):
            channel = by_descriptor[descriptor]
            channel.left -= channel.receive()
            if channel.left <= 0:
                if channel.due >= counted_from:
                    latencies.append(clock() - channel.due)
                free.append(channel)
        now = clock()
    return latencies


def main() -> None:
    options = _options()
    context = None
    if options.cert:
        context = client_context(options.cert, options.key, options.trust, options.suite)
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    channels = [connect(options.port, context) for _ in range(options.connections)]
    size = response_bytes(channels[0])
    gc.collect()
    gc.disable()
    latencies = sorted(pace(channels, size, options.rate, options.warm_up, options.seconds))
    print(json.dumps(_summary(latencies, options.seconds)))


def _summary(latencies: list[float], seconds: float) -> dict[str, float]:
    def percentile(share: float) -> float:
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1e6

    return {
        "count": len(latencies),
        "rate": len(latencies) / seconds,
        "mean_us": statistics.fmean(latencies) * 1e6,
        "p50_us": percentile(0.50),
        "p99_us": percentile(0.99),
        "p999_us": percentile(0.999),
        "max_us": latencies[-1] * 1e6,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.pacer")
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rate", type=float, required=True, help="requests a second; 0 for as many as are answered")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=0.3)
    parser.add_argument("--cert", type=Path, help="with --key and --trust: over mutual TLS")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--trust", type=Path)
    parser.add_argument("--suite", default="TLS_AES_128_GCM_SHA256")
    return parser.parse_args()


if __name__ == "__main__":
    main()
