"""Through a listener on ``[::]`` an IPv4 client has its IPv4 address: in the log, in headers, to the service, in the
API."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from support import configs
from support.mtls import connected
from support.pki import Pki
from support.services import serving
from support.sidecar import running


def test_by_proxy_protocol(pki: Pki, tmp_path: Path) -> None:
    headers: list[bytes] = []

    def takes_header(sock: socket.socket) -> None:
        headers.append(sock.recv(4096))
        sock.sendall(b"ok")
        sock.recv(1)

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(takes_header) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(
            service.address, listen="[::]:0", proxy_protocol="v2"
        )
        with running(tmp_path / "sidecar", config) as sidecar:
            with connected(sidecar.port(), pki.trust, client) as peer:
                assert peer.recv(2) == b"ok"
                written = "{}:{}".format(*peer.sock.getsockname())
                (row,) = sidecar.json("/v1/connections")["connections"]
                assert row["peer_address"] == written
                ours = struct.pack("!HH", peer.sock.getsockname()[1], sidecar.port())
                loopback = socket.inet_aton("127.0.0.1")
                assert headers[0][12:14] == b"\x21\x11"
                assert headers[0][16:28] == loopback + loopback + ours
            assert sidecar.last_access()["peer"] == written


def test_by_header(pki: Pki, tmp_path: Path) -> None:
    heads: list[bytes] = []

    def answers(sock: socket.socket) -> None:
        heads.append(sock.recv(65536))
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(answers) as service:
        config = configs.identity(server, pki.trust)
        config += configs.terminate(service.address, protocol="http", listen="[::]:0")
        with running(tmp_path / "sidecar", config) as sidecar:
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert peer.recv().startswith(b"HTTP/1.1 200")
            assert b"\r\nx-forwarded-for: 127.0.0.1\r\n" in heads[0].lower()


def test_refused(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(lambda sock: None) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, listen="[::]:0")
        with running(tmp_path / "sidecar", config) as sidecar:
            with socket.create_connection(("127.0.0.1", sidecar.port()), 10) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while sock.recv(1000):
                    pass
                written = "{}:{}".format(*sock.getsockname())
            assert sidecar.refusal(reason="plaintext")["peer_address"] == written
