"""A transcript for the relay: what each side does on the left, what is asked of the other on the right.

The TLS stream is scripted; the plain side and the reactor are doubles that remember what was done to them.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any, cast

from tlsidecar.dataplane.reactor import READ, WRITE
from tlsidecar.dataplane.relay import Relay
from tlsidecar.dataplane.stream import BUFFER, CLOSED, DONE, FAILED, VIEW, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits

TLS, PLAIN = 100, 101


class FakeReactor:
    def __init__(self) -> None:
        self.now = 50.0
        self.watched: dict[int, tuple[int, Any]] = {}

    def rewatch(self, descriptor: int, events: int, handler: Any) -> None:
        if events:
            self.watched[descriptor] = (events, handler)
        else:
            self.forget(descriptor)

    def forget(self, descriptor: int) -> None:
        self.watched.pop(descriptor, None)

    def watches(self, descriptor: int) -> str:
        events = self.watched.get(descriptor, (0, None))[0]
        return ("r" if events & READ else "") + ("w" if events & WRITE else "")


class FakeStream:
    """``incoming``: data, or CLOSED, or a failure. ``room`` bytes are taken before it would block."""

    def __init__(self) -> None:
        self.incoming: deque[bytes | int | SslFailure] = deque()
        self.written = b""
        self.room = 1 << 30
        self.ended = False
        self.taken_in = False  # the first record, by a look: the socket is not readable for it any more
        self.write_failure: SslFailure | None = None
        self.failure: SslFailure | None = None

    def read(self) -> int:
        return self._read(0)

    def read_more(self, start: int) -> int:
        return self._read(start)

    def peek(self) -> int:
        if self.incoming and isinstance(self.incoming[0], SslFailure):
            self.failure = self.incoming[0]
            return FAILED
        self.taken_in = bool(self.incoming)
        return 1 if self.incoming else WANT_READ

    def _read(self, start: int) -> int:
        if not self.incoming:
            return WANT_READ
        item = self.incoming.popleft()
        self.taken_in = False
        if isinstance(item, SslFailure):
            self.failure = item
            return FAILED
        if isinstance(item, int):
            return item
        BUFFER[start : start + len(item)] = item
        return len(item)

    def write(self, start: int, stop: int) -> int:
        return self.write_bytes(bytes(VIEW[start:stop]))

    def write_bytes(self, data: bytes) -> int:
        if self.write_failure is not None:
            self.failure = self.write_failure
            return FAILED
        taken = min(len(data), self.room)
        self.written += bytes(data[:taken])
        self.room -= taken
        return taken or WANT_WRITE

    def close_notify(self) -> int:
        if self.room <= 0:
            return WANT_WRITE
        self.ended = True
        return DONE


class FakeSocket:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.incoming: deque[bytes | OSError] = deque()
        self.sent = b""
        self.room = 1 << 30
        self.broken = 0  # errno
        self.ended = False
        self.unread = b""

    def fileno(self) -> int:
        return self.descriptor

    def recv_into(self, window: memoryview) -> int:
        data = self.recv(len(window))
        window[: len(data)] = data
        return len(data)

    def recv(self, most: int, flags: int = 0) -> bytes:
        if flags:
            return self.unread[:most]
        if not self.incoming:
            raise BlockingIOError
        item = self.incoming.popleft()
        if isinstance(item, OSError):
            raise item
        if len(item) > most:
            self.incoming.appendleft(item[most:])
        return item[:most]

    def send(self, data: bytes | memoryview) -> int:
        if self.broken:
            raise OSError(self.broken, os.strerror(self.broken))
        if not self.room:
            raise BlockingIOError
        taken = min(len(data), self.room)
        self.sent += bytes(data[:taken])
        self.room -= taken
        return taken

    def shutdown(self, how: int) -> None:
        self.ended = True


class Play:
    def __init__(self, *, limits: Limits | None = None, remote: bool = False, before: bytes = b"") -> None:
        self.reactor = FakeReactor()
        self.stream = FakeStream()
        self.tls, self.plain = FakeSocket(TLS), FakeSocket(PLAIN)
        self.endings: list[tuple[Reason, str]] = []
        make = cast("Any", Relay)
        self.relay: Relay = make(
            self.reactor, self.stream, self.tls, self.plain, limits or Limits(), self, remote=remote
        )
        self.relay.pending_in = before
        self.relay.start()

    def relay_ended(self, reason: Reason, detail: str) -> None:
        self.endings.append((reason, detail))

    # What the two sides do.

    def tls_sends(self, *items: bytes | int | SslFailure) -> Play:
        self.stream.incoming += items
        return self.turn()

    def plain_sends(self, *items: bytes | OSError) -> Play:
        self.plain.incoming += items
        return self.turn()

    def turn(self) -> Play:
        """Call whoever is watched for what is there, until nothing changes."""
        for _ in range(100):
            before = self._state()
            for descriptor in (TLS, PLAIN):
                if descriptor in self.reactor.watched:
                    events, handler = self.reactor.watched[descriptor]
                    ready = self._ready(descriptor) & events
                    if ready:
                        handler(ready)
            if self._state() == before:
                return self
        raise AssertionError("it never comes to rest")

    def _ready(self, descriptor: int) -> int:
        if descriptor == TLS:
            readable = len(self.stream.incoming) > self.stream.taken_in
            return (READ if readable else 0) | (WRITE if self.stream.room > 0 else 0)
        return (READ if self.plain.incoming else 0) | (WRITE if self.plain.room > 0 or self.plain.broken else 0)

    def _state(self) -> tuple[object, ...]:
        return (
            len(self.stream.incoming),
            len(self.plain.incoming),
            self.stream.written,
            self.plain.sent,
            repr(self.relay),
            self.reactor.watches(TLS),
            self.reactor.watches(PLAIN),
        )

    @property
    def watches(self) -> tuple[str, str]:
        """What is waited for on the TLS side, and on the plain one."""
        return self.reactor.watches(TLS), self.reactor.watches(PLAIN)


END = CLOSED
RESET = SslFailure(FailureKind.RESET, "ECONNRESET: Connection reset by peer")
TRUNCATED = SslFailure(FailureKind.TRUNCATED, "the connection ended without close_notify")
REFUSED = SslFailure(FailureKind.ALERT, "the peer sent the alert unknown_ca", "unknown_ca")
