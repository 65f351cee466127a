"""New files are put to use by a signal, by an admin call and by themselves; bad ones change only what is shown."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from support import configs
from support.mtls import connect, connected
from support.pki import Pair, Pki, replace
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

# Files are looked at every second; a busy machine may be late.
WITHIN_S = 10.0


def generation(sidecar: Sidecar) -> int:
    number: int = sidecar.status()["generation"]
    return number


def test_by_itself_soon(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar, connected(sidecar.port(), pki.trust, client) as old:
            pki.issue("server", "localhost")
            eventually(lambda: generation(sidecar) == 2, within_s=WITHIN_S)
            old.send(b"the old connection goes on")
            assert old.recv_exactly(26) == b"the old connection goes on"
            rows = sidecar.json("/v1/connections")["connections"]
            assert [row["generation"] for row in rows] == [1]
            with connected(sidecar.port(), pki.trust, client) as new:
                new.send(b"!")
                assert new.recv_exactly(1) == b"!"
                assert sidecar.json("/v1/certificates")["connections_by_generation"] == {"1": 1, "2": 1}


def test_by_a_swap_of_a_kubernetes_volume(pki: Pki, tmp_path: Path) -> None:
    """The leaf links never change: ``..data`` is renamed."""
    volume = tmp_path / "volume"
    volume.mkdir()
    _publish(volume, pki, "first")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (volume / name).symlink_to(f"..data/{name}")
    pair = Pair(volume / "tls.crt", volume / "tls.key")
    with serving(echo) as service:
        config = configs.identity(pair, volume / "ca.crt") + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            before = sidecar.json("/v1/certificates")["leaf"]["serial"]
            _publish(volume, pki, "second")
            eventually(lambda: generation(sidecar) == 2, within_s=WITHIN_S)
            assert sidecar.json("/v1/certificates")["leaf"]["serial"] != before


def _publish(volume: Path, pki: Pki, name: str) -> None:
    fresh = volume / f"..{name}"
    issued = pki.issue(name, "localhost")
    fresh.mkdir()
    (fresh / "tls.crt").write_bytes(issued.cert.read_bytes())
    (fresh / "tls.key").write_bytes(issued.key.read_bytes())
    (fresh / "tls.key").chmod(0o600)
    (fresh / "ca.crt").write_bytes(pki.trust.read_bytes())
    link = volume / "..data_tmp"
    link.symlink_to(f"..{name}")
    link.rename(volume / "..data")


def test_a_storm_of_signals_is_two_reloads(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust, poll_interval="1h") + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            pki.issue("server", "localhost")
            began = time.monotonic()
            for _ in range(1000):
                sidecar.signal(signal.SIGHUP)
            eventually(lambda: generation(sidecar) == 2)
            reloads = sidecar.metric("tlsidecar_reloads_total") - 1  # the start is one, too
            assert reloads <= 2 + (time.monotonic() - began)
            assert sidecar.refusals() == []


BAD = {
    "key_mismatch": lambda pki, pair: replace(
        pair.key, Pki(pki.directory / "x").issue("x", "x").key.read_bytes(), mode=0o600
    ),
    "pem_incomplete": lambda pki, pair: replace(pair.cert, pair.cert.read_bytes()[:-40]),
    "pem_invalid": lambda pki, pair: replace(pki.trust, b"# no CA yet\n"),
    "chain_incomplete": lambda pki, pair: replace(pki.trust, Pki(pki.directory / "y").trust.read_bytes()),
    "key_permissions": lambda pki, pair: pair.key.chmod(0o644),
    "missing_file": lambda pki, pair: pair.key.unlink(),
    "key_not_regular": lambda pki, pair: (pair.key.unlink(), os.mkfifo(pair.key, 0o600)),
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_material_changes_only_what_is_shown(reason: str, pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    good_trust = pki.trust.read_bytes()
    trust_copy = tmp_path / "trust-of-the-client.crt"
    trust_copy.write_bytes(good_trust)
    with serving(echo) as service:
        config = configs.identity(server, pki.trust, poll_interval="1h") + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            BAD[reason](pki, server)
            status, answer = sidecar.call("POST", "/v1/reload")
            assert (status, answer["attempt"]["reason"]) == (409, reason), answer
            shown = sidecar.status()
            assert (shown["state"], shown["generation"], shown["ready"]) == ("degraded", 1, True)
            assert shown["problems"][0]["code"] == "reload_refused"
            sidecar.counts(1, "tlsidecar_reloads_total", outcome="refused", reason=reason)
            peer = connect(sidecar.port(), trust_copy, client)
            peer.send(b"still served")
            assert peer.recv_exactly(12) == b"still served"
            peer.close()

            server.key.unlink(missing_ok=True)
            replace(pki.trust, good_trust)
            pki.issue("server", "localhost")
            status, answer = sidecar.call("POST", "/v1/reload")
            assert (status, answer["outcome"]) == (200, "applied")
            shown = sidecar.status()
            assert (shown["state"], shown["generation"], sidecar.problems()) == ("ready", 2, [])


@pytest.mark.parametrize("reason", BAD)
def test_bad_material_at_the_start_is_exit_code_2(reason: str, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    BAD[reason](pki, server)
    config = configs.identity(server, pki.trust) + configs.terminate("127.0.0.1:9")
    sidecar = Sidecar(tmp_path / "sidecar", config).start(wait=False)
    try:
        assert sidecar.wait() == 2
        assert f"({reason})" in sidecar.log_text
        assert "Traceback" not in sidecar.log_text
        assert not sidecar.socket_path.exists()
    finally:
        sidecar.kill()
