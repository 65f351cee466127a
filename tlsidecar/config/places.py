"""Where things are when nobody says: the configuration file and the admin socket. Light: every command reads this."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE_PREFIX = "TLSIDECAR_"
CONFIG_VARIABLE = "TLSIDECAR_CONFIG"
ADMIN_SOCKET_VARIABLE = "TLSIDECAR_ADMIN_SOCKET"

FILE_NAME = "tlsidecar.toml"
SYSTEM_FILE = Path("/etc/tlsidecar") / FILE_NAME
SYSTEM_ADMIN_SOCKET = Path("/run/tlsidecar/admin.sock")


def default_admin_socket(environ: Mapping[str, str]) -> Path:
    """``$TLSIDECAR_ADMIN_SOCKET``, else in ``$XDG_RUNTIME_DIR/tlsidecar``, else in ``/run/tlsidecar``."""
    named = environ.get(ADMIN_SOCKET_VARIABLE)
    if named:
        return Path(named)
    runtime_directory = environ.get("XDG_RUNTIME_DIR", "")
    # The XDG base directory specification: a relative path is invalid and ignored.
    if os.path.isabs(runtime_directory):
        return Path(runtime_directory) / "tlsidecar" / "admin.sock"
    return SYSTEM_ADMIN_SOCKET


def metrics_socket(admin_socket: Path) -> Path:
    """Where the metrics stand that are only for some, behind a listener with mutual TLS."""
    return admin_socket.with_name("metrics.sock")
