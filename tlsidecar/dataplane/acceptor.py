"""Accepting from one listening socket."""

from __future__ import annotations

import errno
import select
import socket
from typing import Any, Protocol

from tlsidecar.dataplane import descriptors
from tlsidecar.dataplane.addresses import peer_address
from tlsidecar.dataplane.board import Turn
from tlsidecar.dataplane.reactor import Reactor

# So many connections are accepted in one turn before the established ones are served again.
ACCEPTS_PER_EVENT = 64

# A worker whose turn it is not looks again so often, while somebody waits to be accepted …
LOOK_AGAIN_S = 0.001
# … and when those whose turn it is have taken nobody for this long, it takes one in their place each time.
PATIENCE_S = 0.005

# What was wrong with one connection that waited, or a firewall's word about it: the next one may be accepted at once
# (accept(2), "Error handling").
_OF_ONE_CONNECTION = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
        errno.ETIMEDOUT,
    }
)


class AcceptorOwner(Protocol):
    """Whom to hand over to. ``turn`` is None where no other worker accepts on the same socket."""

    turn: Turn | None

    @property
    def reactor(self) -> Reactor: ...

    def accepted(self, sock: socket.socket, peer_address: str) -> None:
        """Somebody was let in."""
        ...

    def pause_accepting(self, number: int) -> None:
        """Accepting fails with this errno, mostly for want of descriptors."""
        ...

    def pause(self) -> None:
        """Accept nobody for a moment."""
        ...


class Acceptor:
    """The handler of one listening socket: takes who waits there, in its turn where several workers share it."""

    __slots__ = ("_accepts", "_door", "_family", "_looks_again", "_others_took", "_patient_until", "_socket", "_turn")

    def __init__(self, door: AcceptorOwner, sock: socket.socket) -> None:
        self._door = door
        self._socket = sock
        self._family = sock.family
        self._looks_again = False
        self._accepts = 1
        self._turn = 0  # the last in which somebody was taken
        self._others_took = -1
        self._patient_until = 0.0

    def __call__(self, _events: int) -> None:
        if self._door.turn is not None:
            self._accept_in_turn(self._door.turn)
            return
        # One at first: mostly there is one, and asking for another costs more than being woken for it. While the queue
        # proves longer, by somebody who waits in the very next turn, twice as many each time.
        turn = self._door.reactor.turn
        if turn != self._turn + 1:
            self._accepts = 1
        self._turn = turn
        for _ in range(self._accepts):
            if not self._accept():
                self._accepts = 1
                return
        self._accepts = min(2 * self._accepts, ACCEPTS_PER_EVENT)

    def fail(self) -> None:
        """Something else than accepting failed, for want of memory or by a defect of ours: that costs whoever was to be
        let in, and not the listening socket."""
        self._door.pause()

    def _accept_in_turn(self, turn: Turn) -> None:
        for _ in range(ACCEPTS_PER_EVENT):
            if not turn.is_mine():
                break
            if not self._accept():
                return
        self._look_again()

    def _accept(self) -> bool:
        """Accept one, or pass over one that failed; False when there is none, or nothing to accept it with."""
        door = self._door
        try:
            sock, name = take(self._socket, self._family)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _OF_ONE_CONNECTION:
                return True
            if error.errno != errno.EINVAL:  # another process ended listening (tlsidecar.dataplane.bind.stop_listening)
                door.pause_accepting(error.errno or 0)
            return False
        has_room = descriptors.may_accept(sock.fileno())
        door.accepted(sock, peer_address(self._family, name))
        if not has_room:
            door.pause_accepting(errno.EMFILE)
        return has_room

    def _look_again(self) -> None:
        if not self._looks_again:
            self._looks_again = True
            self._door.reactor.loop.call_later(LOOK_AGAIN_S, self._second_look)

    def _second_look(self) -> None:
        """Take who is still there when it is our turn by now, or when whoever's turn it is takes nobody: it is busy, or
        stopped, or dead."""
        self._looks_again = False
        turn = self._door.turn
        if turn is None or self._socket.fileno() < 0:
            return
        if not turn.is_mine() and not _is_readable(self._socket):
            return  # mostly: another has it
        now = self._door.reactor.loop.time()
        others_took = turn.others_took()
        if others_took != self._others_took:
            self._others_took = others_took
            self._patient_until = now + PATIENCE_S
        if not turn.is_mine() and now >= self._patient_until and turn.may_help() and not self._accept():
            return
        self._accept_in_turn(turn)


def take(listening: socket.socket, family: int) -> tuple[socket.socket, Any]:
    """As ``listening.accept()``, of which this is made, but that asks the socket each time what those that it accepts
    are: a quarter of the whole. Raises :class:`OSError`."""
    descriptor, name = listening._accept()  # type: ignore[attr-defined]
    return socket.socket(family, socket.SOCK_STREAM, 0, descriptor), name


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
