"""IPv4, IPv6 and Unix sockets, on both sides of the sidecar."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, client_context
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "unix"])
@pytest.mark.parametrize("upstream", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_both_sides(listen: str, upstream: socket.AddressFamily, pki: Pki, tmp_path: Path) -> None:
    leaf, client = pki.issue("leaf", "localhost"), pki.issue("client", "client.test")
    path = tmp_path / "in.sock"
    with serving(echo, family=upstream, path=str(tmp_path / "service.sock")) as service:
        config = configs.identity(leaf, pki.trust)
        config += configs.terminate(service.address, listen=f"unix:{path}" if listen == "unix" else listen)
        with running(tmp_path / "sidecar", config) as sidecar:
            if listen == "unix":
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                sock.connect(str(path))
            else:
                host, _, port = sidecar.listener()["bound"].rpartition(":")
                sock = socket.create_connection((host.strip("[]"), int(port)), 10)
            with sock:
                peer = Peer(client_context(pki.trust, client), sock).handshake()
                peer.send(b"hello")
                assert peer.recv_exactly(5) == b"hello"
                peer.end_writing()
                assert peer.recv_all() == b""
            sidecar.settles()
        assert not path.exists()
