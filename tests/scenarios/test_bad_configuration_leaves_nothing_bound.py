"""A configuration that cannot be served is refused whole: every problem at once, exit code 2, nothing left bound. One
that is good, and finds its place taken, ends with 1."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support import configs
from support.pki import Pki
from support.sidecar import Sidecar, running

# Every test connects to and from 127.0.0.1, and takes ports there: one that is free would not stay so.
QUIET = "127.0.0.2"
NOWHERE = "127.0.0.1:9"


def refused(sidecar: Sidecar, code: int = 2) -> str:
    """What it says as it ends: with 2 for a bad configuration, with 1 when it cannot be had here and now."""
    sidecar.start(wait=False)
    try:
        assert sidecar.wait() == code
        assert "Traceback" not in sidecar.log_text
        assert not sidecar.socket_path.exists()
        return sidecar.log_text
    finally:
        sidecar.kill()


def free_port() -> int:
    """A port of QUIET that nothing listens on."""
    with socket.create_server((QUIET, 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_every_problem_is_told_with_its_place(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust, trusts="typo")
    config += configs.limits(max_connections=0, handshake_timeout="-1s")
    config += configs.terminate("192.0.2.1:80", name="far") + configs.terminate(NOWHERE, name="far", listen="0.0.0.0:x")
    config += configs.terminate(NOWHERE, name="open", allow=())
    sidecar = Sidecar(tmp_path / "sidecar", config)
    said = refused(sidecar)
    lines = sidecar.config_path.read_text().splitlines()
    for wanted in ("trusts", "max_connections", "handshake_timeout", "upstream", "listen", "allow"):
        assert wanted in said, (wanted, said)
    at = next(number for number, line in enumerate(lines, 1) if line.startswith("max_connections"))
    assert f"tlsidecar.toml:{at}: limits.max_connections" in said
    assert "unsafe_upstream" in said


def test_a_port_in_use(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    first = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = configs.identity(server, pki.trust)
        config += configs.terminate(NOWHERE, name="first", listen=f"{QUIET}:{first}")
        config += configs.terminate(NOWHERE, name="unix", listen=f"unix:{tmp_path}/first.sock")
        config += configs.terminate(NOWHERE, name="second", listen=f"127.0.0.1:{port}")
        said = refused(Sidecar(tmp_path / "sidecar", config), 1)
        assert f"listener second: cannot listen on 127.0.0.1:{port}: Address already in use (its key is listen)" in said
        assert not (tmp_path / "first.sock").exists()
        socket.create_server((QUIET, first)).close()


def test_the_admin_port_in_use(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    first = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = f'http = "127.0.0.1:{taken.getsockname()[1]}"\n'
        config = admin + configs.identity(server, pki.trust)
        config += configs.terminate(NOWHERE, listen=f"{QUIET}:{first}")
        said = refused(Sidecar(tmp_path / "sidecar", config), 1)
        assert "admin.http cannot listen" in said
        assert "Address already in use" in said
        socket.create_server((QUIET, first)).close()


@pytest.mark.parametrize("by", ["file", "variable"])
def test_a_second_instance_on_the_same_admin_socket(by: str, pki: Pki, tmp_path: Path) -> None:
    """The variable may well have been exported for the first one's commands, as the README says."""
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate(NOWHERE)
    with running(tmp_path / "sidecar", config) as sidecar:
        env = {"TLSIDECAR_ADMIN_SOCKET": str(sidecar.socket_path)} if by == "variable" else {}
        second = Sidecar(tmp_path / "second", config, env=env)
        if by == "file":
            second.config_path.write_text(sidecar.config_path.read_text())
        said = refused(second, 1)
        assert f"(pid {sidecar.pid}) has the admin socket {sidecar.socket_path}" in said
        assert ("$TLSIDECAR_ADMIN_SOCKET names it" in said) == (by == "variable")
        assert sidecar.status()["state"] == "ready"


def test_a_socket_left_by_a_dead_process_is_replaced(pki: Pki, tmp_path: Path) -> None:
    """kill -9, then a start in the same place: both Unix sockets are taken over."""
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate(NOWHERE, listen=f"unix:{tmp_path}/in.sock")
    sidecar = Sidecar(tmp_path / "sidecar", config).start()
    sidecar.kill()
    assert sidecar.socket_path.exists()
    assert (tmp_path / "in.sock").exists()
    with running(tmp_path / "sidecar", config) as again:
        assert again.status()["state"] == "ready"


@pytest.mark.parametrize("what", ["a file", "a directory", "a link to a file", "a world-writable directory"])
def test_what_is_not_ours_is_not_replaced(what: str, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    config = configs.identity(server, pki.trust) + configs.terminate(NOWHERE)
    sidecar = Sidecar(tmp_path / "sidecar", config)
    path = sidecar.socket_path
    path.parent.mkdir(mode=0o700)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    if what == "a file":
        path.write_text("precious")
    elif what == "a directory":
        path.mkdir()
    elif what == "a link to a file":
        path.symlink_to(precious)
    else:
        path.parent.chmod(0o777)
    sidecar.start(wait=False)
    try:
        assert sidecar.wait() == 2
        assert "Traceback" not in sidecar.log_text
        assert str(path.parent) in sidecar.log_text
    finally:
        sidecar.kill()
    assert precious.read_text() == "precious"
    if what == "a file":
        assert path.read_text() == "precious"
