"""A CA whose lock somebody else holds: traffic, admin socket, reload and drain go on, and the attempt ends in time."""

from __future__ import annotations

import json
import time
from pathlib import Path

from support import configs
from support.certs_cli import certs, issued
from support.mtls import connect
from support.services import echo, serving
from support.sidecar import running

from certs.durable import locked


def test_a_locked_ca(tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    certs("init", ca, "--name", "Dev CA")
    client = issued(ca, tmp_path / "client", "--dns", "client.test")
    identity = f'[identity]\nauthority = {json.dumps(str(ca))}\ndns = ["localhost"]\nsource_timeout = "1s"\n'
    with serving(echo) as service:
        config = identity + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, locked(ca):
            began = time.monotonic()
            status, answer = sidecar.call("POST", "/v1/rotate")
            assert (status, answer["attempt"]["reason"]) == (409, "source_timeout")
            assert 0.9 < time.monotonic() - began < 20
            # The attempt still waits for the lock, and nobody waits for it.
            assert sidecar.call("POST", "/v1/reload")[1]["attempt"]["reason"] == "source_timeout"
            peer = connect(sidecar.port(), tmp_path / "client" / "ca.crt", client)
            peer.send(b"!")
            assert peer.recv_exactly(1) == b"!"
            peer.close()
            codes = [problem["code"] for problem in sidecar.status()["problems"]]
            assert codes[0] == "reload_refused"
            threads = len(list(Path(f"/proc/{sidecar.pid}/task").iterdir()))
            for _ in range(5):
                sidecar.call("POST", "/v1/rotate")
            assert len(list(Path(f"/proc/{sidecar.pid}/task").iterdir())) <= threads + 1
            assert sidecar.call("POST", "/v1/drain", {"timeout_s": 5})[1]["outcome"] == "drained"
            assert sidecar.stop() == 0  # while somebody else still has the lock
