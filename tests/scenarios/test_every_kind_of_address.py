"""IPv4, IPv6 and Unix sockets, on both sides of the sidecar."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from support import configs
from support.mtls import Peer, client_context, server_context
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


@pytest.mark.parametrize(
    ("mode", "host", "only_ipv6"),
    [
        ("terminate", "127.0.0.1", False),
        ("terminate", "[::1]", False),
        ("terminate", "localhost", False),
        ("terminate", "localhost", True),
        ("originate", "localhost", True),
    ],
)
def test_a_service_on_all_addresses(mode: str, host: str, only_ipv6: bool, pki: Pki, tmp_path: Path) -> None:
    """What listens on ``[::]`` is reached by each of its addresses, and by the name they have in common."""
    leaf, client = pki.issue("leaf", "localhost"), pki.issue("client", "client.test")
    context = server_context(pki.trust, leaf)

    def serve(listening: socket.socket) -> None:
        sock, _ = listening.accept()
        with sock:
            if mode == "originate":
                peer = Peer(context, sock, server_side=True).handshake()
                peer.send(peer.recv())
            else:
                sock.sendall(sock.recv(100))

    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=not only_ipv6) as listening:
        service = threading.Thread(target=serve, args=(listening,), daemon=True)
        service.start()
        upstream = f"{host}:{listening.getsockname()[1]}"
        config = configs.identity(leaf, pki.trust)
        if mode == "terminate":
            config += configs.terminate(upstream)
        else:
            config += configs.originate(upstream, expect=["dns:localhost"])
        with running(tmp_path / "sidecar", config) as sidecar:
            sock = socket.create_connection(("127.0.0.1", sidecar.port()), 10)
            with sock:
                if mode == "terminate":
                    peer = Peer(client_context(pki.trust, client), sock).handshake()
                    peer.send(b"hello")
                    assert peer.recv_exactly(5) == b"hello"
                else:
                    sock.sendall(b"hello")
                    assert sock.recv(5) == b"hello"
        service.join(10)
