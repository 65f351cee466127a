"""Certificates as others make them: by a root that issues the leaves itself, and with other keys than P-256."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
LIFETIME = timedelta(days=2)


def p256() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def p384() -> Key:
    return ec.generate_private_key(ec.SECP384R1())


def rsa_2048() -> Key:
    return rsa.generate_private_key(65537, 2048)


class Authority:
    """A root with a key on P-256, and perhaps an intermediate under it that issues."""

    def __init__(self, *, has_intermediate: bool) -> None:
        self._key = p256()
        self.root = _signed("Foreign root", self._key, None, self._key, _of_a_ca(1 if has_intermediate else 0))
        self._issuer, self._chain = self.root, b""
        if has_intermediate:
            key = p256()
            self._issuer = _signed("Foreign intermediate", key, self.root, self._key, _of_a_ca(0))
            self._key, self._chain = key, self._issuer.public_bytes(Encoding.PEM)

    def publish(self, directory: Path, key: Key, *, spiffe_id: str, name: str) -> None:
        """A leaf for both sides, with its chain and key, in the layout of ``tlsidecar certs``."""
        names = [
            x509.DNSName(name),
            x509.IPAddress(IPv4Address("127.0.0.1")),
            x509.UniformResourceIdentifier(spiffe_id),
        ]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.SubjectAlternativeName(names), False),
            (x509.ExtendedKeyUsage(usages), False),
        ]
        leaf = _signed(directory.name, key, self._issuer, self._key, extensions)
        directory.mkdir(parents=True)
        (directory / "tls.crt").write_bytes(leaf.public_bytes(Encoding.PEM) + self._chain)
        (directory / "ca.crt").write_bytes(self.root.public_bytes(Encoding.PEM))
        (directory / "tls.key").touch(mode=0o600)
        (directory / "tls.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # for this run only
        )


def _of_a_ca(below: int) -> list[tuple[x509.ExtensionType, bool]]:
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return [(x509.BasicConstraints(ca=True, path_length=below), True), (usage, True)]


def _signed(
    name: str,
    key: Key,
    issuer: x509.Certificate | None,
    issuer_key: Key,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_public = issuer.public_key() if issuer else key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_public),  # type: ignore[arg-type]
            critical=False,
        )
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256())
