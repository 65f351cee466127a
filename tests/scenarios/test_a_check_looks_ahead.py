"""``check`` says what would keep a renewal from being seen, with what the kernel really has: a file mounted by itself,
one that is immutable."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import configs
from support.pki import Pair, Pki


def checked(config: Path, under: Sequence[str] = ()) -> Any:
    command = [*under, sys.executable, "-m", "tlsidecar", "check", "--config", str(config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def written(directory: Path, pair: Pair, trust: Path) -> Path:
    config = directory / "tlsidecar.toml"
    config.write_text(configs.identity(pair, trust) + configs.terminate("127.0.0.1:9"))
    return config


def test_a_file_that_is_mounted_by_itself(pki: Pki, tmp_path: Path) -> None:
    pair = pki.issue("server", "localhost")
    config = written(tmp_path, pair, pki.trust)
    assert not [each for each in checked(config)["material"]["warnings"] if "mounted" in each]
    target = tmp_path / "mounted.crt"
    target.write_bytes(b"")
    bind = f'mount --bind "{pair.cert}" "{target}" && exec "$@"'
    under = ["unshare", "--mount", "sh", "-c", bind, "sh"]
    if subprocess.run([*under, "true"], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    config = written(tmp_path, Pair(target, pair.key), pki.trust)
    (said,) = [each for each in checked(config, under)["material"]["warnings"] if "mounted" in each]
    assert said.startswith(f"{target} is mounted by itself")


def test_a_file_that_is_immutable(pki: Pki, tmp_path: Path) -> None:
    pair = pki.issue("server", "localhost")
    if subprocess.run(["chattr", "+i", str(pair.key)], capture_output=True).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        warnings = checked(written(tmp_path, pair, pki.trust))["material"]["warnings"]
    finally:
        subprocess.run(["chattr", "-i", str(pair.key)], check=True)
    assert [each for each in warnings if each.startswith(f"{pair.key} is immutable")]
