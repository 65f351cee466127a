"""Where admin sockets usually are, for a shell that completes their names."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

_MOST = 200


def usual_sockets(environ: Mapping[str, str]) -> list[str]:
    """Those that are there: the one in ``$TLSIDECAR_ADMIN_SOCKET``, then ``*.sock`` in ``tlsidecar*`` below
    ``$XDG_RUNTIME_DIR`` and ``/run``, and one level deeper."""
    found: dict[str, None] = {}
    for path in _places(environ):
        if len(found) < _MOST and _is_socket(path):
            found[str(path)] = None
    return list(found)


def _places(environ: Mapping[str, str]) -> Iterator[Path]:
    if named := environ.get("TLSIDECAR_ADMIN_SOCKET"):
        yield Path(named)
    for base in (environ.get("XDG_RUNTIME_DIR", ""), "/run"):
        if base:
            for pattern in ("tlsidecar*/*.sock", "tlsidecar*/*/*.sock"):
                yield from sorted(Path(base).glob(pattern))


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False
