"""An answer that is given before the request's body was read, by us or by the service, reaches a client that reads only
once it has sent everything: http.client, curl and most others (RFC 9112 section 9.6)."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import configs
from support.h2_services import answers_early
from support.pki import Pair, Pki
from support.services import Handler, serving
from support.sidecar import running

MIB = 1024 * 1024
BODY = b"x" * (20 * MIB)
REPEATS = 3

REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large"


def closes(sock: socket.socket) -> None:
    """The service answers the head, and closes over whatever else comes: that is a reset."""
    sock.recv(65536)
    sock.sendall(REFUSAL)


def _reads_no_further(answer: bytes) -> Handler:
    """It answers the head and keeps its connection, which soon takes nothing any more."""

    def handle(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(answer)
        with contextlib.suppress(OSError):
            while sock.recv(1, socket.MSG_PEEK):
                time.sleep(0.05)

    return handle


reads_no_further = _reads_no_further(REFUSAL)
at_length = _reads_no_further(b"HTTP/1.1 413 No\r\nContent-Length: 240000\r\n\r\n" + b"no" * 120_000)


@dataclass(frozen=True)
class Link:
    inside: int
    outside: int
    pki: Pki
    pair: Pair
    is_http2: bool

    def tls(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        context = self.pki.client_context(self.pair)
        context.maximum_version = version
        return context


@contextlib.contextmanager
def link(pki: Pki, tmp_path: Path, service: str, *more: str, http2: str = "off") -> Iterator[Link]:
    """A terminating sidecar before the service, and an ambassador before that."""
    server, ours = pki.issue("server", "localhost"), pki.issue("ours", "ours.test")
    inner = configs.identity(server, pki.trust)
    inner += configs.terminate(service, protocol="http", http2=http2) + "".join(more)
    with running(tmp_path / "inner", inner) as inside:
        outer = configs.identity(ours, pki.trust)
        outer += configs.originate(f"localhost:{inside.port()}", protocol="http", http2=http2)
        with running(tmp_path / "outer", outer) as outside:
            yield Link(inside.port(), outside.port(), pki, pki.issue("client", "client.test"), http2 == "only")


def in_whole(connection: http.client.HTTPConnection) -> int:
    connection.request("POST", "/upload", BODY)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def in_chunks(connection: http.client.HTTPConnection) -> int:
    pieces = (BODY[start : start + MIB] for start in range(0, len(BODY), MIB))
    connection.request("POST", "/upload", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def as_of_old(connection: http.client.HTTPConnection) -> int:
    """HTTP/1.0, and the answer is what there is until the end."""
    connection.connect()
    sock = connection.sock
    sock.sendall(b"POST /upload HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    sock.sendall(BODY)
    data = b""
    while more := sock.recv(65536):
        data += more
    return int(data.split(b" ")[1])


SERVICES = {
    "ours": (closes, "[listener.limits]\nmax_body_bytes = '1MiB'\n", 413),
    "closes": (closes, "", 413),
    "reads no further": (reads_no_further, "", 413),
    "at length": (at_length, "", 413),
}

WAYS: dict[str, Callable[[Link], http.client.HTTPConnection]] = {
    "TLS 1.3": lambda link: http.client.HTTPSConnection(
        "localhost", link.inside, timeout=30, context=link.tls(ssl.TLSVersion.TLSv1_3)
    ),
    "TLS 1.2": lambda link: http.client.HTTPSConnection(
        "localhost", link.inside, timeout=30, context=link.tls(ssl.TLSVersion.TLSv1_2)
    ),
    "an ambassador": lambda link: http.client.HTTPConnection("127.0.0.1", link.outside, timeout=30),
}


@pytest.mark.parametrize("who", SERVICES)
def test_the_answer_arrives(who: str, pki: Pki, tmp_path: Path) -> None:
    handler, more, status = SERVICES[who]
    with serving(handler) as service, link(pki, tmp_path, service.address, more) as there:
        for way, connect in WAYS.items():
            for ask in (in_whole, in_chunks, as_of_old):
                for _ in range(REPEATS):
                    with contextlib.closing(connect(there)) as connection:
                        assert ask(connection) == status, (way, ask)


def upload_by_curl(there: Link, body: Path, repeats: int = REPEATS) -> None:
    """To both sidecars, with Expect: 100-continue and without it."""
    for options, url in (
        (["--http2", "--cacert", there.pki.trust, *there.pair.curl()], f"https://localhost:{there.inside}/upload"),
        (["--http2-prior-knowledge"] if there.is_http2 else [], f"http://127.0.0.1:{there.outside}/upload"),
    ):
        for expect in ([], ["-H", "Expect:"]):
            for _ in range(repeats):
                command = ["curl", "-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}"]
                command += [*options, *expect, "-T", body, url]
                done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)
                assert (done.returncode, done.stdout) == (0, "413"), (url, done.stderr)


@pytest.mark.needs("curl")
def test_the_answer_arrives_at_curl(pki: Pki, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(BODY * 3)
    with serving(reads_no_further) as service, link(pki, tmp_path, service.address) as there:
        upload_by_curl(there, body)


@pytest.mark.needs("curl")
@pytest.mark.parametrize("who", ["ours", "closes", "resets the stream", "says goodbye"])
def test_the_answer_arrives_over_http2(who: str, pki: Pki, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(BODY * 3)
    handler = answers_early(413, "closes" if who == "ours" else who)
    more = "[listener.limits]\nmax_body_bytes = '1MiB'\n" if who == "ours" else ""
    with serving(handler) as service, link(pki, tmp_path, service.address, more, http2="only") as there:
        upload_by_curl(there, body, 1)


def test_who_never_stops_sending_is_cut_in_the_end(pki: Pki, tmp_path: Path) -> None:
    """And meanwhile costs no memory: what comes is thrown away. It does not hold up a drain."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:9", protocol="http")
    config += "[listener.limits]\nmax_body_bytes = '1MiB'\n"
    with running(tmp_path / "sidecar", config) as sidecar:
        sock = socket.create_connection(("127.0.0.1", sidecar.port()), 20)
        with pki.client_context(client).wrap_socket(sock, server_hostname="localhost") as peer:
            peer.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
            ended = threading.Event()

            def sends_on() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        peer.sendall(b"x" * 65536)
                        time.sleep(0.01)
                ended.set()

            threading.Thread(target=sends_on, daemon=True).start()
            sidecar.counts(1, "tlsidecar_requests_total", code="4xx")
            assert not ended.wait(1.5)
            began = time.monotonic()
            assert sidecar.stop() == 0
            assert time.monotonic() - began < 10
            assert ended.wait(10)
