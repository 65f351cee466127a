"""One client of the admin API: its requests one after the other, over h11, each within its time and size."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from http import HTTPStatus

import h11

from tlsidecar.admin.access import Access
from tlsidecar.admin.api import Api, parse_query
from tlsidecar.admin.guard import check_origin
from tlsidecar.admin.messages import REQUEST_BODY_BYTES, AdminRequest, ApiError, Reply, Stream
from tlsidecar.observe.audit import Caller

# Of the 64 KiB that a request may have, this is for its head.
REQUEST_HEAD_BYTES = 16 * 1024
REQUEST_S = 5.0
REPLY_S = 5.0
KEEP_ALIVE_IDLE_S = 30.0
READ_BYTES = 64 * 1024
# After an early answer the rest of the request is read and thrown away, or the answer is lost in a reset.
DISCARD_BYTES = 16 * 1024 * 1024
DISCARD_S = 1.0

_log = logging.getLogger("tlsidecar.admin")


class Client:
    """One accepted connection. ``serve`` is its whole life; what it waits for can be seen from outside."""

    def __init__(
        self,
        connection: socket.socket,
        caller: Caller,
        access: Access,
        hosts: frozenset[str] | None,
        api: Api,
    ) -> None:
        """``hosts`` are the names that Host may have; None for any."""
        self._socket = connection
        self._caller = caller
        self._access = access
        self._hosts = hosts
        self._api = api
        self._clock = api.control.clock
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_HEAD_BYTES)
        self._method = b""
        self.served = 0
        self.idle = True  # between requests: nothing of the next one has come
        self.reading = True  # waiting for the client to send a request, or the rest of one
        self.streaming = False
        self.waiting_since = self._clock.monotonic()

    def __repr__(self) -> str:
        state = "idle" if self.idle else "reading" if self.reading else "streaming" if self.streaming else "answering"
        return f"<Client uid {self._caller.uid} pid {self._caller.pid}, {self.served} served, {state}>"

    async def serve(self) -> None:
        """Answer requests until the client leaves, breaks a rule or a limit. Closes the socket."""
        try:
            while await self._exchange():
                self._http.start_next_cycle()
                self.served += 1
        except (OSError, TimeoutError):
            pass  # it left, or stopped reading, in the middle: there is nobody to tell
        except Exception:
            _log.exception("an admin client could not be served")
        finally:
            self._socket.close()

    def close(self) -> None:
        """For a client whose ``serve`` was cancelled before it began."""
        self._socket.close()

    async def _exchange(self) -> bool:
        """One request and its reply; False when the connection is over."""
        self.idle = self.reading = True
        self.waiting_since = self._clock.monotonic()
        try:
            request = await self._request()
            if request is None:
                return False
            self._check_origin(request)
            self.reading = False
            answer = await self._api.answer(request)
        except ApiError as error:
            self.idle = self.reading = False
            answer = self._api.error_reply(error)
        if isinstance(answer, Stream):
            await self._stream(answer)
            return False
        await self._reply(answer)
        if self._http.their_state is not h11.DONE:
            await self._discard()
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _check_origin(self, request: AdminRequest) -> None:
        try:
            check_origin(request, self._hosts)
        except ApiError as error:
            if request.method not in ("GET", "HEAD"):
                self._api.guard.turned_away(request, error.message)
            raise

    async def _request(self) -> AdminRequest | None:
        """The next request with its body; None when the client has left or said nothing. Raises ApiError."""
        try:
            head = await self._head()
            if head is None:
                return None
            self._method = head.method
            if _size(head) > REQUEST_HEAD_BYTES:  # h11 limits only what is not complete yet
                raise ApiError(431, f"a request's head is at most {REQUEST_HEAD_BYTES} bytes")
            body = await self._body(head)
        except h11.RemoteProtocolError as error:
            raise ApiError(error.error_status_hint, f"this is not a request: {error}") from None
        except TimeoutError:
            if self.idle:
                return None
            raise ApiError(408, f"the request was not complete within {REQUEST_S:.0f} s") from None
        path, _, query = head.target.decode("latin-1").partition("?")
        return AdminRequest(
            method=head.method.decode("latin-1"),
            path=path,
            query=parse_query(query) if query else {},
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers},
            body=body,
            caller=self._caller,
            access=self._access,
        )

    async def _head(self) -> h11.Request | None:
        # A client that has just come must speak; one that has been answered may keep the connection a while.
        async with asyncio.timeout(KEEP_ALIVE_IDLE_S if self.served else REQUEST_S):
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                await self._receive()
        self.idle = False
        async with asyncio.timeout(REQUEST_S):
            if event is h11.NEED_DATA:
                event = self._http.next_event()
            while event is h11.NEED_DATA:
                await self._receive()
                event = self._http.next_event()
        return event if isinstance(event, h11.Request) else None

    async def _body(self, head: h11.Request) -> bytes:
        length = dict(head.headers).get(b"content-length", b"0")
        if len(length) > 9 or int(length) > REQUEST_BODY_BYTES:
            raise ApiError(413, f"a request body is at most {REQUEST_BODY_BYTES} bytes")
        if self._http.they_are_waiting_for_100_continue:
            proceed = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
            await self._send(proceed or b"")
        body = bytearray()
        async with asyncio.timeout(REQUEST_S):
            while not isinstance(event := self._http.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    await self._receive()
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > REQUEST_BODY_BYTES:
                        raise ApiError(413, f"a request body is at most {REQUEST_BODY_BYTES} bytes")
        return bytes(body)

    async def _reply(self, reply: Reply) -> None:
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *reply.headers,
        ]
        if self._http.their_state is not h11.DONE:
            headers.append(("Connection", "close"))
        data = self._http.send(_response(reply.status, headers)) or b""
        if self._method != b"HEAD":
            data += self._http.send(h11.Data(data=reply.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        await self._send(data)
        if reply.afterwards is not None:
            reply.afterwards()

    async def _stream(self, stream: Stream) -> None:
        headers = [("Content-Type", stream.content_type), ("Cache-Control", "no-store"), ("Connection", "close")]
        await self._send(self._http.send(_response(200, headers)) or b"")
        if self._method == b"HEAD":
            return
        self.streaming = True
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send_pieces(stream))
            await self._wait_until_left()
            sending.cancel()

    async def _send_pieces(self, stream: Stream) -> None:
        try:
            async with contextlib.aclosing(stream.pieces) as pieces:
                async for piece in pieces:
                    await self._send(self._http.send(h11.Data(data=piece)) or b"")
        except (OSError, TimeoutError):
            pass
        finally:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # ends the wait for the client to leave

    async def _wait_until_left(self) -> None:
        with contextlib.suppress(OSError):
            await self._loop.sock_recv(self._socket, 1)

    async def _receive(self) -> None:
        self._http.receive_data(await self._loop.sock_recv(self._socket, READ_BYTES))

    async def _send(self, data: bytes) -> None:
        async with asyncio.timeout(REPLY_S):
            await self._loop.sock_sendall(self._socket, data)

    async def _discard(self) -> None:
        left = DISCARD_BYTES
        with contextlib.suppress(OSError, TimeoutError):
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(DISCARD_S):
                while left > 0 and (data := await self._loop.sock_recv(self._socket, READ_BYTES)):
                    left -= len(data)


def _response(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=HTTPStatus(status).phrase)


def _size(head: h11.Request) -> int:
    return len(head.target) + sum(len(name) + len(value) for name, value in head.headers)
