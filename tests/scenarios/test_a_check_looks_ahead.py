"""``check`` says what is no error and surely not meant: what would keep a renewal from being seen, with what the kernel
really has (a file mounted by itself, one that is immutable); rules that can never decide. What every handshake would
fail of is an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import configs
from support.mtls import connected
from support.pki import Pair, Pki
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

TLSIDECAR = (sys.executable, "-m", "tlsidecar")


def checked(config: Path, under: Sequence[str] = ()) -> Any:
    command = [*under, *TLSIDECAR, "check", "--config", str(config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def written(directory: Path, pair: Pair, trust: Path) -> Path:
    config = directory / "tlsidecar.toml"
    config.write_text(configs.identity(pair, trust) + configs.terminate("127.0.0.1:9"))
    return config


def test_a_file_that_is_mounted_by_itself(pki: Pki, tmp_path: Path) -> None:
    pair = pki.issue("server", "localhost")
    config = written(tmp_path, pair, pki.trust)
    assert not [each for each in checked(config)["material"]["warnings"] if "mounted" in each]
    target = tmp_path / "mounted.crt"
    target.write_bytes(b"")
    bind = f'mount --bind "{pair.cert}" "{target}" && exec "$@"'
    under = ["unshare", "--mount", "sh", "-c", bind, "sh"]
    if subprocess.run([*under, "true"], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    config = written(tmp_path, Pair(target, pair.key), pki.trust)
    (said,) = [each for each in checked(config, under)["material"]["warnings"] if "mounted" in each]
    assert said.startswith(f"{target} is mounted by itself")


def test_a_file_that_is_immutable(pki: Pki, tmp_path: Path) -> None:
    pair = pki.issue("server", "localhost")
    if subprocess.run(["chattr", "+i", str(pair.key)], capture_output=True).returncode:
        pytest.skip("this file system has no immutable files")
    try:
        warnings = checked(written(tmp_path, pair, pki.trust))["material"]["warnings"]
    finally:
        subprocess.run(["chattr", "-i", str(pair.key)], check=True)
    assert [each for each in warnings if each.startswith(f"{pair.key} is immutable")]


def test_rules_that_can_never_decide(pki: Pki, tmp_path: Path) -> None:
    config = configs.identity(pki.issue("server", "localhost"), pki.trust)
    config += configs.terminate("127.0.0.1:9", protocol="http", allow=("dns:*.ops.internal", "dns:a.ops.internal"))
    for path, methods, allow in (
        ("/admin/**", [], ["ou:sre"]),
        ("/admin/keys", ["GET"], ["any"]),
        ("/other", [], ["ou:sre"]),
    ):
        config += f"[[listener.route]]\npath = {json.dumps(path)}\nallow = {json.dumps(allow)}\n"
        config += f"methods = {json.dumps(methods)}\n" if methods else ""
    wanted = [
        'listener[in].allow: "dns:a.ops.internal" never decides: "dns:*.ops.internal" before it lets in all whom it '
        "would",
        "listener[in].route (GET /admin/keys) never decides: (any method /admin/**) before it matches first",
    ]
    with running(tmp_path / "sidecar", config) as sidecar:
        assert [each for each in checked(sidecar.config_path)["material"]["warnings"] if "never" in each] == wanted
        eventually(lambda: all(f"in use, but: {json.dumps(each)[1:-1]}" in sidecar.log_text for each in wanted))


def test_a_bundle_of_whom_nobody_was_issued_by(pki: Pki, tmp_path: Path) -> None:
    """People put the client's own certificate there. Every handshake would fail: as with an empty bundle, it does not
    start, and a reload keeps the old one."""
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    trust = tmp_path / "trust.crt"
    trust.write_bytes(pki.trust.read_bytes())
    with serving(echo) as service:
        config = configs.identity(server, trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            trust.write_bytes(client.cert.read_bytes())
            done = subprocess.run(
                [*TLSIDECAR, "check", "--config", str(sidecar.config_path), "--json"],
                capture_output=True,
                timeout=60,
            )
            problem = json.loads(done.stdout)["material"]["problems"][0]
            assert (done.returncode, problem["reason"]) == (2, "trust_unusable")
            assert "it does not say that it is a CA" in problem["detail"]
            eventually(lambda: sidecar.status()["state"] == "degraded")
            assert sidecar.metric("tlsidecar_reloads_total", outcome="refused", reason="trust_unusable") >= 1
            with connected(sidecar.port(), pki.trust, client) as peer:
                peer.send(b"!")
                assert peer.recv_exactly(1) == b"!"
        again = Sidecar(tmp_path / "again", config)
        again.start(wait=False)
        assert again.wait() == 2, again.log_text
        assert "no certificate in the trust bundle can vouch for anybody" in again.log_text
