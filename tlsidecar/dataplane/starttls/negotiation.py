"""Plays a script on a socket, within a deadline."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from typing import NamedTuple

from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.reactor import EDGE, READ, Reactor
from tlsidecar.dataplane.starttls.script import MOST_SHOWN_BYTES, Next, Script


class Ended(NamedTuple):
    """How a negotiation went: ``message`` is what the last step took. ``late``: the time was up; ``empty``: the other
    side went without a byte."""

    next: Next
    detail: str = ""
    message: bytes = b""
    late: bool = False
    empty: bool = False


class Negotiation:
    """Plays a script on a non-blocking socket; ``ended`` is called once, with the socket not watched, perhaps before
    :meth:`start` returns."""

    __slots__ = ("_aim", "_deadlines", "_ended", "_reactor", "_script", "_silent", "_sock")

    def __init__(
        self,
        reactor: Reactor,
        deadlines: DeadlineQueue,
        sock: socket.socket,
        script: Script,
        ended: Callable[[Ended], None],
        *,
        aim: str = "TLS was agreed on",
    ) -> None:
        self._aim = aim
        self._reactor = reactor
        self._deadlines = deadlines
        self._sock = sock
        self._script = script
        self._ended: Callable[[Ended], None] | None = ended
        self._silent = True

    def __repr__(self) -> str:
        return f"<Negotiation {type(self._script).__name__} {'running' if self._ended else 'over'}>"

    def start(self) -> None:
        self._deadlines.add(self, self._expired)
        self._reactor.watch(self._sock.fileno(), READ | EDGE, self._readable)
        if self._script.opening and not self._say(self._script.opening):
            return
        self._readable(READ)

    def cancel(self) -> None:
        """Give up; ``ended`` is not called any more."""
        if self._ended is not None:
            self._ended = None
            self._deadlines.lift(self)
            self._reactor.forget(self._sock.fileno())

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self._end(Ended(Next.REFUSED, "internal error"))

    def _readable(self, _events: int) -> None:
        while self._ended is not None:
            is_all = _has_ended(self._sock)  # asked first: what is shown after it is all that there will be
            try:
                shown = self._sock.recv(MOST_SHOWN_BYTES, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(Ended(Next.REFUSED, error.strerror or str(error), empty=self._silent))
                return
            if not shown:
                self._end(Ended(Next.REFUSED, f"it ended before {self._aim}", empty=self._silent))
                return
            self._silent = False
            step = self._script.look(shown)
            if step.take:
                self._sock.recv(step.take)
            if step.answer and not self._say(step.answer):
                return
            if step.next is Next.MORE:
                if step.take:
                    continue
                if not is_all:
                    return  # the next edge tells when more has come, or the end
                self._end(Ended(Next.REFUSED, f"it ended before {self._aim}"))
                return
            self._end(Ended(step.next, step.detail, shown[: step.take]))

    def _say(self, data: bytes) -> bool:
        """A few bytes on a socket that little was sent on yet: they fit, or it is broken."""
        with contextlib.suppress(OSError):
            if self._sock.send(data) == len(data):
                return True
        self._end(Ended(Next.REFUSED, "it cannot be written to", empty=self._silent))
        return False

    def _expired(self) -> None:
        self._end(Ended(Next.REFUSED, f"{self._deadlines.after_s:g} s were over before {self._aim}", late=True))

    def _end(self, how: Ended) -> None:
        ended = self._ended
        if ended is not None:
            self.cancel()
            ended(how)


def _has_ended(sock: socket.socket) -> bool:
    """Whether the other side will send no more. An end that came together with bytes that wait has no edge of its own,
    and does not show while these are only looked at."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))
