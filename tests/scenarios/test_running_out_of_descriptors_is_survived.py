"""With all descriptors taken the sidecar waits without spinning, the operator gets in, and then it accepts again."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest
from support import configs
from support.mtls import connect, connected
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually

MOST = 64
CLIENTS = 100


@pytest.mark.needs("prlimit")
def test_a_hundred_clients_on_sixty_four_descriptors(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        # The limits are set high on purpose, so that it is the descriptors that run out.
        config = configs.limits(max_connections=1000, max_handshakes=1000, handshake_timeout="20s")
        config += configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config, most_descriptors=MOST) as sidecar, contextlib.ExitStack() as stack:
            port = sidecar.port()
            early = connect(port, pki.trust, client)
            socks = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(CLIENTS)]
            sidecar.refusal(reason="fd_exhausted")
            busy_s, began = sidecar.cpu_s(), time.monotonic()
            calls = 0
            while time.monotonic() - began < 1.0:
                assert sidecar.status()["state"] in ("ready", "degraded")  # the operator gets in
                calls += 1
                early.send(b"!")
                assert early.recv_exactly(1) == b"!"  # and who was there is served
                time.sleep(0.1)
            spent_s = sidecar.cpu_s() - busy_s - calls * 0.015  # what the calls themselves cost
            assert spent_s < 0.2 * (time.monotonic() - began), "a busy loop"
            # Descriptors are kept for reading files, too: a rotation works meanwhile.
            pki.issue("server", "localhost")
            assert sidecar.call("POST", "/v1/reload")[1]["outcome"] == "applied"
            for sock in socks:
                sock.close()

            def served() -> bool:
                with connected(port, pki.trust, client) as peer:
                    peer.send(b"back")
                    return peer.recv_exactly(4) == b"back"

            eventually(served)
            early.close()
            eventually(lambda: "cannot accept" in sidecar.log_text)
            eventually(lambda: "accepting again" in sidecar.log_text)


@pytest.mark.needs("prlimit")
def test_the_default_limits_leave_descriptors_over(pki: Pki, tmp_path: Path) -> None:
    """Left to itself the limit on connections is hit first, and nothing ever runs out."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.limits(max_handshakes=1000) + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config, most_descriptors=MOST) as sidecar, contextlib.ExitStack() as stack:
            port = sidecar.port()
            most = sidecar.listener()["max_connections"]
            # Each process has a limit of its own on its descriptors: what each worker may take adds up.
            assert 10 * sidecar.workers <= most <= (MOST - 24) // 2 * sidecar.workers
            for _ in range(CLIENTS):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            sidecar.refusal(reason="max_connections")
            assert sidecar.metric("tlsidecar_refusals_total", reason="fd_exhausted") == 0
            stack.close()
            sidecar.settles()
            with connected(port, pki.trust, client) as peer:
                peer.send(b"back")
                assert peer.recv_exactly(4) == b"back"
