"""The wall clock goes a month ahead, a month back and an hour back under load: it is noticed and said; nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support import configs
from support.faketime import WallClock
from support.mtls import connect, connected
from support.pki import Pki
from support.services import echo, serving
from support.sidecar import running
from support.waiting import eventually


@pytest.mark.needs("faketime")
def test_ahead_back_and_back_again(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    clock = WallClock(tmp_path / "clock")
    with serving(echo) as service:
        config = configs.limits(idle_timeout="20s") + configs.identity(server, pki.trust)
        config += configs.terminate(service.address)
        with (
            running(tmp_path / "sidecar", config, env=clock.environment) as sidecar,
            connected(sidecar.port(), pki.trust, client) as old,
        ):
            old.send(b"!")
            assert old.recv_exactly(1) == b"!"
            reloads, busy_s, began = sidecar.metric("tlsidecar_reloads_total"), sidecar.cpu_s(), time.monotonic()
            for told, offset in enumerate(("+30d", "-30d", "-1h", "+0"), start=1):
                clock.set(offset)
                eventually(lambda told=told: sidecar.log_text.count("the wall clock jumped") == told)  # type: ignore[misc]
                # No deadline of a connection hangs on the wall clock: the old one goes on, a new one is made.
                old.send(b"still here")
                assert old.recv_exactly(10) == b"still here"
                peer = connect(sidecar.port(), pki.trust, client)
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
                peer.close()
                status = sidecar.status()
                assert (status["state"], status["ready"]) == ("ready", True), status["problems"]
                assert "clock_jumped" in [problem["code"] for problem in status["problems"]]
            sidecar.counts(reloads, "tlsidecar_reloads_total")
            assert sidecar.cpu_s() - busy_s < 0.3 * (time.monotonic() - began) + 0.5
