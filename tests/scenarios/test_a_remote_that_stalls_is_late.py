"""A remote that accepts and does not finish its TLS handshake is an upstream that is late: named so, and 504 over
HTTP."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support import configs
from support.pki import Pki
from support.raw_http import read_answer, request
from support.services import serving
from support.sidecar import running


def stalls(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_it_stalls(protocol: str, pki: Pki, tmp_path: Path) -> None:
    ours = pki.issue("ours", "app.internal")
    with serving(stalls) as service:
        config = configs.limits(handshake_timeout="300ms") + configs.identity(ours, pki.trust)
        config += configs.originate(f"localhost:{service.port}", protocol=protocol)
        with running(tmp_path / "sidecar", config) as sidecar:
            with socket.create_connection(("127.0.0.1", sidecar.port()), 10) as sock:
                sock.sendall(request())
                if protocol == "http":
                    assert read_answer(sock).status == 504
                else:
                    with pytest.raises(ConnectionResetError):
                        sock.recv(1)
            name = "tlsidecar_upstream_errors_total"
            sidecar.counts(1, name, reason="upstream_handshake_timeout")
            upstream = sidecar.status()["listeners"][0]["upstreams"][0]
            assert upstream["healthy"] is False
            assert upstream["last_error"] == "the TLS handshake was not done within 0.3 s"
            if protocol == "http":
                sidecar.last_access(reason="upstream_handshake_timeout", upstream=upstream["address"])
            sidecar.settles()
