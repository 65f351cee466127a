"""A PostgreSQL server of the test's own, as an unprivileged user where it has to be."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.ports import free_ports
from support.waiting import eventually, listens

USER = "postgres"


def programs() -> Path | None:
    """Where Debian keeps initdb and postgres."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    return Path(found[-1]) if found else None


@contextlib.contextmanager
def database(*settings: str, files: Mapping[str, bytes] | None = None) -> Iterator[int]:
    """The port of a running server with no passwords. ``settings`` are lines of its configuration, ``files`` are put
    beside it under their names, for it alone to read."""
    place = programs()
    assert place is not None
    with tempfile.TemporaryDirectory(prefix="tlsidecar-postgres-") as name:
        data = Path(name) / "data"
        data.mkdir()
        before: list[str] = []
        if os.geteuid() == 0:  # as whom it refuses to run
            before = ["runuser", "-u", USER, "--"]
            owner = pwd.getpwnam(USER)
            for each in (data.parent, data):
                os.chown(each, owner.pw_uid, owner.pw_gid)
        initdb = [*before, str(place / "initdb"), "-D", str(data), "-A", "trust", "-U", USER, "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, timeout=120, cwd=name)
        for file, content in (files or {}).items():
            (data / file).write_bytes(content)
            (data / file).chmod(0o600)
            if before:
                shutil.chown(data / file, USER, USER)
        (port,) = free_ports(1)
        lines = [
            f"port = {port}",
            "listen_addresses = '127.0.0.1'",
            f"unix_socket_directories = '{name}'",
            "fsync = off",
        ]
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write("\n".join([*lines, *settings]) + "\n")
        with (Path(name) / "log").open("ab") as log:
            command = [*before, str(place / "postgres"), "-D", str(data)]
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=name)
            try:
                eventually(lambda: listens(port) or server.poll() is not None, within_s=60)
                assert server.poll() is None, (Path(name) / "log").read_text()
                yield port
            finally:
                server.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(20)
                server.kill()
                server.wait(10)
