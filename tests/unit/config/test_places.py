"""Where things are when nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlsidecar.config.places import default_admin_socket, metrics_socket


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "/run/tlsidecar/admin.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/tlsidecar/admin.sock"),
        # The XDG base directory specification: relative paths are invalid, and ignored.
        ({"XDG_RUNTIME_DIR": "relative"}, "/run/tlsidecar/admin.sock"),
        ({"XDG_RUNTIME_DIR": ""}, "/run/tlsidecar/admin.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "TLSIDECAR_ADMIN_SOCKET": "/x/a.sock"}, "/x/a.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7", "TLSIDECAR_ADMIN_SOCKET": ""}, "/run/user/7/tlsidecar/admin.sock"),
        ({"TLSIDECAR_ADMIN_SOCKET": "here/a.sock"}, "here/a.sock"),
    ],
)
def test_the_admin_socket(environ: dict[str, str], path: str) -> None:
    assert default_admin_socket(environ) == Path(path)


def test_the_metrics_stand_beside_it() -> None:
    assert metrics_socket(Path("/run/tlsidecar/admin.sock")) == Path("/run/tlsidecar/metrics.sock")
