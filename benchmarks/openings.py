"""A client that opens mutual-TLS connections one after the other, asks once on each, and closes them itself
(``python -m benchmarks.openings TALLY SECONDS PORT AT_ONCE CERTIFICATE KEY TRUST SUITE``).

As ``ab`` and ``openssl s_time`` do, but the answer is read whole and the connection ended in order, with close_notify,
by the side that opened it. The tally counts the connections that are done with. Ends with an error at the first that
fails.
"""

from __future__ import annotations

import errno
import gc
import select
import socket
import sys
import time
from pathlib import Path

from OpenSSL import SSL

from benchmarks.credentials import SERVER_NAME
from benchmarks.tally import Tally
from benchmarks.tls_client import client_context

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ANSWER_END = b"hello world\n"
BUFFER_BYTES = 16384
LONGEST_WAIT_S = 0.5


class Opening:
    """One connection, from its SYN to its end."""

    def __init__(self, context: SSL.Context, port: int) -> None:
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        failed = self.sock.connect_ex(("127.0.0.1", port))
        if failed not in (0, errno.EINPROGRESS):
            raise OSError(failed, "cannot connect")
        self._tls = SSL.Connection(context, self.sock)
        self._tls.set_connect_state()
        self._tls.set_tlsext_host_name(SERVER_NAME.encode())
        self._is_shaken = False
        self._answer = b""

    def go_on(self) -> bool:
        """As far as it goes now; whether it is done, and closed. Raises OSError and SSL.Error when it failed."""
        try:
            if not self._is_shaken:
                self._tls.do_handshake()
                self._is_shaken = True
                self._tls.send(REQUEST)
            while not self._answer.endswith(ANSWER_END):
                self._answer += self._tls.recv(BUFFER_BYTES)
        except (SSL.WantReadError, SSL.WantWriteError):
            return False
        if not self._answer.startswith(b"HTTP/1.1 200 "):
            raise OSError(f"another answer: {self._answer[:60]!r}")
        self._tls.shutdown()
        self.sock.close()
        return True


def work(context: SSL.Context, port: int, at_once: int, tally: Tally, seconds: float) -> None:
    poll = select.epoll()
    under_way: dict[int, Opening] = {}

    def begin() -> None:
        opening = Opening(context, port)
        under_way[opening.sock.fileno()] = opening
        # Each step is made whole before it waits for the other side: only what comes is waited for.
        poll.register(opening.sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    for _ in range(at_once):
        begin()
    end, done = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for descriptor, _ in poll.poll(LONGEST_WAIT_S):
            if under_way[descriptor].go_on():
                del under_way[descriptor]
                done += 1
                tally.count = done
                begin()


def main() -> None:
    tally, seconds, port, at_once, certificate, key, trust, suite = sys.argv[1:]
    context = client_context(Path(certificate), Path(key), Path(trust), suite)
    gc.collect()
    gc.disable()
    work(context, int(port), int(at_once), Tally(Path(tally)), float(seconds))


if __name__ == "__main__":
    main()
