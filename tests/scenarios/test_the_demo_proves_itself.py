"""``tlsidecar demo --once`` ends with 0 and every line held; without a terminal it does so by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("arguments", [["--once"], []])
def test_every_line_holds(arguments: list[str], tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "tlsidecar", "demo", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "4 of 4 held" in outcome.stdout
    assert "failed requests: 0" in outcome.stdout
    assert "FAILED" not in outcome.stdout
    assert list(tmp_path.iterdir()) == []
