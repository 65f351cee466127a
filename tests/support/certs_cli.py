"""``tlsidecar certs …`` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.pki import Pair


def certs(*arguments: object, code: int = 0) -> Any:
    """What it prints as JSON; its standard error where ``code`` is not 0."""
    command = [sys.executable, "-m", "tlsidecar", "certs", *map(str, arguments), "--json"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert outcome.returncode == code, (outcome.returncode, outcome.stderr)
    return json.loads(outcome.stdout) if code == 0 else outcome.stderr


def issued(ca: Path, out: Path, *more: str) -> Pair:
    """A set published into ``out``."""
    certs("issue", ca, "--out", out, *more)
    return Pair(out / "tls.crt", out / "tls.key")
