"""Who shows somebody's certificate without its key is refused as that, and it is said that nobody was taken over."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from support import configs, odd
from support.pki import Pair, Pki, replace
from support.services import echo, serving
from support.sidecar import running

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def talk(port: int, context: ssl.SSLContext) -> None:
    raw = socket.create_connection(("127.0.0.1", port), 10)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
        tls.sendall(b"hello")
        tls.recv(10)


@pytest.mark.parametrize("kind", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
def test_in_each_version(kind: trustme.KeyType, pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    victim = pki.authority.issue_cert("victim.example", key_type=kind)
    chain = b"".join(blob.bytes() for blob in victim.cert_chain_pems)
    impostor = Pair(tmp_path / "impostor.crt", tmp_path / "impostor.key")
    replace(impostor.cert, chain)
    replace(impostor.key, odd.impostor_key(x509.load_pem_x509_certificate(chain)))
    with serving(echo) as service:
        config = configs.identity(server, pki.trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            for number, version in enumerate(VERSIONS, 1):
                context = pki.client_context(impostor, max_version=version)
                with pytest.raises(ssl.SSLError, match=r"(?i)decrypt.error"):
                    talk(sidecar.port(), context)
                refusal = sidecar.refusal(reason="bad_signature")
                assert refusal["stage"] == "verify"
                assert refusal["identity"] == "victim.example"  # as claimed, and the detail says so
                assert "nobody has taken over" in refusal["detail"]
                sidecar.counts(number, "tlsidecar_refusals_total", stage="verify", reason="bad_signature")
            assert service.connections == 0
