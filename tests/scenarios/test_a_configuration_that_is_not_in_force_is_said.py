"""A configuration edited on disk: a problem that names the keys, and a reload that says it was not applied."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import configs
from support.pki import Pki
from support.sidecar import Sidecar, running
from support.waiting import eventually


def problem(sidecar: Sidecar, code: str) -> dict[str, Any] | None:
    return next((each for each in sidecar.status()["problems"] if each["code"] == code), None)


def reload(sidecar: Sidecar) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tlsidecar", "reload", "--socket", str(sidecar.socket_path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_edited_broken_and_put_back(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:9")
    with running(tmp_path / "sidecar", config) as sidecar:
        written = sidecar.config_path.read_text()
        assert reload(sidecar).returncode == 0

        sidecar.config_path.write_text(written.replace('"127.0.0.1:0"', '"127.0.0.1:1"') + 'watchdog_timeout = "11s"\n')
        # A key behind the last table is that table's.
        found = eventually(lambda: problem(sidecar, "configuration_invalid"))
        assert found is not None
        assert "watchdog_timeout" in found["message"]

        sidecar.config_path.write_text('watchdog_timeout = "11s"\n' + written.replace('"127.0.0.1:0"', '"127.0.0.1:1"'))
        found = eventually(lambda: problem(sidecar, "configuration_changed"))
        assert found is not None
        assert (found["severity"], found["subject"]) == ("warning", str(sidecar.config_path))
        for key in ("watchdog_timeout", "listener[in].listen"):
            assert key in found["message"]
        assert "allow" not in found["message"]

        result = reload(sidecar)
        assert result.returncode == 4
        assert "configuration changed: not applied: watchdog_timeout, listener[in].listen" in result.stderr
        assert sidecar.call("POST", "/v1/reload")[1]["attempt"]["configuration"] == "not applied"
        eventually(lambda: sidecar.log_text.count("configuration changed: not applied") == 2)
        sidecar.signal(signal.SIGHUP)
        eventually(lambda: sidecar.log_text.count("configuration changed: not applied") == 3)

        sidecar.config_path.write_text(written)
        eventually(lambda: problem(sidecar, "configuration_changed") is None)
        assert reload(sidecar).returncode == 0
