"""``starttls = "mysql"``: MariaDB and its client as they are, on either side of us."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import configs
from support.mariadb import PROGRAMS, mariadb
from support.pki import Pair, Pki
from support.sidecar import running
from support.waiting import eventually

pytestmark = [pytest.mark.needs(*PROGRAMS), pytest.mark.xdist_group("mysql")]  # one server for all

ACCOUNTS = """
create user app@'%' identified by 'secret';
create user empty@'%';
create user switched@'%' identified via ed25519 using password('secret');
create user certain@'%' identified by 'secret' require x509;
grant all on *.* to app@'%';
"""


class Server(NamedTuple):
    port: int
    socket: Path
    pki: Pki


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It speaks TLS to who wants to, and plainly to who does not."""
    pki = Pki(tmp_path_factory.mktemp("pki"))
    pair = pki.issue("server", "localhost", "127.0.0.1")
    files = {"us.crt": pair.cert.read_bytes(), "us.key": pair.key.read_bytes(), "ca.crt": pki.trust.read_bytes()}
    settings = ("ssl-cert = us.crt", "ssl-key = us.key", "ssl-ca = ca.crt", "plugin-load-add = auth_ed25519")
    with mariadb(ACCOUNTS, *settings, files=files) as (port, socket):
        yield Server(port, socket, pki)


def client(port: int, sql: str, *options: str, user: str = "app") -> subprocess.CompletedProcess[str]:
    password = [] if user == "empty" else ["--password=secret"]
    command = ["mariadb", "--no-defaults", "--protocol=tcp", "--host=localhost", f"--port={port}", f"--user={user}"]
    command += ["--connect-timeout=15", "--skip-column-names", "--batch", *password, *options, f"--execute={sql}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def shows(pair: Pair, trust: Path) -> list[str]:
    return ["--ssl-verify-server-cert", f"--ssl-ca={trust}", f"--ssl-cert={pair.cert}", f"--ssl-key={pair.key}"]


def terminating(pki: Pki, upstream: str, **more: object) -> str:
    return configs.identity(pki.issue("server", "localhost"), pki.trust) + configs.terminate(
        upstream, starttls="mysql", **more
    )


def test_a_client_to_a_server_in_the_clear(tmp_path: Path, pki: Pki, server: Server) -> None:
    with_certificate = shows(pki.issue("client", "app.test"), pki.trust)
    with running(tmp_path / "sidecar", terminating(pki, f"127.0.0.1:{server.port}")) as sidecar:
        port = sidecar.port()
        for user in ("app", "empty", "switched"):
            done = client(port, "select 6 * 7", *with_certificate, user=user)
            assert (done.stdout, done.stderr) == ("42\n", "")
        # The service sees a plain session, and the number that KILL takes is its own.
        told = client(port, "show session status like 'Ssl_cipher'; select connection_id()", *with_certificate)
        assert told.stdout.splitlines()[0].split() == ["Ssl_cipher"]
        wide = client(port, "select repeat('x', 3000000)", *with_certificate)
        assert len(wide.stdout) == 3_000_001

        wrong = client(port, "select 1", *with_certificate, "--password=wrong")
        assert "ERROR 1045 (28000): Access denied" in wrong.stderr
        refused = client(port, "select 1", "--skip-ssl")
        assert "ERROR 3159 (HY000): mutual TLS is required here" in refused.stderr
        sidecar.refusal(reason="starttls_refused", stage="handshake")
        assert client(port, "select 1", "--ssl").returncode == 1
        sidecar.refusal(reason="no_certificate")


def test_a_query_is_ended_from_another_session(tmp_path: Path, pki: Pki, server: Server) -> None:
    """What Ctrl-C does in the client: KILL QUERY with the number that the greeting had."""
    with_certificate = shows(pki.issue("client", "app.test"), pki.trust)
    with running(tmp_path / "sidecar", terminating(pki, f"unix:{server.socket}")) as sidecar:
        command = ["mariadb", "--no-defaults", "--protocol=tcp", "--host=localhost", f"--port={sidecar.port()}"]
        command += ["--user=app", "--password=secret", "--execute=select sleep(120)", *with_certificate]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            asleep = "select count(*) from information_schema.processlist where info = 'select sleep(120)'"
            eventually(lambda: client(server.port, asleep).stdout == "1\n", 30)
            process.send_signal(2)
            said, _ = process.communicate(timeout=30)
        assert "Ctrl-C -- query killed" in said
        eventually(lambda: client(server.port, asleep).stdout == "0\n", 30)


def test_a_service_that_is_not_there_is_said(tmp_path: Path, pki: Pki) -> None:
    with_certificate = shows(pki.issue("client", "app.test"), pki.trust)
    with running(tmp_path / "sidecar", terminating(pki, "127.0.0.1:1")) as sidecar:
        done = client(sidecar.port(), "select 1", *with_certificate)
        assert "1105 - tlsidecar: the upstream refused the connection" in done.stderr
        sidecar.failure(reason="upstream_refused")


def test_a_local_client_to_a_server_that_wants_certificates(tmp_path: Path, server: Server) -> None:
    config = configs.identity(server.pki.issue("us", "app.test"), server.pki.trust)
    config += configs.originate(f"localhost:{server.port}", starttls="mysql")
    with running(tmp_path / "sidecar", config) as sidecar:
        for user in ("certain", "switched"):
            done = client(sidecar.port(), "show session status like 'Ssl_cipher'", "--skip-ssl", user=user)
            assert done.stderr == ""
            assert len(done.stdout.split()) == 2
        assert len(client(sidecar.port(), "select repeat('x', 3000000)", "--skip-ssl").stdout) == 3_000_001


def test_a_remote_that_is_not_trusted_gets_no_password(tmp_path: Path, pki: Pki, server: Server) -> None:
    config = configs.identity(pki.issue("us", "app.test"), pki.trust)
    config += configs.originate(f"localhost:{server.port}", starttls="mysql")
    with running(tmp_path / "sidecar", config) as sidecar:
        done = client(sidecar.port(), "select 1", "--skip-ssl")
        assert done.returncode == 1
        assert "unknown_ca" in sidecar.refusal(reason="unknown_ca")["reason"]


def test_two_of_us_in_a_row_and_checked(tmp_path: Path, pki: Pki, server: Server) -> None:
    checked = '[listener.health_check]\ninterval = "1s"\n'
    far = terminating(pki, f"127.0.0.1:{server.port}") + checked
    near = configs.identity(pki.issue("near", "app.test"), pki.trust)
    with running(tmp_path / "far", far) as behind:
        near += configs.originate(f"localhost:{behind.port()}", starttls="mysql") + checked
        with running(tmp_path / "near", near) as sidecar:
            for each in (behind, sidecar):
                eventually(lambda each=each: each.listener()["upstreams"][0]["healthy"])  # type: ignore[misc]
            assert client(sidecar.port(), "select 1", "--skip-ssl").stdout == "1\n"
            assert sidecar.failures() == behind.failures() == behind.refusals() == []
