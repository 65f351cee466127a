"""The certificate commands as a whole, alone and without a sidecar's package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from unit.certs.cli.commands import run


@pytest.mark.parametrize("arguments", [["--help"], ["init", "--help"], ["rotate", "--help"]])
def test_help(arguments: list[str]) -> None:
    assert "Usage" in run(*arguments).stdout


def test_alone_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "certs", "init", str(tmp_path / "pki"), "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["directory"] == str(tmp_path / "pki")


def test_it_stands_alone() -> None:
    """Importing every module brings in neither the daemon nor the terminal UI."""
    script = (
        "import certs, pkgutil, sys\n"
        "for module in pkgutil.walk_packages(certs.__path__, 'certs.'):\n"
        "    if module.name != 'certs.__main__': __import__(module.name)\n"
        "found = {name.partition('.')[0] for name in sys.modules}\n"
        "sys.exit(bool(found & {'tlsidecar', 'tui', 'textual', 'pydantic', 'prometheus_client'}))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
