"""Which admin sockets a shell completes."""

from __future__ import annotations

import socket
from pathlib import Path

from tlsidecar.api.sockets import usual_sockets


def bound(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    return str(path)


def test_the_named_one_first_then_those_of_the_runtime_directory(tmp_path: Path) -> None:
    named = bound(tmp_path / "elsewhere" / "a.sock")
    flat = bound(tmp_path / "run" / "tlsidecar" / "admin.sock")
    deeper = bound(tmp_path / "run" / "tlsidecar-web" / "one" / "admin.sock")
    bound(tmp_path / "run" / "other" / "admin.sock")
    bound(tmp_path / "run" / "tlsidecar" / "too" / "deep" / "admin.sock")
    (tmp_path / "run" / "tlsidecar" / "file.sock").touch()
    found = usual_sockets({"TLSIDECAR_ADMIN_SOCKET": named, "XDG_RUNTIME_DIR": str(tmp_path / "run")})
    assert [path for path in found if path.startswith(str(tmp_path))] == [named, flat, deeper]


def test_one_that_is_both_is_shown_once_and_one_that_is_gone_is_not(tmp_path: Path) -> None:
    path = bound(tmp_path / "tlsidecar" / "admin.sock")
    assert usual_sockets({"TLSIDECAR_ADMIN_SOCKET": path, "XDG_RUNTIME_DIR": str(tmp_path)}).count(path) == 1
    Path(path).unlink()
    assert path not in usual_sockets({"TLSIDECAR_ADMIN_SOCKET": path, "XDG_RUNTIME_DIR": str(tmp_path)})
