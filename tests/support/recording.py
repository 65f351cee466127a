"""A service that writes down every byte it gets, and answers each whole request as the test wants it to."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import h11

from support.services import Service, reset, serving

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Request:
    """One whole request, as h11 reads it; ``raw`` is its connection's bytes up to there."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    connection: int = 0

    def values(self, name: str) -> list[bytes]:
        return [value for found, value in self.headers if found == name.lower().encode()]


@dataclass(frozen=True)
class Answer:
    """What to send for a request, and what to do then: "keep", "close" or "reset" the connection. An ``early`` one is
    sent as soon as the head is there."""

    data: bytes = OK
    then: str = "keep"
    early: bool = False


class Recorder:
    def __init__(self) -> None:
        self.received: list[bytearray] = []  # by connection
        self.requests: list[Request] = []
        self.answers: dict[bytes, Answer] = {}  # by target
        self.malformed: list[str] = []
        self.service: Service

    @property
    def address(self) -> str:
        return self.service.address

    def handle(self, sock: socket.socket) -> None:
        number = len(self.received)
        self.received.append(bytearray())
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        request: Request | None = None
        while data := sock.recv(65536):
            self.received[number] += data
            parser.receive_data(data)
            while True:
                try:
                    event = parser.next_event()
                except h11.RemoteProtocolError as error:
                    self.malformed.append(f"{error}: {bytes(self.received[number])!r}")
                    return
                if isinstance(event, h11.Request):
                    request = Request(event.method, event.target, list(event.headers), connection=number)
                    if self._answer(event.target).early and self._send(sock, event.target):
                        return
                elif isinstance(event, h11.Data):
                    assert request is not None
                    request.body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    assert request is not None
                    request.trailers = list(event.headers)
                    self.requests.append(request)
                    if not self._answer(request.target).early and self._send(sock, request.target):
                        return
                    rest = parser.trailing_data[0]
                    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
                    if rest:  # an empty one would mean the end
                        parser.receive_data(rest)
                else:
                    break

    def _answer(self, target: bytes) -> Answer:
        return self.answers.get(target, Answer())

    def _send(self, sock: socket.socket, target: bytes) -> bool:
        """Answer; whether the connection is over."""
        answer = self._answer(target)
        sock.sendall(answer.data)
        if answer.then == "reset":
            reset(sock)
        return answer.then != "keep"


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    recorder = Recorder()
    with serving(recorder.handle) as service:
        recorder.service = service
        yield recorder
