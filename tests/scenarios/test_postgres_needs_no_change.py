"""``starttls = "postgres"``: psql and PostgreSQL as they are, on either side of us."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import configs
from support.pki import Pair, Pki
from support.postgres import USER, database, programs
from support.sidecar import running
from support.waiting import eventually

pytestmark = [
    pytest.mark.xdist_group("postgres"),  # one server for all
    pytest.mark.needs("psql"),
    pytest.mark.skipif(programs() is None, reason="needs the package postgresql, which is not on this machine"),
]


@pytest.fixture(scope="module")
def plain_port() -> Iterator[int]:
    with database() as port:
        yield port


def psql(port: int, sql: str, **options: str) -> subprocess.CompletedProcess[str]:
    words = {
        "host": "127.0.0.1",
        "port": str(port),
        "user": USER,
        "dbname": "postgres",
        "connect_timeout": "15",
    } | options
    conninfo = " ".join(f"{key}={value}" for key, value in words.items())
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return subprocess.run(
        ["psql", "-X", "-At", "-c", sql, conninfo],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )


def shows(pair: Pair, trust: Path) -> dict[str, str]:
    return {"sslmode": "verify-full", "host": "localhost", "hostaddr": "127.0.0.1", "sslcert": str(pair.cert),
            "sslkey": str(pair.key), "sslrootcert": str(trust)}  # fmt: skip


def test_psql_to_a_server_in_the_clear(tmp_path: Path, pki: Pki, plain_port: int) -> None:
    config = configs.identity(pki.issue("server", "localhost"), pki.trust)
    config += configs.terminate(f"127.0.0.1:{plain_port}", starttls="postgres")
    client = pki.issue("client", "app.test")
    with running(tmp_path / "sidecar", config) as sidecar:
        done = psql(sidecar.port(), "select 6 * 7", **shows(client, pki.trust))
        assert (done.stdout, done.stderr) == ("42\n", "")
        wide = psql(sidecar.port(), "select repeat('x', 3000000)", **shows(client, pki.trust))
        assert len(wide.stdout) == 3_000_001

        refused = psql(sidecar.port(), "select 1", sslmode="disable")
        assert refused.returncode == 2
        assert "mutual TLS is required here: use sslmode=require" in refused.stderr
        sidecar.refusal(reason="starttls_refused", stage="handshake")
        without = psql(sidecar.port(), "select 1", sslmode="require")
        assert without.returncode == 2
        sidecar.refusal(reason="no_certificate")


def test_a_query_is_cancelled(tmp_path: Path, pki: Pki, plain_port: int) -> None:
    config = configs.identity(pki.issue("server", "localhost"), pki.trust)
    config += configs.terminate(f"127.0.0.1:{plain_port}", starttls="postgres")
    client = pki.issue("client", "app.test")
    with running(tmp_path / "sidecar", config) as sidecar:
        words = {"user": USER, "dbname": "postgres", "port": str(sidecar.port()), **shows(client, pki.trust)}
        conninfo = " ".join(f"{key}={value}" for key, value in words.items())
        process = subprocess.Popen(
            ["psql", "-X", "-At", "-c", "select pg_sleep(120)", conninfo], stderr=subprocess.PIPE, text=True
        )
        sleeping = (
            "select count(*) from pg_stat_activity where query like '%pg_sleep(120)%' and pid <> pg_backend_pid()"
        )
        eventually(lambda: psql(plain_port, sleeping).stdout == "1\n", 30)
        process.send_signal(2)
        _, said = process.communicate(timeout=30)
        assert "canceling statement due to user request" in said
        assert (
            eventually(lambda: sidecar.metric("tlsidecar_connections_total", listener="in", outcome="cancel_request"))
            == 1
        )


@pytest.mark.parametrize("sslmode", ["disable", "prefer"])
def test_a_local_psql_to_a_server_that_wants_certificates(tmp_path: Path, pki: Pki, sslmode: str) -> None:
    server = pki.issue("server", "localhost", "127.0.0.1")
    files = {"us.crt": server.cert.read_bytes(), "us.key": server.key.read_bytes(), "ca.crt": pki.trust.read_bytes()}
    settings = ("ssl = on", "ssl_cert_file = 'us.crt'", "ssl_key_file = 'us.key'", "ssl_ca_file = 'ca.crt'")
    with database(*settings, files=files) as port:
        config = configs.identity(pki.issue("us", "app.test"), pki.trust)
        config += configs.originate(f"localhost:{port}", starttls="postgres")
        with running(tmp_path / "sidecar", config) as sidecar:
            sql = "select ssl, client_dn is not null from pg_stat_ssl where pid = pg_backend_pid()"
            done = psql(sidecar.port(), sql, sslmode=sslmode)
            assert (done.stdout, done.stderr) == ("t|t\n", "")


def test_a_server_without_tls_is_said(tmp_path: Path, pki: Pki, plain_port: int) -> None:
    config = configs.identity(pki.issue("us", "app.test"), pki.trust)
    config += configs.originate(f"localhost:{plain_port}", starttls="postgres")
    with running(tmp_path / "sidecar", config) as sidecar:
        done = psql(sidecar.port(), "select 1", sslmode="disable")
        assert done.returncode == 2
        failure = sidecar.failure(reason="upstream_tls")
        assert "it answered N" in failure["detail"]


def test_two_of_us_in_a_row(tmp_path: Path, pki: Pki, plain_port: int) -> None:
    near = configs.identity(pki.issue("near", "app.test"), pki.trust)
    far = configs.identity(pki.issue("far", "localhost"), pki.trust)
    far += configs.terminate(f"127.0.0.1:{plain_port}", starttls="postgres")
    with running(tmp_path / "far", far) as server:
        near += configs.originate(f"localhost:{server.port()}", starttls="postgres")
        with running(tmp_path / "near", near) as sidecar:
            results: list[str] = []
            ask = lambda: results.append(psql(sidecar.port(), "select 1", sslmode="prefer").stdout)  # noqa: E731
            threads = [threading.Thread(target=ask) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert results == ["1\n"] * 5
