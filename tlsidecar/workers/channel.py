"""Frames between the controller and one worker: questions with their answers, and things told, over a socketpair.

A frame is ``length, kind, number, payload``. Either end may ask; an answer carries the number of its question. Lengths
are bounded, and a frame that breaks the rules ends the channel: there is nobody else on a socketpair to blame.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import cast

_HEADER = struct.Struct(">IBI")  # payload bytes, kind, number

# The largest that is sent is material with long revocation lists.
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024


class MessageKind(IntEnum):
    """What a frame is."""

    QUESTION = 1
    ANSWER = 2
    FAILURE = 3
    TOLD = 4


class ChannelClosed(ConnectionError):
    """The other end is gone."""


class RemoteFailure(Exception):
    """The other end could not do what it was asked; the text is its own."""


class Channel(asyncio.Protocol):
    """One end. ``received`` is called with each question (and its number) and each thing told (with 0); ``lost`` once,
    when the channel is over."""

    def __init__(self, received: Callable[[int, str, bytes], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<Channel {'closed' if self._closed else 'open'} waiting={len(self._waiting)}>"

    @classmethod
    async def over(
        cls, sock: socket.socket, received: Callable[[int, str, bytes], None], lost: Callable[[], None]
    ) -> Channel:
        """A channel over a connected stream socket, which it owns from here on."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_unix_connection(lambda: cls(received, lost), sock=sock)
        return channel

    @property
    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def ask(self, verb: str, body: bytes = b"") -> asyncio.Future[bytes]:
        """The other end's answer, which may also be :class:`RemoteFailure` or :class:`ChannelClosed`. It is sent now.

        Raises :class:`ChannelClosed`.
        """
        number = next(self._numbers)
        self._send(MessageKind.QUESTION, number, message(verb, body))
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda _: self._waiting.pop(number, None))
        self._waiting[number] = answer
        return answer

    def tell(self, verb: str, body: bytes = b"") -> None:
        """Raises :class:`ChannelClosed`."""
        self._send(MessageKind.TOLD, 0, message(verb, body))

    def answer(self, number: int, body: bytes = b"") -> None:
        """Answer a question; nothing happens when whoever asked is gone."""
        if not self._is_gone:
            self._send(MessageKind.ANSWER, number, body)

    def fail(self, number: int, text: str) -> None:
        if not self._is_gone:
            self._send(MessageKind.FAILURE, number, text.encode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """What was sent is still delivered."""
        if self._transport is not None:
            self._transport.close()

    @property
    def _is_gone(self) -> bool:
        """A write that failed closes the transport a turn before we are told so."""
        return self._closed or self._transport is None or self._transport.is_closing()

    def _send(self, kind: MessageKind, number: int, payload: bytes) -> None:
        transport = self._transport
        if self._is_gone or transport is None:
            raise ChannelClosed("the other end is gone")
        transport.write(frame(kind, number, payload))

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        position = 0
        while len(buffer) - position >= _HEADER.size:
            length, kind, number = _HEADER.unpack_from(buffer, position)
            if length > MAX_PAYLOAD_BYTES:
                self._break()
                return
            end = position + _HEADER.size + length
            if len(buffer) < end:
                break
            payload = bytes(buffer[position + _HEADER.size : end])
            position = end
            if not self._take(kind, number, payload):
                self._break()
                return
        del buffer[:position]

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        for answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(ChannelClosed("the other end is gone"))
                answer.exception()  # whoever asked may not be waiting any more
        self._lost()

    def _take(self, kind: int, number: int, payload: bytes) -> bool:
        if kind in (MessageKind.QUESTION, MessageKind.TOLD):
            verb, body = taken_apart(payload)
            self._received(number if kind == MessageKind.QUESTION else 0, verb, body)
            return True
        if kind not in (MessageKind.ANSWER, MessageKind.FAILURE):
            return False
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            if kind == MessageKind.ANSWER:
                waiting.set_result(payload)
            else:
                waiting.set_exception(RemoteFailure(payload.decode("utf-8", "backslashreplace")))
        return True

    def _break(self) -> None:
        self._buffer.clear()
        if self._transport is not None:
            self._transport.abort()


def message(verb: str, body: bytes) -> bytes:
    """The payload of a question, or of something told: ``verb``, of at most 255 bytes, and ``body``."""
    name = verb.encode()
    return bytes([len(name)]) + name + body


def taken_apart(payload: bytes) -> tuple[str, bytes]:
    """The verb and the body of what :func:`message` made."""
    length = payload[0] if payload else 0
    return payload[1 : 1 + length].decode("ascii", "replace"), payload[1 + length :]


def frame(kind: MessageKind, number: int, payload: bytes) -> bytes:
    """Raises ValueError when it is too long to send."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a message of {len(payload)} bytes is over the limit")
    return _HEADER.pack(len(payload), kind, number) + payload


def read_question(sock: socket.socket) -> tuple[int, str, bytes]:
    """One question from a blocking socket, before there is a loop: its number, verb and body.

    Raises :class:`ChannelClosed`.
    """
    length, kind, number = _HEADER.unpack(_exactly(sock, _HEADER.size))
    if length > MAX_PAYLOAD_BYTES or kind != MessageKind.QUESTION:
        raise ChannelClosed("not a question")
    return (number, *taken_apart(_exactly(sock, length)))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise ChannelClosed("the other end is gone")
        data += piece
    return bytes(data)
