"""PROXY protocol v2 towards the service: haproxy and nginx take it and know the peer's address, and the TLS TLVs say
what the specification wants of them."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, client_context, connected
from support.pki import Pki
from support.services import serving
from support.sidecar import running
from support.waiting import eventually

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend service
    bind unix@{path} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[fc_pp_authority]"
"""
NGINX = """
daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;
events {{}}
http {{
    access_log off; client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
    uwsgi_temp_path {directory}; scgi_temp_path {directory};
    server {{
        listen unix:{path} proxy_protocol;
        location / {{ default_type text/plain; return 200 "$proxy_protocol_addr $proxy_protocol_port localhost"; }}
    }}
}}
"""


@contextlib.contextmanager
def proxy(program: str, directory: Path) -> Iterator[str]:
    """haproxy or nginx, telling whom it sees; its address."""
    directory.mkdir()
    path, config = directory / "service.sock", directory / "config"
    config.write_text((HAPROXY if program == "haproxy" else NGINX).format(path=path, directory=directory))
    command = ["haproxy", "-db", "-f"] if program == "haproxy" else ["nginx", "-c"]
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen([*command, str(config)], stdout=output, stderr=output)
        try:
            eventually(lambda: _is_up(path) or process.poll() is not None)
            assert process.poll() is None, (directory / "output").read_text()
            yield f"unix:{path}"
        finally:
            process.terminate()
            process.wait(10)


def _is_up(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("haproxy", marks=pytest.mark.needs("haproxy")),
        pytest.param("nginx", marks=pytest.mark.needs("nginx")),
    ],
)
def test_a_real_proxy_knows_the_peer(program: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with proxy(program, tmp_path / program) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service, proxy_protocol="v2")
        with running(tmp_path / "sidecar", config) as sidecar:
            for _ in range(3):
                with connected(sidecar.port(), pki.trust, client) as peer:
                    host, port = peer.sock.getsockname()[:2]
                    peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    answer = peer.recv_all()
                    assert answer.startswith(b"HTTP/1.1 200 "), answer
                    assert answer.endswith(f"{host} {port} localhost".encode()), answer


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
def test_the_header_is_what_the_specification_says(listen: str, pki: Pki, tmp_path: Path) -> None:
    """Read by hand, after haproxy's proxy-protocol.txt, section 2.2."""
    server = pki.issue("server", "localhost")
    client = pki.issue("client", "client.test", common_name="the client")
    received: list[bytes] = []

    def keeps(sock: socket.socket) -> None:
        data = b""
        while more := sock.recv(65536):
            data += more
        received.append(data)

    with serving(keeps) as service:
        config = configs.identity(server, pki.trust)
        config += configs.terminate(service.address, proxy_protocol="v2", listen=listen)
        with running(tmp_path / "sidecar", config) as sidecar:
            host, _, port = sidecar.listener()["bound"].rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), 10) as sock:
                mine = sock.getsockname()
                peer = Peer(client_context(pki.trust, client), sock, name="localhost").handshake()
                version, cipher = peer.tls.get_protocol_version_name(), peer.tls.get_cipher_name()
                peer.send(b"the first byte of the peer")
                peer.end_writing()
                assert peer.recv_all() == b""
            eventually(lambda: received)
    data = received[0]
    assert data[:12] == SIGNATURE
    command, family, length = struct.unpack("!BBH", data[12:16])
    assert command == 0x21
    body, rest = data[16 : 16 + length], data[16 + length :]
    assert rest == b"the first byte of the peer"
    if listen.startswith("127"):
        assert family == 0x11
        source, target, source_port, target_port = struct.unpack("!4s4sHH", body[:12])
        assert socket.inet_ntoa(source) == "127.0.0.1" == socket.inet_ntoa(target)
        values = _values(body[12:])
    else:
        assert family == 0x21
        source, target, source_port, target_port = struct.unpack("!16s16sHH", body[:36])
        assert socket.inet_ntop(socket.AF_INET6, source) == "::1" == socket.inet_ntop(socket.AF_INET6, target)
        values = _values(body[36:])
    assert (source_port, target_port) == (mine[1], int(port))
    assert values[0x02] == b"localhost"
    flags, verified = struct.unpack("!BI", values[0x20][:5])
    assert (flags, verified) == (0x01 | 0x02, 0)
    details = _values(values[0x20][5:])
    assert details[0x21].decode() == version
    assert details[0x22].decode() == "the client"
    assert details[0x23].decode() == cipher


def _values(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        kind, length = struct.unpack("!BH", data[:3])
        assert len(data) >= 3 + length
        found[kind] = data[3 : 3 + length]
        data = data[3 + length :]
    return found


def test_nothing_but_the_header_is_sent_before_the_peer_speaks(pki: Pki, tmp_path: Path) -> None:
    """A service that speaks first hears the header at once."""

    def answers_the_header(sock: socket.socket) -> None:
        head = sock.recv(16, socket.MSG_WAITALL)
        sock.recv(struct.unpack("!H", head[14:16])[0], socket.MSG_WAITALL)
        sock.sendall(b"220 welcome")

    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(answers_the_header) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, proxy_protocol="v2")
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as peer:
            assert peer.recv_exactly(11) == b"220 welcome"
