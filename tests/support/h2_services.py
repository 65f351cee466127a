"""Plaintext HTTP/2 services: by hyper h2, which keeps windows and errors as the RFC says, and Debian's nghttpd."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from support.ports import free_port
from support.services import Handler
from support.waiting import eventually, listens

# A size that no window setting of a test reaches by chance.
BODY = b"a body of some forty bytes and one more."


class H2Service:
    """Answers each request with ``body``, as far as the windows allow; ``asked`` is what it was asked.

    It waits for the end of the request, or is ``prompt``: it does not, and where more was to come, resets the stream
    with NO_ERROR after its answer (RFC 9113 section 8.1), as nginx does.
    """

    def __init__(
        self,
        body: bytes = BODY,
        *,
        status: int = 200,
        prompt: bool = False,
        more: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """``more``: header fields."""
        self.body = body
        self.more = more
        self.status = status
        self.prompt = prompt
        self.asked: list[dict[bytes, bytes]] = []
        self._lock = threading.Lock()

    def __call__(self, sock: socket.socket) -> None:
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        sock.sendall(connection.data_to_send())
        methods: dict[int, bytes] = {}
        unsent: dict[int, bytes] = {}
        unread: set[int] = set()  # streams whose request has not ended
        while data := sock.recv(65536):
            try:
                events = connection.receive_data(data)
            except ProtocolError:
                sock.sendall(connection.data_to_send())  # its GOAWAY
                return
            for event in events:
                number = getattr(event, "stream_id", 0) or 0
                if isinstance(event, RequestReceived):
                    fields = dict(event.headers or [])
                    methods[number] = fields[b":method"]
                    unread.add(number)
                    with self._lock:
                        self.asked.append(fields)
                if isinstance(event, StreamEnded | StreamReset):
                    unread.discard(number)
                if isinstance(event, RequestReceived if self.prompt else StreamEnded):
                    self._begin(connection, number, methods[number], unsent)
                elif isinstance(event, StreamReset):
                    unsent.pop(number, None)
            for number in list(unsent):
                self._go_on(connection, number, unsent)
            for number in [number for number in unread if self.prompt and number not in unsent]:
                unread.discard(number)
                with contextlib.suppress(ProtocolError):
                    connection.reset_stream(number, 0)
            sock.sendall(connection.data_to_send())

    def _begin(self, connection: H2Connection, number: int, method: bytes, unsent: dict[int, bytes]) -> None:
        bare = method == b"HEAD" or not self.body
        head = [(b":status", b"%d" % self.status), (b"content-length", b"%d" % len(self.body)), *self.more]
        with contextlib.suppress(ProtocolError):  # the stream may have been reset in the same read
            connection.send_headers(number, head, end_stream=bare)
            if not bare:
                unsent[number] = self.body

    def _go_on(self, connection: H2Connection, number: int, unsent: dict[int, bytes]) -> None:
        rest = unsent.pop(number)
        with contextlib.suppress(ProtocolError):
            while True:
                window = connection.local_flow_control_window(number)
                size = min(window, connection.max_outbound_frame_size, len(rest))
                if size <= 0:
                    break
                connection.send_data(number, rest[:size], end_stream=size == len(rest))
                rest = rest[size:]
            if rest:
                unsent[number] = rest


def answers_early(status: int, then: str) -> Handler:
    """A service whose windows are as large as can be, and which answers a head whatever else is to come: ``then`` it
    "resets the stream" (NO_ERROR) and reads on, or "closes" over the rest, which is a reset of the connection, or "says
    goodbye" (GOAWAY, NO_ERROR) before it does."""

    def handle(sock: socket.socket) -> None:
        # An answer that still waits for an acknowledgement (Nagle) is thrown away by the kernel at such a close.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own = {SettingCodes.INITIAL_WINDOW_SIZE: 2**31 - 1}
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        connection.update_settings(own)
        connection.increment_flow_control_window(2**31 - 1 - 65535)
        sock.sendall(connection.data_to_send())
        while data := sock.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    number = event.stream_id
                    connection.send_headers(number, [(b":status", b"%d" % status)], end_stream=True)
                    if then == "resets the stream":
                        connection.reset_stream(number, 0)
                        continue
                    if then == "says goodbye":
                        connection.close_connection(0)
                    sock.sendall(connection.data_to_send())
                    return
            sock.sendall(connection.data_to_send())

    return handle


class GoesAway:
    """A gRPC service that answers the first call of its first connection, says at the second that it has not begun with
    it (GOAWAY, NO_ERROR), and keeps that connection open; on the others it answers every call with what it was sent."""

    def __init__(self) -> None:
        self.connections = 0
        self.left = 0  # calls that it has not begun with

    def __call__(self, sock: socket.socket) -> None:
        self.connections += 1
        first = self.connections == 1
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        sock.sendall(connection.data_to_send())
        bodies: dict[int, bytes] = {}
        while data := sock.recv(65536):
            for event in connection.receive_data(data):
                number = getattr(event, "stream_id", 0) or 0
                if isinstance(event, RequestReceived):
                    bodies[number] = b""
                elif isinstance(event, DataReceived):
                    bodies[number] += event.data or b""
                elif isinstance(event, StreamEnded) and first and number > 1:
                    self.left += 1
                    connection.close_connection(0, last_stream_id=1)
                    sock.sendall(connection.data_to_send())
                    while sock.recv(65536):
                        pass
                    return
                elif isinstance(event, StreamEnded):
                    connection.send_headers(number, [(b":status", b"200"), (b"content-type", b"application/grpc")])
                    connection.send_data(number, bodies.pop(number))
                    connection.send_headers(number, [(b"grpc-status", b"0")], end_stream=True)
            sock.sendall(connection.data_to_send())


@contextlib.contextmanager
def nghttpd(directory: Path, body: bytes = BODY) -> Iterator[str]:
    """Its address; ``/`` and ``/large`` (1 MiB) are there."""
    documents = directory / "documents"
    documents.mkdir()
    (documents / "index.html").write_bytes(body)
    (documents / "large").write_bytes(bytes(1 << 20))
    port = free_port()
    command = ["nghttpd", "--no-tls", "--address=127.0.0.1", f"--htdocs={documents}", str(port)]
    with _started(command, port) as address:
        yield address


@contextlib.contextmanager
def nginx(directory: Path, body: bytes = BODY) -> Iterator[str]:
    """Its address; ``/`` is there, and it answers whatever else is asked of that at once with 405."""
    (directory / "index.html").write_bytes(body)
    port = free_port()
    (directory / "nginx.conf").write_text(
        f"""daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{}}
http {{ access_log off; client_body_temp_path body; server {{ listen 127.0.0.1:{port} http2; root {directory}; }} }}"""
    )
    command = ["nginx", "-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]
    with _started(command, port) as address:
        yield address


@contextlib.contextmanager
def _started(command: list[str], port: int) -> Iterator[str]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: listens(port), 10)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
