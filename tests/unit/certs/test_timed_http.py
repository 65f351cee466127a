"""A server that drips holds nobody: connecting, asking and reading have one time together, in the clear and in TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from support.pki import Pki
from support.services import serving

from certs.acme.messages import AcmeError, AcmeRequest
from certs.acme.transport import MAX_ANSWER_BYTES, Https
from certs.timed_http import fetched

SHORT_S = 0.3
LONG_S = 20.0
BEGINNINGS = {
    "nothing": b"",
    "the status line": b"HTTP/1.",
    "a header": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 ",
    "a body of a length": b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFF\r\n",
    "a body without a length": b"HTTP/1.1 200 OK\r\n\r\n",
}


class Says:
    """A service that says this and then, if it ``drips``, a byte now and then until the client is gone."""

    def __init__(self, said: bytes, context: ssl.SSLContext | None = None, *, drips: bool = False) -> None:
        self._said = said
        self._context = context
        self._drips = drips
        self.gone = threading.Event()

    def __call__(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
            sock.recv(65536)
            sock.sendall(self._said)
            while self._drips:
                sock.sendall(b"1")
                if self.gone.wait(0.05):
                    break
        with contextlib.suppress(OSError):
            sock.close()


@contextlib.contextmanager
def saying(said: bytes, context: ssl.SSLContext | None = None, *, drips: bool = False) -> Iterator[str]:
    service = Says(said, context, drips=drips)
    with serving(service) as server:
        try:
            yield server.address
        finally:
            service.gone.set()


@pytest.mark.parametrize("said", BEGINNINGS.values(), ids=BEGINNINGS)
def test_who_drips_is_left(said: bytes) -> None:
    with saying(said, drips=True) as address, pytest.raises(OSError, match=r"in time|timed out"):
        fetched(f"http://{address}/list", SHORT_S, 1 << 20)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlist",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nli\r\n2\r\nst\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nlist",
    ],
    ids=["length", "chunks", "end"],
)
def test_what_is_answered_in_time_is_whole(said: bytes) -> None:
    with saying(said) as address:
        assert fetched(f"http://{address}/list", LONG_S, 4) == b"list"


def test_a_redirect_is_followed() -> None:
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlist") as there:
        moved = f"HTTP/1.1 302 Found\r\nLocation: http://{there}/list\r\nContent-Length: 0\r\n\r\n"
        with saying(moved.encode()) as here:
            assert fetched(f"http://{here}/", LONG_S, 4) == b"list"


def test_one_that_is_too_long_is_refused() -> None:
    with (
        saying(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlists") as address,
        pytest.raises(ValueError, match="longer than 4 bytes"),
    ):
        fetched(f"http://{address}/list", LONG_S, 4)


def tls(pki: Pki) -> ssl.SSLContext:
    context = pki.server_context(pki.issue("acme", "localhost"))
    context.verify_mode = ssl.CERT_NONE
    return context


def asked(pki: Pki, address: str, timeout_s: float) -> None:
    port = address.rpartition(":")[2]
    Https(pki.trust).send(AcmeRequest("GET", f"https://localhost:{port}/directory"), timeout_s)


@pytest.mark.parametrize("said", BEGINNINGS.values(), ids=BEGINNINGS)
def test_an_acme_server_that_drips_is_left(pki: Pki, said: bytes) -> None:
    with saying(said, tls(pki), drips=True) as address, pytest.raises(AcmeError, match=r"in time|timed out"):
        asked(pki, address, SHORT_S)


def test_an_acme_server_that_floods_is_left(pki: Pki) -> None:
    said = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(MAX_ANSWER_BYTES + 1)
    with saying(said, tls(pki)) as address, pytest.raises(AcmeError, match=f"more than {MAX_ANSWER_BYTES} bytes"):
        asked(pki, address, LONG_S)
