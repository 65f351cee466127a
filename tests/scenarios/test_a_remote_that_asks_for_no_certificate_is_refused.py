"""Originate: a remote that does not ask who we are would not be mutual TLS. Nothing is sent, unless that is wanted."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import configs
from support.mtls import server_context
from support.pki import Pki
from support.remotes import remote, talk
from support.sidecar import running


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("engine", ["fast", "portable"])
def test_tcp(version: str, engine: str, pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pki.issue("ours", "app.internal"), pki.issue("theirs", "localhost")
    wanted = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}[version]

    def of_one_version(*arguments: object, **more: object) -> SSL.Context:
        context = server_context(*arguments, **more)  # type: ignore[arg-type]
        context.set_max_proto_version(wanted)
        return context

    monkeypatch.setattr("support.remotes.server_context", of_one_version)
    with remote(pki.trust, theirs, asks=False) as silent, remote(pki.trust, theirs) as asking:
        config = configs.identity(ours, pki.trust)
        config += configs.originate(f"localhost:{silent.port}", name="silent")
        config += configs.originate(f"localhost:{asking.port}", name="asking")
        config += configs.originate(
            f"localhost:{silent.port}", name="lenient", require_client_certificate_request=False
        )
        with running(tmp_path / "sidecar", config, env={"TLSIDECAR_ENGINE": engine}) as sidecar:
            assert talk(sidecar.port("asking"), b"hello") == b"hello"
            with pytest.raises(ConnectionResetError):
                talk(sidecar.port("silent"), b"a secret")
            refusal = sidecar.refusal(reason="no_certificate_request")
            assert (refusal["listener"], refusal["side"], refusal["stage"]) == ("silent", "local", "verify")
            assert refusal["identity"] == "localhost"
            assert talk(sidecar.port("lenient"), b"hello") == b"hello"


def test_http(pki: Pki, tmp_path: Path) -> None:
    ours, theirs = pki.issue("ours", "app.internal"), pki.issue("theirs", "localhost")
    with remote(pki.trust, theirs, asks=False) as silent:
        config = configs.identity(ours, pki.trust)
        config += configs.originate(f"localhost:{silent.port}", protocol="http")
        with running(tmp_path / "sidecar", config) as sidecar:
            command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"http://localhost:{sidecar.port()}/"]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "502"
            assert sidecar.refusal(reason="no_certificate_request")["status"] == 502
