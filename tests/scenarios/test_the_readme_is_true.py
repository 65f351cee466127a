"""The five-minute path of the README, run as it stands: only its ports are exchanged for free ones."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.ports import free_port

README = Path(__file__).parents[2] / "README.md"

# What a person does outside of the path: installing it, and looking at it.
LEFT_OUT = ("python3 -m venv", "pip install", "tlsidecar ui")


class Service(http.server.BaseHTTPRequestHandler):
    """A plaintext service that says whom it was told it speaks with."""

    def do_GET(self) -> None:
        body = f"hello {self.headers['X-Forwarded-Client-Cert']}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _path() -> list[str]:
    """The commands under the heading."""
    section = README.read_text().partition("## Your own service, in five minutes")[2]
    block = section.split("```")[1]
    return [line for line in block.strip().splitlines() if not line.startswith(LEFT_OUT)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs Debian's package curl")
def test_your_own_service_in_five_minutes(tmp_path: Path) -> None:
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    serving = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    port = free_port()
    script = "\n".join(["set -euo pipefail", "trap 'kill %1; wait %1' EXIT", *_path()])
    script = re.sub(r"\b8443\b", str(port), script)
    script = re.sub(r"\b8080\b", str(service.server_address[1]), script)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TLSIDECAR_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )
    finally:
        service.shutdown()
        serving.join()
        service.server_close()
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "URI=spiffe://dev.example/ns/shop/sa/shop" in done.stdout, told  # curl, through the sidecar
    assert "ready" in done.stdout, told  # status
    assert re.search(r"generation +1 -> 2|generation 2", told), told  # certs rotate
