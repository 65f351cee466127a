"""One entrance of the admin API: who is let in, and how many at once.

The admin API shares its loop with the traffic, so it has a small budget: a fixed number of clients. The next one waits
until somebody leaves. Whoever holds a place without using it has to make room: first a kept-alive connection between
requests, then one whose request has been long in coming. So neither idle clients nor slow ones can keep an operator
out.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
from collections.abc import Callable

from tlsidecar.admin.access import Access, caller_of, groups_of, may_enter
from tlsidecar.admin.api import Api
from tlsidecar.admin.exchange import Client
from tlsidecar.admin.messages import ERROR_CODES
from tlsidecar.api.times import timestamp
from tlsidecar.observe.audit import Caller

CLIENTS_AT_ONCE = 16
# A request that has not come within this time gives up its place to somebody who waits.
SLOW_REQUEST_S = 1.0
PLACE_POLL_S = 0.1
ACCEPT_PAUSE_S = 0.1
CLOSE_GRACE_S = 1.0

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

_log = logging.getLogger("tlsidecar.admin")


class Door:
    """One listening socket and its clients. ``stay_open`` runs until it is cancelled."""

    def __init__(
        self,
        listener: socket.socket,
        access: Access,
        hosts: frozenset[str] | None,
        group_id: int | None,
        api: Api,
    ) -> None:
        """``hosts`` are the names that Host may have, None for any; ``group_id`` is the group whose members may enter,
        beside our own user and root."""
        self._listener = listener
        self._access = access
        self._hosts = hosts
        self._group_id = group_id
        self._api = api
        self._clock = api.control.clock
        self._clients: dict[Client, asyncio.Task[None]] = {}
        self._somebody_left = asyncio.Event()
        # Kept so that an operator can be let in when the traffic has every descriptor.
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def __repr__(self) -> str:
        return f"<Door {self._access.name} fd {self._listener.fileno()}, {len(self._clients)} clients>"

    async def stay_open(self) -> None:
        """Accept and serve. On cancellation: those in the middle of a call get a second to finish."""
        async with asyncio.TaskGroup() as tasks:
            try:
                while True:
                    connection = await self._accept()
                    if connection is None:
                        continue
                    caller = caller_of(connection)
                    if not self._may_enter(connection, caller):
                        self._turn_away(connection, caller)
                        continue
                    await self._wait_for_place(connection)
                    self._let_in(connection, caller, tasks)
            finally:
                await self._see_out()

    def close(self) -> None:
        """Give back the spare descriptor; the listening socket is whoever's who bound it."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    async def _accept(self) -> socket.socket | None:
        loop = asyncio.get_running_loop()
        try:
            connection, _ = await loop.sock_accept(self._listener)
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                _log.warning("an admin client could not be accepted: %s", error.strerror)
                await asyncio.sleep(ACCEPT_PAUSE_S)
                return None
            connection_or_none = self._accept_with_spare()
            if connection_or_none is None:
                await asyncio.sleep(ACCEPT_PAUSE_S)
            return connection_or_none
        self._refill_spare()
        return connection

    def _accept_with_spare(self) -> socket.socket | None:
        """Nothing else on this thread can take the descriptor between these two calls."""
        if self._spare is None:
            return None
        os.close(self._spare)
        self._spare = None
        connection: socket.socket | None = None
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
        return connection

    def _refill_spare(self) -> None:
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _may_enter(self, connection: socket.socket, caller: Caller) -> bool:
        if connection.family != socket.AF_UNIX:
            return True
        return may_enter(caller, groups_of(connection) if self._group_id is not None else (), self._group_id)

    def _turn_away(self, connection: socket.socket, caller: Caller) -> None:
        """Say so without reading a byte of it: a stranger gets neither our parser nor a place."""
        self._api.guard.turned_away_at_the_door(caller, f"uid {caller.uid} on the {self._access.name.lower()} socket")
        message = f"uid {caller.uid} may not use this socket"
        error = {"code": ERROR_CODES[403], "message": message, "position": None}
        body = json.dumps({"now": timestamp(self._clock.now()), "error": error}).encode()
        head = (
            f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            connection.send(head.encode() + body)
            connection.shutdown(socket.SHUT_WR)
        connection.close()

    async def _wait_for_place(self, connection: socket.socket) -> None:
        try:
            while len(self._clients) >= CLIENTS_AT_ONCE:
                self._somebody_left.clear()
                self._make_room()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PLACE_POLL_S):
                        await self._somebody_left.wait()
        except BaseException:
            connection.close()
            raise

    def _make_room(self) -> None:
        slow_since = self._clock.monotonic() - SLOW_REQUEST_S
        waiting = [client for client in self._clients if client.reading]
        candidates = [client for client in waiting if client.served and client.idle]
        candidates = candidates or [client for client in waiting if client.waiting_since < slow_since]
        if candidates:
            self._clients[min(candidates, key=lambda client: client.waiting_since)].cancel()

    def _let_in(self, connection: socket.socket, caller: Caller, tasks: asyncio.TaskGroup) -> None:
        client = Client(connection, caller, self._access, self._hosts, self._api)
        task = tasks.create_task(client.serve(), name="admin-client")
        self._clients[client] = task
        task.add_done_callback(self._left(client))

    def _left(self, client: Client) -> Callable[[asyncio.Task[None]], None]:
        def forget(_: asyncio.Task[None]) -> None:
            self._clients.pop(client, None)
            client.close()
            self._refill_spare()
            self._somebody_left.set()

        return forget

    async def _see_out(self) -> None:
        for client, task in list(self._clients.items()):
            if client.reading or client.streaming:
                task.cancel()
        busy = list(self._clients.values())
        if busy:
            await asyncio.wait(busy, timeout=CLOSE_GRACE_S)
        for task in busy:
            task.cancel()
