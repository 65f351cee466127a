"""A CA in the trust bundle whose name or dates nobody should have written: it is served on, shown, and its clients are
let in; 1,000 CAs are as good as one."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from support import configs, odd
from support.pki import Pair, Pki, replace
from support.services import echo, serving
from support.sidecar import Sidecar, running
from support.waiting import eventually

ODD_NAMES = {
    "T61String": odd.name((odd.T61, b"M\xfcller Root CA")),
    "BIT STRING": odd.name((odd.BIT_STRING, b"\0abc")),
    "ampersand": odd.name((odd.PRINTABLE, b"AT&T Root")),
    "star": odd.name((odd.PRINTABLE, b"*.apps.example")),
    "NUL and escape": odd.name((odd.UTF8, b"a\0\x1b[31m[/red]")),
    "nothing": odd.name((odd.UTF8, b"")),
}
# Valid since and until, in forms that overflow a clock here and there: none of these vouches for anybody.
ODD_DATES = (
    odd.times((0x17, b"260101000000Z"), (0x17, b"260101000000Z")),
    odd.times((0x18, b"00000101000000Z"), (0x18, b"00010101000000Z")),
    odd.times((0x17, b"260101000000Z"), (0x18, b"99991231235959Z")),
)


def pair_of(made: odd.Odd, directory: Path, name: str) -> Pair:
    pair = Pair(directory / f"{name}.crt", directory / f"{name}.key")
    replace(pair.cert, made.pem)
    replace(pair.key, made.key_pem, mode=0o600)
    return pair


def talk(port: int, pki: Pki, pair: Pair, version: ssl.TLSVersion) -> bytes:
    context = pki.client_context(pair, max_version=version)
    raw = socket.create_connection(("127.0.0.1", port), 10)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        tls.sendall(b"hello")
        return tls.recv(10)


def everybody_can_look(sidecar: Sidecar) -> list[str]:
    assert sidecar.status()["pid"]
    for command in (["status"], ["certificates"], ["ui", "--once"]):
        command = [sys.executable, "-m", "tlsidecar", *command, "--socket", str(sidecar.socket_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
        assert done.returncode in (0, 2), done  # `ui --once` says by 2 that something is critical: a CA has expired
        assert done.stderr == ""
        assert "\x1b[31m" not in done.stdout
    sidecar.counts(sidecar.status()["generation"], "tlsidecar_certificate_generation")
    return [each["subject"] for each in sidecar.json("/v1/certificates")["trust"]]


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_taken_up_shown_and_serves_its_clients(workers: int, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    authorities = {what: odd.authority(subject) for what, subject in ODD_NAMES.items()}
    dated = [odd.authority(odd.name((odd.UTF8, b"dated")), validity=validity) for validity in ODD_DATES]
    bundle = pki.trust.read_bytes() + b"".join(each.pem for each in (*authorities.values(), *dated))
    trust = tmp_path / "bundle.crt"
    replace(trust, pki.trust.read_bytes())
    with serving(echo) as service:
        config = configs.identity(server, trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config, env={"TLSIDECAR_WORKERS": str(workers)}) as sidecar:
            replace(trust, bundle)
            eventually(lambda: sidecar.status()["generation"] == 2)
            assert "CN=M\\FCller Root CA" in everybody_can_look(sidecar)
            for what, authority in authorities.items():
                subject = odd.name((odd.PRINTABLE, b"R&D *"))
                client = pair_of(odd.leaf(authority, subject), tmp_path, "client")
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    assert talk(sidecar.port(), pki, client, version) == b"hello", what
            assert sidecar.call("POST", "/v1/reload")[1]["outcome"] == "unchanged"
            sidecar.signal(signal.SIGHUP)
            replace(trust, pki.trust.read_bytes())
            eventually(lambda: sidecar.status()["generation"] == 3)
            assert len(everybody_can_look(sidecar)) == 1


def test_check_says_whether_its_clients_are_let_in(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    trust = tmp_path / "bundle.crt"
    replace(trust, pki.trust.read_bytes() + odd.authority(ODD_NAMES["T61String"]).pem)
    config = tmp_path / "tlsidecar.toml"
    config.write_text(configs.identity(server, trust) + configs.terminate("127.0.0.1:9"))
    command = [sys.executable, "-m", "tlsidecar", "check", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "CN=M\\FCller Root CA" in done.stdout + done.stderr
    assert "its clients are let in" in done.stdout + done.stderr
    line = trust.read_text().splitlines().index("-----END CERTIFICATE-----") + 2
    assert f"({trust}, certificate 2, line {line})" in done.stdout + done.stderr
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=90)
    until = json.loads(done.stdout)["material"]["not_after"]
    assert until.endswith("Z")
    assert datetime.fromisoformat(until) > datetime.now(UTC)
    shown = subprocess.run(
        [sys.executable, "-m", "tlsidecar", "certs", "show", str(trust)], capture_output=True, text=True, timeout=90
    )
    assert "CA certificate CN=M\\FCller Root CA" in shown.stdout


def test_a_leaf_of_ours_so_named_is_served(pki: Pki, tmp_path: Path) -> None:
    authority = odd.authority(odd.name((odd.PRINTABLE, b"AT&T Root")))
    made = odd.leaf(authority, odd.name((odd.PRINTABLE, b"*.apps & more")), names=(x509.DNSName("localhost"),))
    server, client = pair_of(made, tmp_path, "server"), pki.issue("client", "client.test")
    trust = tmp_path / "bundle.crt"
    replace(trust, pki.trust.read_bytes() + authority.pem)
    with serving(echo) as service:
        config = configs.identity(server, trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            assert sidecar.json("/v1/certificates")["leaf"]["subject"] == "CN=*.apps & more"
            context = ssl.create_default_context(cafile=trust)
            context.load_cert_chain(client.cert, client.key)
            raw = socket.create_connection(("127.0.0.1", sidecar.port()), 10)
            with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
                tls.sendall(b"hello")
                assert tls.recv(10) == b"hello"


def test_a_thousand_are_served_in_both_versions(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    trust = tmp_path / "bundle.crt"
    many = [odd.authority(odd.name((odd.UTF8, f"Certification Authority {n} ".encode() * 3))) for n in range(1000)]
    replace(trust, pki.trust.read_bytes() + b"".join(each.pem for each in many))
    last = pair_of(odd.leaf(many[-1]), tmp_path, "last")
    with serving(echo) as service:
        config = configs.identity(server, trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            for pair in (client, last):
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    assert talk(sidecar.port(), pki, pair, version) == b"hello"
            assert len(sidecar.json("/v1/certificates")["trust"]) == 1001
