"""X25519MLKEM768, X25519, P-256 and P-384, unless the configuration asks for others; no certificates are asked for
whose keys we would not take."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from support import configs, odd
from support.mtls import connected
from support.pki import Pair, Pki, replace
from support.services import echo, serving
from support.sidecar import running

GUIDES = {"X25519", "P-256", "P-384"}
OTHERS = {"P-521", "X448", "ffdhe2048"}
# RFC 8446 section 4.2.3, as s_client names them: what ecdsa, eddsa and RSA from SHA-256 on come to.
TAKEN = re.compile(r"(ECDSA|RSA-PSS|rsa_pss_pss_sha|RSA)\+?(SHA)?(256|384|512)|Ed25519|Ed448|ed25519|ed448")

pytestmark = pytest.mark.needs("openssl")


def rsa_pair(pki: Pki, name: str) -> Pair:
    """In TLS 1.2 the groups are also the curves of certificates (RFC 8422 section 5.1.1): these have none."""
    issued = pki.authority.issue_cert(name, key_type=trustme.KeyType.RSA)
    pair = Pair(pki.directory / f"{name}.crt", pki.directory / f"{name}.key")
    replace(pair.cert, b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    replace(pair.key, issued.private_key_pem.bytes(), mode=0o600)
    return pair


def hello(port: int, pair: Pair, version: str, group: str) -> str:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-groups", group]
    command += ["-cert", str(pair.cert), "-key", str(pair.key), "-servername", "localhost"]
    return subprocess.run(command, input=b"", capture_output=True, timeout=20).stdout.decode()


def agreed(output: str) -> bool:
    return "Cipher is (NONE)" not in output and "Cipher is" in output


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_default_and_a_wider_one(version: str, pki: Pki, tmp_path: Path) -> None:
    server, client = rsa_pair(pki, "localhost"), rsa_pair(pki, "client.test")
    for number, (extra, taken) in enumerate(
        (("", GUIDES), ('[tls]\ngroups = ["P-384", "P-521", "X448"]\n', {"P-384", "P-521", "X448"}))
    ):
        with serving(echo) as service:
            config = configs.identity(server, pki.trust) + configs.terminate(service.address) + extra
            with running(tmp_path / f"sidecar{number}", config) as sidecar:
                for group in GUIDES | OTHERS:
                    if version == "-tls1_2" and group.startswith("ffdhe"):
                        continue  # s_client would not offer DHE with these groups
                    output = hello(sidecar.port(), client, version, group)
                    assert agreed(output) == (group in taken), (group, output)


def test_a_client_of_today_agrees_on_the_hybrid_one(pki: Pki, tmp_path: Path) -> None:
    server, client = pki.issue("server", "localhost"), pki.issue("client", "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with (
            running(tmp_path / "sidecar", config) as sidecar,
            connected(sidecar.port(), pki.trust, client) as peer,
        ):
            peer.send(b"!")
            assert peer.recv_exactly(1) == b"!"
            (row,) = sidecar.json("/v1/connections")["connections"]
            assert row["group"] == "X25519MLKEM768"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_only_certificates_that_are_taken_are_asked_for(version: str, pki: Pki, tmp_path: Path) -> None:
    server, client = rsa_pair(pki, "localhost"), rsa_pair(pki, "client.test")
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            output = hello(sidecar.port(), client, version, "X25519")
            (line,) = re.findall(r"^Requested Signature Algorithms: (.*)$", output, re.MULTILINE)
            assert all(TAKEN.fullmatch(each) for each in line.split(":")), line


def test_our_own_certificate_s_curve_is_taken_with_it(pki: Pki, tmp_path: Path) -> None:
    """Or TLS 1.2 would have no use for it."""
    authority, key = odd.authority(), ec.generate_private_key(ec.SECP521R1())
    made = odd.leaf(authority, names=(x509.DNSName("localhost"),), key=key)
    server, client = Pair(tmp_path / "server.crt", tmp_path / "server.key"), pki.issue("client", "client.test")
    replace(server.cert, made.pem)
    replace(server.key, made.key_pem, mode=0o600)
    trust = tmp_path / "bundle.crt"
    replace(trust, pki.trust.read_bytes() + authority.pem)
    with serving(echo) as service:
        config = configs.identity(server, trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            for version in ("-tls1_2", "-tls1_3"):
                assert agreed(hello(sidecar.port(), client, version, "P-256:P-521"))
