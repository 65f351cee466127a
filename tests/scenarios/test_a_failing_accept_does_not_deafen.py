"""accept(2) may fail for one connection (EPROTO, EPERM, …) or for a while (ENOBUFS, EIO): the listener goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually


@pytest.mark.needs("strace")
@pytest.mark.parametrize("error", ["EPROTO", "EPERM", "ENOBUFS", "EIO"])
def test_every_other_one(error: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    # -D: the sidecar stays the process that was started, and strace is beside it.
    strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=accept4"]
    strace += ["-e", f"inject=accept4:error={error}:when=2+2"]
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config, under=strace) as sidecar:
            port = sidecar.port()
            for _ in range(6):

                def served() -> bool:
                    with connected(port, pki.trust, client) as peer:
                        peer.send(b"!")
                        return peer.recv_exactly(1) == b"!"

                eventually(served)
            said = error in ("ENOBUFS", "EIO")
            eventually(lambda: ("cannot accept" in sidecar.log_text) == said)
