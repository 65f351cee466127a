"""``[identity.acme]``: the first certificate before the port is ready, renewals while it serves, none ordered twice."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from OpenSSL import SSL
from support import configs
from support.mtls import Peer, client_context
from support.pebble import Pebble
from support.pki import Pki
from support.ports import free_ports
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

pytestmark = pytest.mark.needs("pebble", "pebble-challtestsrv")

NAME = "web.example.test"


def identity(pebble: Pebble, trust: Path, state: Path, **acme: str) -> str:
    keys = {"directory": pebble.url, "state": str(state), "server_trust": str(pebble.trust), **acme}
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    return (
        f'[identity]\ndns = ["{NAME}"]\ntrust = "{trust}"\npoll_interval = "100ms"\n'
        f'[identity.acme]\nterms_agreed = true\ncontact = ["mailto:ops@example.test"]\n{table}'
    )


def leaf_of(sidecar: Sidecar, pki: Pki) -> x509.Certificate:
    """Shown to a client whose CA is not the one that issued it."""
    context = client_context(pki.trust, pki.issue("client", "client.test"))
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    peer = Peer(context, socket.create_connection(("127.0.0.1", sidecar.port()), 10)).handshake()
    peer.send(b"ping")
    assert peer.recv_exactly(4) == b"ping"
    certificate = peer.tls.get_peer_certificate(as_cryptography=True)
    peer.close()
    assert certificate is not None
    return certificate


@contextmanager
def full_disk(sidecar: Sidecar) -> Iterator[None]:
    """The kernel lets the sidecar write no file beyond 64 bytes (its log neither)."""
    assert sidecar.process is not None
    pid, limit = sidecar.process.pid, resource.RLIMIT_FSIZE
    soft, hard = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (64, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, (soft, hard))


def names_of(certificate: x509.Certificate) -> list[str]:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    )


def test_by_handshakes_on_our_own_port(tmp_path: Path, pki: Pki) -> None:
    (port,) = free_ports(1)
    state = tmp_path / "acme"
    with Pebble(tmp_path / "pebble", tls_port=port, bad_nonces=30) as pebble, serving(echo) as service:
        config = identity(pebble, pki.trust, state)
        config += configs.terminate(service.address, listen=f"127.0.0.1:{port}")
        with running(tmp_path / "sidecar", config) as sidecar:
            first = leaf_of(sidecar, pki)
            assert names_of(first) == [NAME]
            assert sidecar.json("/v1/certificates")["source"] == f"ACME {pebble.url}, for {NAME}"
            assert sidecar.json("/v1/certificates")["next_renewal_at"]
            status, answer = sidecar.call("POST", "/v1/rotate", {})
            assert (status, answer["outcome"]) == (200, "applied")
            second = leaf_of(sidecar, pki)
            assert second.serial_number != first.serial_number
            validated = "tlsidecar_connections_total"
            assert eventually(lambda: sidecar.metric(validated, listener="in", outcome="acme_validation")) >= 1
            assert sidecar.refusals() == []
            text = sidecar.config_path.read_text()
            sidecar.config_path.write_text(text.replace(f'"{NAME}"', f'"{NAME}", "second.example.test"'))
            attempt = sidecar.call("POST", "/v1/reload")[1]["attempt"]
            assert (attempt["configuration"], attempt["configuration_changes"]) == ("applied", ["identity.dns"])
            second = leaf_of(sidecar, pki)
            assert set(names_of(second)) == {NAME, "second.example.test"}
            sidecar.settles()  # its lines are written: one more that fails would hold up what is asked of it
            with full_disk(sidecar):
                status, answer = sidecar.call("POST", "/v1/rotate", {})
                assert (status, answer["attempt"]["reason"]) == (409, "acme_failed")
                assert "what was issued cannot be kept" in answer["attempt"]["detail"]
                assert leaf_of(sidecar, pki) == second
                assert sidecar.status()["state"] == "degraded"
            pebble.stop()  # what was issued while the disk was full needs no CA
            # 503 while the audit trail, which the same limit held up, is not written yet.
            eventually(lambda: sidecar.call("POST", "/v1/rotate", {})[0] == 200)
            third = leaf_of(sidecar, pki)
            assert third != second
            eventually(lambda: sidecar.status()["state"] == "ready")
            status, answer = sidecar.call("POST", "/v1/rotate", {})
            assert status == 409
            assert leaf_of(sidecar, pki) == third
            assert sidecar.status()["state"] == "degraded"
        with running(tmp_path / "again", config) as sidecar:  # the server is gone: nothing is ordered
            assert leaf_of(sidecar, pki) == third


def test_over_http(tmp_path: Path, pki: Pki) -> None:
    (port,) = free_ports(1)
    with Pebble(tmp_path / "pebble", http_port=port) as pebble, serving(echo) as service:
        config = identity(pebble, pki.trust, tmp_path / "acme", challenge="http-01", http=f"127.0.0.1:{port}")
        config += configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            assert names_of(leaf_of(sidecar, pki)) == [NAME]
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 5)


def test_check_orders_nothing(tmp_path: Path, pki: Pki) -> None:
    (port,) = free_ports(1)
    with Pebble(tmp_path / "pebble", tls_port=port) as pebble:
        file = tmp_path / "tlsidecar.toml"
        config = identity(pebble, pki.trust, tmp_path / "acme") + configs.terminate("127.0.0.1:1")
        file.write_text(f'[admin]\nsocket = "{tmp_path}/run/admin.sock"\n{config}')
        command = [sys.executable, "-m", "tlsidecar", "check", "--config", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (tmp_path / "acme").exists()
        assert "newAccount" not in pebble.log()


def test_a_ca_that_cannot_reach_us_is_said_at_the_start(tmp_path: Path, pki: Pki) -> None:
    with Pebble(tmp_path / "pebble", tls_port=1) as pebble:
        config = identity(pebble, pki.trust, tmp_path / "acme") + configs.terminate("127.0.0.1:1")
        with pytest.raises(RuntimeError) as failure:
            Sidecar(tmp_path / "sidecar", config).start()
    assert "ended with 2" in str(failure.value)
    assert f"{NAME}: the CA says invalid" in str(failure.value)
