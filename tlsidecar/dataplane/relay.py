"""Relaying bytes between a TLS stream and a plain socket, both ways at once.

There are two flows: *inward* (TLS to plain) and *outward* (plain to TLS). Which side is the peer and which the local
service makes no difference here: terminating and originating are the same relay. A flow goes through these states:

    OPEN ──the source's end was read──▶ ENDING ──what is pending is written──▶ ENDED
      └───the sink is broken──▶ DISCARDING ──the source's end was read──▶ ENDED        (inward only)

    source's end     inward: close_notify                     outward: FIN
    told the sink    inward: FIN (shutdown of writing)        outward: close_notify, then FIN

- While a flow has bytes pending its source is not read: at most one read's worth waits in memory for each direction.
  A read is bounded by the high-water mark, and by the whole shared buffer only while the reader has kept up.
- When both flows have ended, the relay is done: ``COMPLETED``.
- Anything else (a reset, a FIN without close_notify, a broken record) aborts: neither side may take it for an end, so
  the plain side is reset and the TLS side gets no close_notify.
- When we are the client, the server may refuse us after our handshake is over (TLS 1.3). So until its first byte each
  write is one record, and looks for its alert first (:mod:`.late_alert`).
- A plain side that no longer takes data may still have an answer to give (a service that refuses an upload): inward
  bytes are then discarded while outward ones are still delivered.

Handlers are swapped with the state, so that the ordinary read asks no questions. Nothing here allocates more than a
view per read; nothing formats, logs or tells the time.
"""

from __future__ import annotations

import errno
import socket
from enum import Enum, auto
from functools import lru_cache
from typing import Protocol

from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.late_alert import late_alert
from tlsidecar.dataplane.reactor import READ, WRITE, Reactor
from tlsidecar.dataplane.stream import (
    CLOSED,
    DONE,
    FAILED,
    MOST_GATHERED_BYTES,
    RECORD_BYTES,
    VIEW,
    WANT_READ,
    WANT_WRITE,
)
from tlsidecar.dataplane.tls_failure import FailureKind
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits


class RelayOwner(Protocol):
    """Whose connection a relay serves."""

    def relay_ended(self, reason: Reason, detail: str) -> None: ...


@lru_cache(maxsize=64)
def _first(size: int) -> memoryview:
    """The first ``size`` bytes of the shared buffer: one view for all connections with this high-water mark."""
    return VIEW[:size]


class Flow(Enum):
    """One direction; see the module."""

    OPEN = auto()
    ENDING = auto()
    DISCARDING = auto()
    ENDED = auto()


# CPython 3.11 looks a member up in its class for three times what a name of the module takes.
OPEN, ENDING, DISCARDING, ENDED = Flow


class Relay:
    """Two flows between one TLS stream and one plain socket; tells its owner once how it ended."""

    __slots__ = (
        "_broken_by",
        "_gathered",
        "_high_water",
        "_least_gathered",
        "_limits",
        "_may_refuse",
        "_owner",
        "_plain",
        "_reactor",
        "_read_wants_write",
        "_stream",
        "_tls",
        "_window",
        "active_at",
        "bytes_in",
        "bytes_out",
        "inward",
        "outward",
        "pending_in",
        "pending_out",
    )

    def __init__(
        self,
        reactor: Reactor,
        stream: Stream,
        tls: socket.socket,
        plain: socket.socket,
        limits: Limits,
        owner: RelayOwner,
        *,
        remote: bool = False,
    ) -> None:
        """``remote``: the TLS stream leads to a server, whose client we are."""
        self._reactor = reactor
        self._stream = stream
        self._tls = tls
        self._plain = plain
        self._limits = limits
        self._owner: RelayOwner | None = owner  # None once it has ended
        self._high_water = _first(limits.buffer_bytes)
        self._window = self._high_water
        self._gathered = self._least_gathered = min(limits.buffer_bytes, MOST_GATHERED_BYTES)
        self._read_wants_write = False
        self._broken_by: OSError | None = None
        self._may_refuse = remote
        self.bytes_in = 0
        self.bytes_out = 0
        self.active_at = reactor.now
        self.inward = OPEN
        self.outward = OPEN
        self.pending_in = b""
        self.pending_out = b""

    def __repr__(self) -> str:
        return (
            f"<Relay inward={self.inward.name}+{len(self.pending_in)} outward={self.outward.name}"
            f"+{len(self.pending_out)} in={self.bytes_in} out={self.bytes_out}>"
        )

    @property
    def patience_s(self) -> float:
        """How long it may stay without a byte moving before it is given up."""
        if self.inward is OPEN and self.outward is OPEN:
            stalled = self.pending_in or self.pending_out
            return self._limits.write_timeout_s if stalled else self._limits.idle_timeout_s
        return self._limits.close_timeout_s

    @property
    def timeout_reason(self) -> Reason:
        """Why it is given up once its patience is at an end."""
        if self.inward is OPEN and self.outward is OPEN:
            return Reason.SLOW_READER if self.pending_in or self.pending_out else Reason.IDLE_TIMEOUT
        return Reason.CLOSE_TIMEOUT

    def start(self) -> None:
        """Both ends are ready: begin, with what the TLS peer may have sent meanwhile."""
        self._reactor.rewatch(self._tls.fileno(), READ, self._tls_readable)
        self._reactor.rewatch(
            self._plain.fileno(), READ, self._plain_event if self._may_refuse else self._plain_readable
        )
        if self.pending_in:
            # A header of ours goes before everything the peer has sent, and at once: the service may speak first.
            self._flush_inward()
        if self.pending_out:
            self._flush_outward()
        if self._owner is None or self.pending_in:
            self._interests()
            return
        if self.inward is OPEN:
            self._tls_readable(READ)

    def stop(self) -> None:
        """Watch nothing any more; the owner will not be told."""
        if self._owner is None:
            return
        self._owner = None
        self._reactor.forget(self._tls.fileno())
        self._reactor.forget(self._plain.fileno())
        self.pending_in = self.pending_out = b""

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self._end(Reason.INTERNAL_ERROR, "")

    # Inward: TLS to plain.

    # On the ordinary path methods are called on what a slot holds: CPython 3.11 makes no method object then, and none
    # has to be kept, 64 bytes each, for every connection.

    def _tls_readable(self, _events: int) -> None:
        stream = self._stream
        answer = count = stream.read()
        if count == RECORD_BYTES:
            # A full record: more of them are likely at hand, and one large send costs less than several.
            while count < self._gathered:
                answer = stream.read_more(count)
                if answer > 0:
                    count += answer
                if answer != RECORD_BYTES:
                    break
        self.active_at = self._reactor.now
        if count > 0:
            self.bytes_in += count
            try:
                sent = self._plain.send(VIEW[:count])
            except BlockingIOError:
                sent = 0
            except OSError as error:
                sent = count
                self._plain_broken(error)
            if sent != count:
                self.pending_in = bytes(VIEW[sent:count])
                self._gathered = self._least_gathered
                self._interests()
            elif count > self._least_gathered - RECORD_BYTES:
                self._gathered = MOST_GATHERED_BYTES
        if answer <= 0 and answer != WANT_READ and self._owner is not None:
            self._tls_read_ended(answer)

    def _tls_read_ended(self, answer: int) -> None:
        if answer == WANT_WRITE:
            self._read_wants_write = True
            self._interests()
        elif answer == CLOSED:
            if self.inward is DISCARDING:
                self.inward = ENDED
            else:
                self.inward = ENDING
                self._end_inward()
            self._settle()
        else:
            self._tls_failed()

    def _tls_event(self, events: int) -> None:
        """The TLS side while something waits to be written to it, or is not being read."""
        if self._read_wants_write:
            self._read_wants_write = False
            self._interests()
        if self.pending_out or self.outward is ENDING:
            self._flush_outward()
            if self._owner is None:
                return
        if self.inward is OPEN and not self.pending_in:
            self._tls_readable(events)
        elif self.inward is DISCARDING:
            self._discard(events)

    def _discard(self, _events: int) -> None:
        count = self._stream.read()
        if count > 0:
            self.bytes_in += count
        elif count != WANT_READ:
            self._tls_read_ended(count)

    def _flush_inward(self) -> None:
        try:
            sent = self._plain.send(self.pending_in)
        except BlockingIOError:
            return
        except OSError as error:
            self._plain_broken(error)
            return
        self.active_at = self._reactor.now
        self.pending_in = self.pending_in[sent:]
        if self.pending_in:
            return
        if self.inward is ENDING:
            self._end_inward()
            self._settle()
            return
        self._interests()

    def _end_inward(self) -> None:
        if self.pending_in:
            return
        self.inward = ENDED
        if self.outward is not ENDED:  # else the socket is closed at once, and that is its FIN
            _end_writing(self._plain)

    def _plain_broken(self, error: OSError) -> None:
        """The plain side takes no more. What it still has to say is delivered; what comes for it is thrown away. A
        reset is told once, here, and looks like an end afterwards; it is one where an end came before it (EPIPE)."""
        if error.errno != errno.EPIPE:
            self._broken_by = error
        self.pending_in = b""
        self.inward = DISCARDING if self.inward is OPEN else ENDED
        self._settle()

    # Outward: plain to TLS.

    def _plain_readable(self, _events: int) -> None:
        try:
            count = self._plain.recv_into(self._window)
        except BlockingIOError:
            return
        except OSError as error:
            self._plain_reset(error)
            return
        self.active_at = self._reactor.now
        if not count:
            self._plain_ended()
            return
        self.bytes_out += count
        stream = self._stream
        written = stream.write(0, count)
        while 0 < written < count:
            more = stream.write(written, count)
            if more <= 0:
                self._write_blocked(more, written, count)
                return
            written += more
        if written <= 0:
            self._write_blocked(written, 0, count)
        elif count == len(self._window):
            self._window = VIEW  # it filled its window and the reader took it all: larger steps cost less

    def _plain_ended(self) -> None:
        if self._broken_by is not None:
            self._plain_reset(self._broken_by)
            return
        self.outward = ENDING
        self._flush_outward()

    def _write_blocked(self, answer: int, written: int, count: int) -> None:
        if answer == FAILED:
            self._tls_failed()
            return
        self.pending_out = bytes(VIEW[written:count])
        self._window = self._high_water
        self._interests()

    def _plain_event(self, events: int) -> None:
        """The plain side while something waits to be written to it, or is not being read."""
        if self.pending_in:
            self._flush_inward()
            if self._owner is None:
                return
        if self.outward is OPEN and not self.pending_out:
            if self._may_refuse:
                self._plain_readable_by_record()
            else:
                self._plain_readable(events)

    def _plain_readable_by_record(self) -> None:
        """While the remote may still refuse us: what is read waits, and is written with care."""
        try:
            data = self._plain.recv(len(self._high_water))
        except BlockingIOError:
            return
        except OSError as error:
            self._plain_reset(error)
            return
        self.active_at = self._reactor.now
        if not data:
            self._plain_ended()
            return
        self.bytes_out += len(data)
        self.pending_out = data
        self._flush_outward()

    def _is_refused(self) -> bool:
        """Look for the remote's alert before something is written to it: whether it was that, or its end."""
        if self.bytes_in:
            self._may_refuse = False
            return False
        peeked = self._stream.peek()
        if peeked == FAILED:
            self._tls_failed()
        elif peeked not in (WANT_READ, WANT_WRITE) and self.inward is OPEN:
            # It speaks. The record is in OpenSSL by now: the socket need not become readable for it.
            self._tls_readable(READ)
        return self._owner is None

    def _flush_outward(self) -> None:
        while self.pending_out:
            if self._may_refuse and self._is_refused():
                return
            most = RECORD_BYTES if self._may_refuse else len(self.pending_out)
            written = self._stream.write_bytes(self.pending_out[:most])
            if written == FAILED:
                self._tls_failed()
                return
            if written <= 0:
                self._interests()
                return
            self.active_at = self._reactor.now
            self.pending_out = self.pending_out[written:]
        if self.outward is ENDING:
            answer = self._stream.close_notify()
            if answer == FAILED:
                self._tls_failed()
                return
            if answer != DONE:
                self._interests()
                return
            self.outward = ENDED
            if self.inward is not ENDED:  # as in _end_inward
                _end_writing(self._tls)
        self._settle()

    # Both.

    def _settle(self) -> None:
        """A flow has ended or has been unblocked: done, or go on with what is left."""
        if self.inward is ENDED and self.outward is ENDED:
            self._end(Reason.COMPLETED, "")
        else:
            self._interests()

    def _interests(self) -> None:
        if self._owner is None:
            return
        reads = (self.inward is OPEN and not self.pending_in) or self.inward is DISCARDING
        writes = bool(self.pending_out) or self.outward is ENDING or self._read_wants_write
        ordinary = reads and not writes and self.inward is OPEN
        self._reactor.rewatch(
            self._tls.fileno(),
            (READ if reads else 0) | (WRITE if writes else 0),
            self._tls_readable if ordinary else self._tls_event,
        )
        reads = self.outward is OPEN and not self.pending_out
        writes = bool(self.pending_in)
        self._reactor.rewatch(
            self._plain.fileno(),
            (READ if reads else 0) | (WRITE if writes else 0),
            self._plain_event if writes or self._may_refuse else self._plain_readable,
        )

    def _tls_failed(self) -> None:
        failure = self._stream.failure
        assert failure is not None
        if self._may_refuse and failure.kind is FailureKind.RESET and not self.bytes_in:
            failure = late_alert(self._tls) or failure
        self._end(failure.stream_reason(), failure.text)

    def _plain_reset(self, error: OSError) -> None:
        self._end(Reason.UPSTREAM_RESET, error.strerror or type(error).__name__)

    def _end(self, reason: Reason, detail: str) -> None:
        owner = self._owner
        if owner is not None:
            self.stop()
            owner.relay_ended(reason, detail)


def _end_writing(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
