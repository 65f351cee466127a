"""An HTTP ambassador before a remote that is not who it should be, or will not have us: 502 with the reason, and never
a byte of the request, nor plaintext instead."""

from __future__ import annotations

import contextlib
import datetime
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import Alerted, Peer, connected, server_context
from support.pki import Pair, Pki
from support.raw_http import read_answer, request
from support.services import Handler, reset, serving
from support.sidecar import running

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


def remote(trust: Path, pair: Pair, heard: list[bytes], *, resets: bool = False) -> Handler:
    """A mutual-TLS server that keeps what it hears and answers nothing."""
    context = server_context(trust, pair)

    def handle(sock: socket.socket) -> None:
        with contextlib.suppress(SSL.Error, OSError, Alerted):
            heard.append(Peer(context, sock, server_side=True).handshake().recv())
        if resets:
            reset(sock)
            return
        # A close with unread bytes would be a reset.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            sock.setblocking(True)
            while sock.recv(65536):
                pass

    return handle


def in_the_clear(heard: list[bytes]) -> Handler:
    def handle(sock: socket.socket) -> None:
        heard.append(sock.recv(65536))
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    return handle


MakeRemote = Callable[[Pki, Path, list[bytes]], Handler]


@pytest.mark.parametrize(
    ("make", "stage", "reason", "side"),
    [
        pytest.param(
            lambda pki, _, heard: remote(pki.trust, pki.issue("theirs", "elsewhere.test"), heard),
            "authorize",
            "not_expected",
            "local",
            id="another name",
        ),
        pytest.param(
            lambda pki, tmp, heard: remote(pki.trust, Pki(tmp / "other").issue("theirs", "localhost"), heard),
            "verify",
            "unknown_ca",
            "local",
            id="another CA",
        ),
        pytest.param(
            lambda pki, _, heard: remote(
                pki.trust,
                pki.issue("theirs", "localhost", not_before=LONG_AGO, not_after=LONG_AGO + datetime.timedelta(days=30)),
                heard,
            ),
            "verify",
            "certificate_expired",
            "local",
            id="expired",
        ),
        pytest.param(
            lambda pki, tmp, heard: remote(Pki(tmp / "other").trust, pki.issue("theirs", "localhost"), heard),
            None,
            None,
            "peer",
            id="will not have us",
        ),
        pytest.param(
            lambda pki, tmp, heard: remote(
                Pki(tmp / "other").trust, pki.issue("theirs", "localhost"), heard, resets=True
            ),
            None,
            None,
            "peer",
            id="will not have us, and resets",
        ),
        pytest.param(lambda pki, _, heard: in_the_clear(heard), "handshake", None, "local", id="in the clear"),
    ],
)
def test_nothing_is_told_to_the_wrong_remote(
    make: MakeRemote, stage: str | None, reason: str | None, side: str, pki: Pki, tmp_path: Path
) -> None:
    ours = pki.issue("ours", "app.internal")
    heard: list[bytes] = []
    with serving(make(pki, tmp_path, heard)) as service:
        config = configs.identity(ours, pki.trust)
        config += configs.originate(f"localhost:{service.port}", protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            with socket.create_connection(("127.0.0.1", sidecar.port()), 10) as sock:
                sock.sendall(request("POST", "/secret", body=b"secret"))
                assert read_answer(sock).status == 502
                # The application's connection is none the worse.
                sock.sendall(request("GET", "/secret"))
                assert read_answer(sock).status == 502
            refusal = sidecar.refusal(side=side)
            assert stage is None or refusal["stage"] == stage
            assert reason is None or refusal["reason"] == reason
            assert refusal["detail"]
            if side == "peer":
                assert refusal["reason"] == "refused_by_peer"
            else:
                assert (refusal["status"], refusal["target"]) == (502, "/secret")
            sidecar.counts(2, "tlsidecar_requests_total", code="5xx")
        assert not any(b"secret" in data for data in heard)
        assert all(data[:1] in (b"", b"\x16") for data in heard), heard


@pytest.mark.parametrize(("method", "status", "times"), [("GET", 200, 2), ("POST", 502, 1)])
def test_only_what_may_be_repeated_is_repeated(method: str, status: int, times: int, pki: Pki, tmp_path: Path) -> None:
    """The service closes a kept connection just as the next request arrives on it."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    seen: list[bytes] = []
    lock = threading.Lock()

    def closes_on_the_second(sock: socket.socket) -> None:
        for number in range(2):
            data = sock.recv(65536)
            if not data:
                return
            with lock:
                seen.append(data.split(b"\r\n")[0])
                again = seen.count(b"%b /second HTTP/1.1" % method.encode()) == 1 and b"/second" in data
            if number == 1 and again:
                return
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with serving(closes_on_the_second) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            peer.send(request("GET", "/first"))
            assert read_answer(peer).status == 200
            peer.send(request(method, "/second", body=b"x" if method == "POST" else b""))
            assert read_answer(peer).status == status
            assert seen.count(f"{method} /second HTTP/1.1".encode()) == times
            # What was made good is no failure of the upstream's.
            sidecar.counts(status != 200, "tlsidecar_upstream_errors_total", reason="upstream_closed")
