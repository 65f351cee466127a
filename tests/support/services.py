"""Plaintext services to put behind a sidecar: real sockets, one thread each connection."""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

Handler = Callable[[socket.socket], None]


class Service:
    """A TCP (or Unix) server that gives each connection to ``handler`` and remembers how many came."""

    def __init__(self, handler: Handler, *, family: int = socket.AF_INET, path: str = "", port: int = 0) -> None:
        self.handler = handler
        self.connections = 0
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        if family == socket.AF_UNIX:
            self._listener.bind(path)
        else:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", port))
        self._listener.listen(512)
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        name = self._listener.getsockname()
        if self._listener.family == socket.AF_UNIX:
            return f"unix:{name}"
        return f"[{name[0]}]:{name[1]}" if self._listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with sock, contextlib.suppress(OSError):
                self.handler(sock)
        finally:
            self._open.discard(sock)


def echo(sock: socket.socket) -> None:
    """Send back what comes; end when the peer has."""
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextlib.contextmanager
def serving(handler: Handler, *, family: int = socket.AF_INET, path: str = "", port: int = 0) -> Iterator[Service]:
    """``port`` says which port to take again after a service that was closed; 0 lets the kernel choose."""
    service = Service(handler, family=family, path=path, port=port)
    try:
        yield service
    finally:
        service.close()


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """The chunks of a body (RFC 9112 section 7.1) that is known to be well-formed and without trailers."""
    while size := int(file.readline(), 16):
        yield file.read(size)
        file.readline()
    file.readline()


class _HttpServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a peer that went away


class _Handler(http.server.BaseHTTPRequestHandler):
    """Tells what it was sent: method, path, headers one a line, then the body."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(read_chunks(self.rfile))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lines = [f"{self.command} {self.path}", *(f"{name}: {value}" for name, value in self.headers.items()), ""]
        answer = "\n".join(lines).encode() + b"\n" + body
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_GET

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def http_service(handler: type[http.server.BaseHTTPRequestHandler] = _Handler) -> Iterator[str]:
    """The address of the standard library's HTTP server, by default telling what it was sent."""
    server = _HttpServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)
