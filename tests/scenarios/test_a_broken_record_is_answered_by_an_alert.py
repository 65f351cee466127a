"""A client that breaks TLS after the handshake, and goes on sending, reads the alert that says so, and no reset."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import configs
from support.mtls import Alerted, connected
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running

# Application data of the right size, sealed with no key of ours (RFC 8446 section 5.2).
BROKEN_RECORD = b"\x17\x03\x03\x01\x00" + os.urandom(256)


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_it_is_read_though_the_client_still_sends(protocol: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address, protocol=protocol)
        with running(tmp_path / "sidecar", config) as sidecar:
            for _ in range(10):
                with connected(sidecar.port(), pki.trust, client) as peer:
                    peer.sock.setblocking(True)
                    peer.sock.settimeout(10)
                    for _ in range(400):
                        peer.sock.sendall(BROKEN_RECORD)
                    peer.sock.setblocking(False)
                    with pytest.raises(Alerted, match="bad record mac"):
                        peer.recv()
            if protocol == "tcp":
                sidecar.counts(10, "tlsidecar_connections_total", outcome="protocol_error")
