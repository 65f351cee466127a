"""What a service says beyond an answer, whenever it comes, is never taken for the answer to somebody else."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pki
from support.raw_http import read_answer, request
from support.services import serving
from support.sidecar import running

EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
TIMES = 20


@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize(
    ("method", "status", "head"),
    [
        ("HEAD", 200, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
        ("HEAD", 200, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", 204, b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
        ("GET", 304, b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
    ],
)
def test_a_body_where_there_is_none(
    method: str, status: int, head: bytes, late: bool, pki: Pki, tmp_path: Path
) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")

    def answers(sock: socket.socket) -> None:
        while data := sock.recv(65536):
            if b"/evil" not in data:
                sock.sendall(GOOD)
            elif late:
                sock.sendall(head)
                threading.Event().wait(0.01)
                sock.sendall(EVIL)
            else:
                sock.sendall(head + EVIL)

    with serving(answers) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            connected(sidecar.port(), pki.trust, client) as bad,
            connected(sidecar.port(), pki.trust, client) as good,
        ):
            for _ in range(TIMES):
                bad.send(request(method, "/evil"))
                assert read_answer(bad, of_head=True).status == status
                for peer in (good, bad):
                    peer.send(request("GET", "/good"))
                    assert read_answer(peer).body == b"good"


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
def test_a_request_hidden_in_a_body_that_the_service_ignores(method: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    seen: list[bytes] = []

    def ignores_bodies(sock: socket.socket) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
            while b"\r\n\r\n" in data:
                head, _, data = data.partition(b"\r\n\r\n")
                seen.append(head.partition(b" HTTP/")[0])
                sock.sendall(GOOD)
                if b"connection: close" in head.lower():
                    return

    with serving(ignores_bodies) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            connected(sidecar.port(), pki.trust, client) as peer,
        ):
            peer.send(request(method, "/first", body=b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"))
            assert read_answer(peer).body == b"good"
            peer.send(request("GET", "/second"))
            assert read_answer(peer).body == b"good"
            assert seen == [f"{method} /first".encode(), b"GET /second"]


@pytest.mark.parametrize("asks_first", [True, False], ids=["challenged", "of its own accord"])
def test_a_connection_that_a_service_has_authenticated(asks_first: bool, pki: Pki, tmp_path: Path) -> None:
    """NTLM and Negotiate authenticate the connection: what comes on it afterwards is whoever that was."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")

    def knows_its_connection(sock: socket.socket) -> None:
        user = b"nobody"
        while data := sock.recv(65536):
            challenge = b""
            if b"\r\nAuthorization: NTLM " in data:
                user = data.partition(b"NTLM ")[2].split(b"\r\n")[0]
            elif b"/private" in data and user == b"nobody":
                challenge = b"WWW-Authenticate: NTLM\r\n"
            status = b"401 No" if challenge else b"200 OK"
            sock.sendall(b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, challenge, len(user), user))

    with serving(knows_its_connection) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol="http")
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            connected(sidecar.port(), pki.trust, client) as alice,
            connected(sidecar.port(), pki.trust, client) as bob,
        ):
            if asks_first:
                alice.send(request("GET", "/private"))
                assert read_answer(alice).status == 401
                bob.send(request("GET", "/public"))
                assert read_answer(bob).body == b"nobody"
            alice.send(request("GET", "/private", "Authorization: NTLM alice"))
            assert read_answer(alice).body == b"alice"
            for _ in range(5):
                bob.send(request("GET", "/public"))
                assert read_answer(bob).body == b"nobody"
                alice.send(request("GET", "/private"))
                assert read_answer(alice).body == b"alice"
            alice.close()
            for _ in range(5):
                bob.send(request("GET", "/public"))
                assert read_answer(bob).body == b"nobody"
