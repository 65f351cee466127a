"""A CA, a set that it issued, and a sidecar that serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.certs.cli.commands import Sidecar, run


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    run("init", tmp_path / "pki", "--name", "Dev CA")
    return tmp_path / "pki"


@pytest.fixture
def out(pki: Path, tmp_path: Path) -> Path:
    run("issue", pki, "--out", tmp_path / "out", "--dns", "web.internal", "--ip", "127.0.0.1")
    return tmp_path / "out"


@pytest.fixture
def sidecar(out: Path) -> Iterator[Sidecar]:
    sidecar = Sidecar(out)
    yield sidecar
    sidecar.close()
