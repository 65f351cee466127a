"""What RFC 5280 does not let pass of a peer's chain, in a real handshake, with the section in the record."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from cryptography import x509
from support import configs, odd
from support.pki import Pair, Pki, replace
from support.services import echo, serving
from support.sidecar import running

BASIC = (x509.OID_BASIC_CONSTRAINTS,)
AUTHORITY_KEY = (x509.OID_AUTHORITY_KEY_IDENTIFIER,)


def subtree(kind: int, tag: int, base: bytes, *, critical: bool = True) -> bytes:
    content = odd.tlv(0x30, odd.tlv(kind, odd.tlv(0x30, odd.tlv(tag, base))))
    return odd.extension("2.5.29.30", content, critical=critical)


def chains(root: odd.Odd) -> dict[str, tuple[tuple[odd.Odd, ...], str]]:
    """Leaf first; and the section of RFC 5280 that it breaks."""
    middle = odd.name((odd.UTF8, b"Middle"))

    def under(**changes: object) -> tuple[odd.Odd, odd.Odd]:
        issuer = odd.authority(middle, issuer=root, **changes)  # type: ignore[arg-type]
        return odd.leaf(issuer, odd.name((odd.UTF8, b"client"))), issuer

    excluding = odd.authority(middle, issuer=root, extensions=(subtree(0xA1, 0x82, b"b.x.example"),))
    mail_only = odd.authority(middle, issuer=root, extensions=(subtree(0xA0, 0x81, b"x.example"),))
    uncritical = odd.extension("2.5.29.19", bytes.fromhex("30030101ff"))
    policies = odd.extension("2.5.29.36", bytes.fromhex("3003800100"))
    explicit = odd.extension("2.5.29.36", bytes.fromhex("3003800100"), critical=True)
    no_mailbox = x509.RFC822Name._init_without_validation("a@b@x.example")
    return {
        "good": (under(), ""),
        "basic constraints not critical": (under(without=BASIC, extensions=(uncritical,)), "4.2.1.9"),
        "policy constraints not critical": (under(extensions=(policies,)), "4.2.1.11"),
        "name constraints not critical": (
            under(extensions=(subtree(0xA1, 0x82, b"x.example", critical=False),)),
            "4.2.1.10",
        ),
        "name constraints to a wildcard": (under(extensions=(subtree(0xA1, 0x82, b"*.x.example"),)), "4.2.1.10"),
        "a wildcard that stands for an excluded name": (
            (odd.leaf(excluding, names=(x509.DNSName("*.x.example"),)), excluding),
            "4.2.1.10",
        ),
        "a wildcard beside it": ((odd.leaf(excluding, names=(x509.DNSName("*.y.example"),)), excluding), ""),
        "an e-mail address that is not permitted": (
            (odd.leaf(mail_only, names=(x509.DNSName("a.example"), x509.RFC822Name("a@y.example"))), mail_only),
            "4.2.1.10",
        ),
        "a policy that is required and not there": (under(extensions=(explicit,)), "6.1"),
        "an e-mail address that is none": ((odd.leaf(root, names=(no_mailbox,)),), "4.2.1.6"),
        "a leaf that does not say who signed it": ((odd.leaf(root, without=AUTHORITY_KEY),), "4.2.1.1"),
        "name constraints in a leaf": ((odd.leaf(root, extensions=(subtree(0xA1, 0x82, b"z"),)),), "4.2.1.10"),
        "no subject, and names that are not critical": ((odd.leaf(root, odd.name()),), "4.2.1.6"),
        "an underscore": ((odd.leaf(root, names=(x509.DNSName("a_b.example"),)),), "4.2.1.6"),
    }


def let_in(port: int, pki: Pki, pair: Pair, version: ssl.TLSVersion) -> bool:
    context = pki.client_context(pair, max_version=version)
    raw = socket.create_connection(("127.0.0.1", port), 10)
    try:
        with raw, context.wrap_socket(raw, server_hostname="localhost") as tls:
            tls.sendall(b"hello")
            return tls.recv(10) == b"hello"
    except (ssl.SSLError, ConnectionError):
        return False


def test_each_in_both_versions(pki: Pki, tmp_path: Path) -> None:
    server = pki.issue("server", "localhost")
    root = odd.authority()
    trust = tmp_path / "bundle.crt"
    replace(trust, pki.trust.read_bytes() + root.pem)
    with serving(echo) as service:
        config = configs.identity(server, trust) + configs.terminate(service.address)
        with running(tmp_path / "sidecar", config) as sidecar:
            refused = 0
            for what, (chain, section) in chains(root).items():
                pair = Pair(tmp_path / "client.crt", tmp_path / "client.key")
                replace(pair.cert, b"".join(each.pem for each in chain))
                replace(pair.key, chain[0].key_pem, mode=0o600)
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    assert let_in(sidecar.port(), pki, pair, version) == (not section), what
                    refused += bool(section)
                    if section:
                        newest = sidecar.newest_refusal(refused)
                        assert f"(RFC 5280 section {section})" in newest["detail"], what
                        assert newest["stage"] == "verify"
            sidecar.counts(refused, "tlsidecar_handshakes_total", outcome="failed")
