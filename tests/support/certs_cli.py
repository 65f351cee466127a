"""``tlsidecar certs …`` as a user words it, in this process: what it is in one of its own is for its own tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from support.pki import Pair
from tlsidecar.cli.root import root


def certs(*arguments: object, code: int = 0) -> Any:
    """What it prints as JSON; its standard error where ``code`` is not 0."""
    outcome = CliRunner().invoke(root, ["certs", *map(str, arguments), "--json"], prog_name="tlsidecar")
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == code, (outcome.exit_code, outcome.stderr)
    return json.loads(outcome.stdout) if code == 0 else outcome.stderr


def issued(ca: Path, out: Path, *more: str) -> Pair:
    """A set published into ``out``."""
    certs("issue", ca, "--out", out, *more)
    return Pair(out / "tls.crt", out / "tls.key")
