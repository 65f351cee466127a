"""The service is gone: whoever asks gets a 502 and is not refused; the console's plain form and `failures` say what it
is, by the exit code, too; it is over when the service answers again."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from support import configs
from support.mtls import connected
from support.pki import Pki
from support.ports import free_port
from support.raw_http import read_answer, request
from support.services import serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

REQUESTS = 12


def _service(sock: socket.socket) -> None:
    while sock.recv(65536):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def _command(sidecar: Sidecar, *arguments: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, "-m", "tlsidecar", *arguments, "--socket", str(sidecar.socket_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


def test_the_service_dies_and_comes_back(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    port = free_port()
    config = configs.identity(server, pki.trust) + configs.terminate(f"127.0.0.1:{port}", protocol="http")
    with running(tmp_path / "sidecar", config) as sidecar:

        def ask() -> int:
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(request())
                return read_answer(peer).status

        assert [ask() for _ in range(REQUESTS)] == [502] * REQUESTS

        def outage() -> bool:
            return any(
                each["severity"] == "critical" and each["code"] == "upstream_down"
                for each in sidecar.status()["problems"]
            )

        eventually(outage)
        code, text = _command(sidecar, "ui", "--once")
        assert code == 2
        assert "critical" in text.splitlines()[3]
        assert "Connection refused" in text
        assert "Failed" in text
        assert "nobody was refused" in text
        code, text = _command(sidecar, "ui", "--json")
        told = json.loads(text)["sidecars"][0]
        assert (code, told["exit_code"], told["refusals"]) == (2, 2, [])
        assert sum(each["count"] for each in told["failures"]) == REQUESTS
        code, text = _command(sidecar, "failures")
        assert code == 0
        assert text.splitlines()[1].split()[1] == str(REQUESTS)
        assert "client.test" in text
        assert _command(sidecar, "refusals") == (0, "Nobody was refused since the sidecar began.\n")

        with serving(_service, port=port):
            eventually(lambda: ask() == 200)
            eventually(lambda: not outage())

            def nothing_is_wrong() -> bool:
                """A machine that is busy may be so for a moment."""
                code, text = _command(sidecar, "ui", "--once")
                assert "critical" not in text
                return code == 0

            eventually(nothing_is_wrong)
