"""An sshd of our own on the loopback: its keys, its configuration, a port above 1024, and an ``ssh`` that knows it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.waiting import eventually

_SEPARATION = Path("/run/sshd")


@dataclass(frozen=True)
class Sshd:
    """``programs`` is a directory for PATH whose ``ssh`` uses our configuration, as the user's own would theirs."""

    port: int
    user: str
    programs: Path

    @property
    def target(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}"


@contextlib.contextmanager
def running(folder: Path, path: str, *, accepts: bool = True) -> Iterator[Sshd]:
    """One that runs commands with ``path`` as their PATH; with ``accepts`` off it knows no key of ours."""
    folder.mkdir(mode=0o700, parents=True)
    for name in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    known = folder / "authorized_keys"
    known.write_text((folder / "mine.pub").read_text() if accepts else "")
    known.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = folder / "sshd_config"
    configuration.write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {known}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nSetEnv PATH={path}\n"
    )
    if os.geteuid() == 0:
        _SEPARATION.mkdir(mode=0o755, exist_ok=True)
    (folder / "known_hosts").write_text(
        f"[127.0.0.1]:{port} {' '.join((folder / 'host.pub').read_text().split()[:2])}\n"
    )
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder}/mine\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
        "GlobalKnownHostsFile none\n"
    )
    programs = folder / "bin"
    programs.mkdir()
    ssh = programs / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    ssh.chmod(0o755)
    with (folder / "log").open("wb") as log:
        program = shutil.which("sshd")
        assert program is not None
        daemon = subprocess.Popen(
            [program, "-D", "-e", "-f", str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        eventually(lambda: _answers(port, daemon))
        yield Sshd(port, getpass.getuser(), programs)
    except BaseException:
        sys.stderr.write(f"--- sshd's log\n{(folder / 'log').read_text(errors='replace')[-4000:]}\n")
        raise
    finally:
        daemon.terminate()
        daemon.wait(10)


def _answers(port: int, daemon: subprocess.Popen[bytes]) -> bool:
    if daemon.poll() is not None:
        raise RuntimeError(f"sshd ended with {daemon.returncode}")
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as tried:
        return tried.recv(4) == b"SSH-"
    return False
