"""``check`` says whether a CA would issue, and leaves it as it was; ``reload`` reads; only ``rotate`` issues."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support import configs
from support.certs_cli import certs
from support.sidecar import Sidecar, running


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def check(sidecar: Sidecar, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tlsidecar", "check", "--config", str(sidecar.config_path), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_with_a_local_authority(tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    certs("init", ca, "--name", "Dev CA")
    identity = f'[identity]\nauthority = {json.dumps(str(ca))}\ndns = ["localhost"]\n'
    with running(tmp_path / "sidecar", identity + configs.terminate("127.0.0.1:9")) as sidecar:
        before = contents(ca)
        result = check(sidecar)
        assert (result.returncode, result.stderr) == (0, "")
        assert "nothing was issued" in result.stdout
        report = json.loads(check(sidecar, "--json").stdout)
        assert (report["ok"], report["material"]["at_hand"]) == (True, False)
        serial = sidecar.json("/v1/certificates")["leaf"]["serial"]
        assert sidecar.call("POST", "/v1/reload")[1]["outcome"] == "unchanged"
        assert contents(ca) == before
        answer = sidecar.call("POST", "/v1/rotate")[1]
        assert (answer["outcome"], answer["attempt"]["previous_serial"]) == ("applied", serial)
        assert contents(ca) != before
        (ca / "ca-1" / "intermediate.key").unlink()
        result = check(sidecar)
        assert result.returncode == 2
        assert "intermediate.key" in result.stdout
