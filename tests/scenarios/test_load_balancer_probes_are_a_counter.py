"""Who connects and goes without a byte is counted, and neither refused nor logged: load balancers do so all day."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support import configs
from support.pki import Pki
from support.services import echo, reset, serving
from support.sidecar import running


def half_closes(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(1) == b""
    sock.close()


WAYS: dict[str, Callable[[socket.socket], None]] = {
    "closed": socket.socket.close,
    "reset": reset,
    "half closed": half_closes,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_probes_leave_no_refusal(way: str, protocol: str, pki: Pki, tmp_path: Path) -> None:
    count = 100
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol=protocol)
        with running(tmp_path / "sidecar", config) as sidecar:
            port = sidecar.port()
            for _ in range(count):
                WAYS[way](socket.create_connection(("127.0.0.1", port), 10))
            sidecar.counts(count, "tlsidecar_connections_total", outcome="empty")
            sidecar.settles()
            assert sidecar.refusals() == []
            assert sidecar.metric("tlsidecar_handshakes_total", outcome="failed") == 0
            assert not [line for line in sidecar.log_lines if "refused" in line.get("message", "")]
            assert service.connections == 0


@pytest.mark.parametrize("sent", [b"\x16", b"\x16\x03\x01\x00\x05\x01"])
def test_one_byte_is_a_handshake_that_was_left(sent: bytes, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            with socket.create_connection(("127.0.0.1", sidecar.port()), 10) as sock:
                sock.sendall(sent)
                sock.shutdown(socket.SHUT_WR)
                sock.recv(100)  # an alert, or the end
            assert sidecar.refusal(reason="handshake_aborted")["stage"] == "handshake"
            assert sidecar.metric("tlsidecar_connections_total", outcome="empty") == 0
