"""An outage, snapped and recorded from outside: who was not there sees it as it was, with the same exit code, after the
sidecar has ended."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
from pathlib import Path

from scenarios.test_an_outage_is_critical_until_the_service_answers import curl, problem
from support import configs
from support.pki import Pki
from support.ports import free_port
from support.sidecar import running
from support.waiting import eventually

WITHIN_S = 60


def tlsidecar(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tlsidecar", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)


def test_an_outage_is_seen_by_who_was_not_there(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    config = configs.identity(server, pki.trust)
    config += configs.terminate(f"127.0.0.1:{free_port()}", protocol="http")
    snapped, recorded = tmp_path / "snapped.gz", tmp_path / "recorded.gz"
    with running(tmp_path / "sidecar", config) as sidecar:
        socket = ("--socket", sidecar.socket_path)
        recorder = subprocess.Popen(
            [sys.executable, "-m", "tlsidecar", "ui", "--watch", "--record", recorded, *socket],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            assert recorder.stdout is not None
            assert recorder.stdout.readline()
            for _ in range(4):
                assert curl(sidecar, pki, client) == "502"
            eventually(lambda: problem(sidecar, "upstream_down"))
            while b"upstream_down" not in recorder.stdout.readline():
                pass
            assert recorder.stdout.readline()
            done = tlsidecar("snapshot", "-o", snapped, *socket)
            assert (done.returncode, done.stdout) == (0, f"{snapped}\n")
        finally:
            recorder.send_signal(signal.SIGINT)
            _, told = recorder.communicate(timeout=WITHIN_S)
        assert (recorder.returncode, told) == (130, b"")
    for file in (snapped, recorded):
        assert file.stat().st_mode & 0o777 == 0o600
        text = gzip.decompress(file.read_bytes())
        assert b"PRIVATE KEY" not in text
        assert b"client.test" in text
        again = tlsidecar("ui", "--once", "--replay", file)
        assert (again.returncode, again.stderr) == (2, "")
        assert "Connection refused; 4 requests" in " ".join(again.stdout.split())
