"""A MariaDB server of the test's own, as an unprivileged user where it has to be."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.ports import free_ports
from support.waiting import eventually, listens

USER = "mysql"
PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb", "mariadb-admin")


def missing() -> list[str]:
    """Which of its programs are not on this machine."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextlib.contextmanager
def mariadb(sql: str, *settings: str, files: Mapping[str, bytes] | None = None) -> Iterator[tuple[int, Path]]:
    """The port and the Unix socket of a running server that has carried out ``sql``. ``settings`` are lines of its
    configuration; ``files`` are put into its data directory under their names, for it alone to read."""
    with tempfile.TemporaryDirectory(prefix="tlsidecar-mariadb-") as name:
        place = Path(name)
        data = place / "data"
        data.mkdir()
        install = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
        ]
        # Each server that starts removes what it takes for left-overs of its own in its place for temporary tables.
        own = os.environ | {"TMPDIR": name}
        done = subprocess.run(
            [*install, "--skip-test-db"], capture_output=True, text=True, timeout=120, check=False, env=own
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (place / "begin.sql").write_text(sql)
        for file, content in (files or {}).items():
            (data / file).write_bytes(content)
        (port,) = free_ports(1)
        lines = [
            f"datadir = {data}",
            f"tmpdir = {place}",
            f"socket = {place / 'socket'}",
            f"init-file = {place / 'begin.sql'}",
            "bind-address = 127.0.0.1",
            f"port = {port}",
            "skip-name-resolve",
            "innodb-buffer-pool-size = 8M",
            "innodb-flush-log-at-trx-commit = 0",
        ]
        (place / "my.cnf").write_text("\n".join(["[mariadbd]", *lines, *settings]) + "\n")
        command = [shutil.which("mariadbd") or "mariadbd", f"--defaults-file={place / 'my.cnf'}"]
        if os.geteuid() == 0:  # as whom it refuses to run
            command.append(f"--user={USER}")
            for each in [place, *place.rglob("*")]:
                shutil.chown(each, USER, USER)
        with (place / "log").open("ab") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=name)
            try:
                eventually(lambda: listens(port) or server.poll() is not None, within_s=60)
                assert server.poll() is None, (place / "log").read_text()
                yield port, place / "socket"
            finally:
                server.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(30)
                server.kill()
                server.wait(10)
