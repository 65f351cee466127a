"""A server certificate of one CA, clients of others: trust is several files and directories, and changes live."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from OpenSSL import SSL
from support import configs
from support.certs_cli import certs, issued
from support.mtls import Alerted, connected
from support.pki import Pair, Pki
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually


def answers(sidecar: Sidecar, trust: Path, pair: Pair) -> bool:
    try:
        with connected(sidecar.port(), trust, pair) as peer:
            peer.send(b"!")
            return peer.recv_exactly(1) == b"!"
    except (Alerted, SSL.Error, ConnectionError, EOFError):
        return False


def test_files_and_a_directory(tmp_path: Path) -> None:
    public = tmp_path / "public-ca"
    certs("init", public, "--name", "Public CA")
    server = issued(public, tmp_path / "server", "--dns", "localhost")
    ours = tmp_path / "server" / "ca.crt"
    one, two = Pki(tmp_path / "one"), Pki(tmp_path / "two")
    clients = [pki.issue("client", "client.test") for pki in (one, two)]
    (tmp_path / "partners").mkdir()
    shutil.copy(one.trust, tmp_path / "one.crt")
    trust = [str(tmp_path / "one.crt"), str(tmp_path / "partners")]
    shutil.copy(Pki(tmp_path / "three").trust, tmp_path / "partners" / "three.pem")
    with serving(echo) as service:
        config = configs.identity(server, tmp_path, poll_interval="100ms").replace(
            f'trust = "{tmp_path}"', f"trust = {trust}".replace("'", '"')
        )
        with running(tmp_path / "sidecar", config + configs.terminate(service.address)) as sidecar:
            assert [answers(sidecar, ours, client) for client in clients] == [True, False]
            (problem,) = sidecar.problems()
            assert (problem["severity"], problem["code"]) == ("notice", "trust_mismatch")
            shutil.copy(two.trust, tmp_path / "partners" / "two.pem")
            eventually(lambda: sidecar.status()["generation"] == 2)
            assert [answers(sidecar, ours, client) for client in clients] == [True, True]
            (tmp_path / "partners" / "two.pem").unlink()
            eventually(lambda: sidecar.status()["generation"] == 3)
            assert [answers(sidecar, ours, client) for client in clients] == [True, False]


def test_a_chain_that_only_the_trust_bundle_has(tmp_path: Path) -> None:
    """Peers that know the root alone are shown the intermediate all the same."""
    ca = tmp_path / "ca"
    certs("init", ca, "--name", "Issuer")
    server, client = (issued(ca, tmp_path / name, "--dns", "localhost") for name in ("server", "client"))
    root = tmp_path / "client" / "ca.crt"
    leaf, end, intermediate = server.cert.read_bytes().partition(b"-----END CERTIFICATE-----\n")
    (tmp_path / "leaf.crt").write_bytes(leaf + end)
    (tmp_path / "bundle.crt").write_bytes(root.read_bytes() + intermediate)
    identity = f'cert = "{tmp_path}/leaf.crt"\nkey = "{server.key}"\ntrust = "{tmp_path}/bundle.crt"\n'
    with serving(echo) as service:
        config = f"[identity]\n{identity}" + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            assert answers(sidecar, root, client)


def test_a_command_that_renews(tmp_path: Path) -> None:
    """The whole of docs/certificates.md for a program: it issues, the sidecar asks again, failures are said."""
    ca = tmp_path / "ca"
    certs("init", ca, "--name", "Issuer")
    client = issued(ca, tmp_path / "client", "--dns", "client.test")
    python = Path(pytest.__file__).parents[4] / "bin" / "python"
    program = tmp_path / "issue"
    program.write_text(
        "#!/bin/sh\nset -e\ndir=$(mktemp -d)\ntrap 'rm -rf $dir' EXIT\n"
        f"[ ! -e {tmp_path}/broken ] || {{ echo 'the vault is sealed' >&2; exit 2; }}\n"
        f"{python} -m certs issue {ca} --out $dir/out --dns localhost --ttl 1h >&2\n"
        "cat $dir/out/tls.crt $dir/out/tls.key $dir/out/ca.crt\n"
    )
    program.chmod(0o755)
    with serving(echo) as service:
        config = f'[identity]\ncommand = ["{program}"]\n' + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            trust = tmp_path / "client" / "ca.crt"
            assert answers(sidecar, trust, client)
            first = sidecar.json("/v1/certificates")
            assert first["next_renewal_at"] is not None
            answer = sidecar.call("POST", "/v1/rotate")[1]
            assert (answer["outcome"], answer["attempt"]["previous_serial"]) == ("applied", first["leaf"]["serial"])
            (tmp_path / "broken").touch()
            status, answer = sidecar.call("POST", "/v1/rotate")
            assert (status, answer["attempt"]["reason"]) == (409, "command_failed")
            eventually(lambda: "the vault is sealed" in sidecar.log_text)
            assert answers(sidecar, trust, client)
            (tmp_path / "broken").unlink()
            assert sidecar.call("POST", "/v1/rotate")[1]["outcome"] == "applied"
            assert "PRIVATE KEY" not in sidecar.log_text
            assert sidecar.call("POST", "/v1/reload")[1]["outcome"] == "unchanged"
