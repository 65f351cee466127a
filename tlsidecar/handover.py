"""One sidecar takes the listening sockets of another, over a Unix socket beside the admin socket.

    successor                              predecessor
    take ────────────────────────────────▶ (same user, or root)
         ◀──────────────────────────────── its listening sockets, with what each listens on
    ready, and accepting ────────────────▶ both accept now; the predecessor lets go of its admin socket
         ◀──────────────────────────────── yours, and drains

Each word is a line, and the list of sockets is one line of JSON, ``[[name, listen], …]``. The two are of different
versions more often than not, so this much stays as it is, and what a later version adds is passed over here: more words
on a line, more values for a socket, or an object whose ``sockets`` is that list.

The sockets are shared, so that at no instant nobody listens. Whatever goes wrong before ``ready`` leaves the
predecessor as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tlsidecar.admin.access import caller_of, may_enter
from tlsidecar.admin.binding import SocketFile
from tlsidecar.dataplane.bind import HeldSocket
from tlsidecar.settings import ListenerSettings

MOST_SOCKETS = 250  # what one message may carry (SCM_MAX_FD is 253)
LINE_BYTES = 4096
LIST_BYTES = 65536
WORD_S = 5.0
READY_WITHIN_S = 300.0
# What was accepted just before is let alone for so long: a handshake that is under way, a request that is on its way.
GRACE_S = 1.0

_TAKE, _READY, _YOURS = b"take", b"ready", b"yours"

_log = logging.getLogger("tlsidecar.handover")


class HandoverError(Exception):
    """The running sidecar does not hand over; the text says why. It serves on."""


def handover_path(admin_socket: Path) -> Path:
    """Where the sidecar with ``admin_socket`` hands over: of its own, since one directory may hold the sockets of many.

    It does not end in ``.sock``, by which admin sockets are found, and is no longer than the admin socket's path.
    """
    name = admin_socket.name
    return admin_socket.with_name(
        f"{name.removesuffix('.sock')}.take" if name.endswith(".sock") else f"{name}.handover"
    )


class Predecessor:
    """The running sidecar's side: waits for somebody who takes over."""

    def __init__(
        self,
        path: Path,
        listeners: Sequence[ListenerSettings],
        bound: Mapping[str, Sequence[socket.socket]],
        let_go: Callable[[], Awaitable[None]],
    ) -> None:
        """``let_go`` gives up what the successor cannot share, and has the drain begin."""
        self._file = SocketFile(path)
        self._listeners = listeners
        self._bound = bound
        self._let_go = let_go

    def close(self) -> None:
        """Nobody can take over any more."""
        self._file.close()

    async def wait(self) -> None:
        """Until somebody has taken over."""
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._file.socket)
            with connection:
                try:
                    if await self._hand_over(connection):
                        return
                except (OSError, TimeoutError, ValueError) as error:
                    _log.warning("nobody took over; serving on: %s", error or type(error).__name__)

    async def _hand_over(self, connection: socket.socket) -> bool:
        caller = caller_of(connection)
        if not may_enter(caller, (), None):
            raise ValueError(f"uid {caller.uid} may not")
        successor = _Words(connection)
        await successor.hear(_TAKE, WORD_S)
        handed = [(one.name, str(one.listen), sock) for one in self._listeners for sock in self._bound[one.name]]
        sockets = [sock for *_, sock in handed if sock.fileno() >= 0]
        words = json.dumps([[name, listen] for name, listen, sock in handed if sock.fileno() >= 0]).encode() + b"\n"
        if len(sockets) > MOST_SOCKETS:
            raise ValueError(f"{len(sockets)} sockets are too many")
        connection.setblocking(True)
        socket.send_fds(connection, [words], [sock.fileno() for sock in sockets])
        connection.setblocking(False)
        _log.info("handing over", extra={"fields": {"successor": caller.pid, "sockets": len(sockets)}})
        await successor.hear(_READY, READY_WITHIN_S)
        for sock in sockets:
            sock.__class__ = HeldSocket  # the successor's from now on: to be closed, and no more
        await self._let_go()
        with contextlib.suppress(OSError):
            connection.send(_YOURS + b"\n")
        return True


class Successor:
    """The side of the one that takes over."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._taken: list[socket.socket] = []

    @classmethod
    def call(cls, path: Path) -> Successor | None:
        """None when nobody runs. Raises :class:`HandoverError`."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(WORD_S)
        try:
            connection.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        except OSError as error:
            connection.close()
            raise HandoverError(f"{path}: {error.strerror or error}") from None
        return cls(connection)

    def sockets(self, listeners: Iterable[ListenerSettings]) -> dict[str, list[socket.socket]]:
        """Those of the listeners that have the same name and address here as there; the others are let go.

        Raises :class:`HandoverError`.
        """
        descriptors: list[int] = []
        try:
            self._connection.sendall(_TAKE + b"\n")
            words, descriptors, _, _ = socket.recv_fds(self._connection, LIST_BYTES, MOST_SOCKETS)
            while not words.endswith(b"\n"):
                more = self._connection.recv(LIST_BYTES)
                if not more:
                    raise ValueError("it hung up")
                words += more
            named = _named(words)
            if len(named) != len(descriptors):
                raise ValueError("the sockets do not fit their names")
        except (OSError, ValueError) as error:
            for descriptor in descriptors:
                os.close(descriptor)
            self.close()
            raise HandoverError(f"the running sidecar does not hand over: {error or 'it hung up'}") from None
        wanted = {(listener.name, str(listener.listen)) for listener in listeners}
        found: dict[str, list[socket.socket]] = {}
        for (name, listen), descriptor in zip(named, descriptors, strict=True):
            sock = HeldSocket(fileno=descriptor)
            if (name, listen) not in wanted:
                sock.close()
                continue
            sock.setblocking(False)
            self._taken.append(sock)
            found.setdefault(name, []).append(sock)
        return found

    async def take(self) -> None:
        """We accept: the other lets go. Raises :class:`HandoverError`."""
        self._connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_sendall(self._connection, _READY + b"\n")
            await _Words(self._connection).hear(_YOURS, READY_WITHIN_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise HandoverError(f"the running sidecar did not let go: {error or type(error).__name__}") from None
        finally:
            self.close()
        for sock in self._taken:
            if sock.fileno() >= 0:
                sock.__class__ = socket.socket  # ours alone from now on

    def close(self) -> None:
        """Hang up; before :meth:`take` the other side then serves on as if nothing had been."""
        self._connection.close()


def _named(words: bytes) -> list[tuple[str, str]]:
    """Name and address of each socket. Raises ValueError."""
    document = json.loads(words)
    listed = document.get("sockets") if isinstance(document, dict) else document
    if not isinstance(listed, list):
        raise ValueError("it does not say which sockets these are")
    found = [tuple(each[:2]) if isinstance(each, list) else () for each in listed]
    if not all(len(each) == 2 and all(isinstance(text, str) for text in each) for each in found):
        raise ValueError("it does not say which sockets these are")
    return [(name, listen) for name, listen in found]


class _Words:
    """What the other side says, a line at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._heard = b""

    async def hear(self, word: bytes, within_s: float) -> None:
        """Wait for a line that begins with ``word``. Raises OSError, TimeoutError, and ValueError for another line."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(within_s):
            while b"\n" not in self._heard and len(self._heard) < LINE_BYTES:
                data = await loop.sock_recv(self._connection, LINE_BYTES)
                if not data:
                    raise ValueError("it hung up")
                self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        if line.split(b" ", 1)[0] != word:
            raise ValueError(f"it said {line[:16]!a}")
