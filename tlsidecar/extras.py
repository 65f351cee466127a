"""What this installation was made without, and the line that adds it: wherever tlsidecar itself came from, the packages
of an extra come from the index."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec

_REQUIREMENT = re.compile(r"(?P<package>[^;]+?)\s*;\s*extra == ['\"](?P<extra>[\w-]+)['\"]")


def install_line(extra: str) -> str:
    """The command that adds what ``tlsidecar[extra]`` names to the environment that runs now."""
    # Here and not above: they bring half of the standard library, 2 MB that a sidecar would keep.
    import shlex
    from importlib import metadata

    found = (_REQUIREMENT.fullmatch(text) for text in metadata.requires("tlsidecar") or ())
    packages = [one["package"] for one in found if one is not None and one["extra"] == extra]
    if find_spec("pip") is not None:
        installer = [sys.executable, "-m", "pip", "install"]
    else:
        installer = ["uv", "pip", "install", "--python", sys.executable]
    return shlex.join([*installer, *packages])
