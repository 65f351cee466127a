"""``certs revoke --socket`` tells which sidecars do not read the list that it wrote, and would let the revoked in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import configs
from support.certs_cli import certs, issued
from support.mtls import Alerted, connected
from support.services import echo, serving
from support.sidecar import running


def test_one_that_reads_it_one_that_does_not_and_nobody(tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    certs("init", ca, "--name", "Dev CA")
    certs("crl", ca)
    server = issued(ca, tmp_path / "out", "--dns", "localhost")
    client = issued(ca, tmp_path / "client", "--dns", "client.test", "--client")
    trust = tmp_path / "out" / "ca.crt"
    with serving(echo) as service:
        listener = configs.terminate(service.address, allow=("dns:client.test",))
        reads = configs.identity(server, trust, crl=str(ca / "ca.crl"), poll_interval="1h") + listener
        blind = configs.identity(server, trust) + listener
        with running(tmp_path / "reads", reads) as good, running(tmp_path / "blind", blind) as bad:
            command = [sys.executable, "-m", "tlsidecar", "certs", "revoke", str(ca), "client.test", "--json"]
            for sidecar in (good, bad):
                command += ["--socket", str(sidecar.socket_path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 1, done.stderr
            told = {Path(each["socket"]).parts[-3]: each for each in json.loads(done.stdout)["sidecars"]}
            assert told["reads"]["reads_list"] is True
            assert told["blind"]["reads_list"] is False
            assert "no list of this CA is read" in told["blind"]["detail"]
            assert str(bad.socket_path) in done.stderr

            with pytest.raises((Alerted, ConnectionError)), connected(good.port(), trust, client) as peer:
                peer.recv_exactly(1)
            good.refusal(reason="certificate_revoked")
            with connected(bad.port(), trust, client) as peer:
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"

        assert "reads it" not in certs("revoke", ca, "client.test", "--socket", tmp_path / "nobody.sock", code=2)
        told_by = certs("revoke", ca, tmp_path / "client", "--socket", tmp_path / "nobody.sock", code=3)
        assert "nobody.sock" in told_by
