"""Certificates as they should be and as they should not, a clock that goes where it is told, and sets on disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.certificate import Certificate
from certs.identity import Identity, Role
from certs.material import Material, PrivateKey
from certs.revocation_list import RevocationList

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
BOTH_ROLES = (Role.SERVER, Role.CLIENT)


class ManualClock:
    """Moves only when told. ``advance`` moves both clocks, ``jump`` the wall clock alone."""

    def __init__(self, now: datetime = NOW) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def timestamp(self) -> float:
        return self._now.timestamp()

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, duration: timedelta) -> None:
        self._now += duration
        self._monotonic += duration.total_seconds()

    def jump(self, duration: timedelta) -> None:
        self._now += duration


@dataclass
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: PrivateKeyTypes

    @property
    def read(self) -> Certificate:
        """As the product reads it."""
        return Certificate.of(self.certificate)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def identity(self) -> Identity:
        return Identity.from_certificate(self.read)

    def key_pem(self, passphrase: bytes | None = None, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, form, encryption)  # type: ignore[union-attr]


@dataclass
class Wish:
    """What a forged leaf is to be; the defaults make a good one."""

    dns: Sequence[str] = ("web.internal",)
    uris: Sequence[str] = ()
    ips: Sequence[str] = ()
    subject: Sequence[tuple[x509.ObjectIdentifier, str]] = ()
    usages: Sequence[x509.ObjectIdentifier] | None = (SERVER, CLIENT)
    key: PrivateKeyTypes | None = None
    is_ca: bool = False
    signs_certificates: bool = False
    digital_signature: bool = True
    key_usage: bool = True
    serial: int | None = None
    starts: datetime = NOW - DAY
    ends: datetime = NOW + DAY
    hash_algorithm: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    extra: Sequence[tuple[x509.ExtensionType, bool]] = ()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def authority(
    name: str = "Test Root",
    issuer: Made | None = None,
    *,
    starts: datetime = NOW - 10 * DAY,
    ends: datetime = NOW + 10 * DAY,
    path_length: int | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Made:
    """A CA: a root, or one below ``issuer``; with a ``key`` that it has had before, or a new one."""
    key = key or new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer or Made(None, key)  # type: ignore[arg-type] # its own issuer
    identifier = x509.SubjectKeyIdentifier.from_public_key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(True, path_length), critical=True)
        .add_extension(_usage(signs=True, digital=False), critical=True)
        .add_extension(identifier(key.public_key()), critical=False)
    )
    if issuer is not None:
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key())
        builder = builder.add_extension(issuer_key, critical=False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return Made(builder.sign(signer.key, hashes.SHA256()), key)  # type: ignore[arg-type]


def leaf(issuer: Made | None = None, wish: Wish | None = None, **changes: object) -> Made:
    """A leaf below ``issuer``, or a self-signed one. ``changes`` are fields of :class:`Wish`."""
    wish = wish or Wish(**changes)  # type: ignore[arg-type]
    key = wish.key or new_key()
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in wish.subject])
    signer = issuer or Made(None, key)  # type: ignore[arg-type]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())  # type: ignore[union-attr, arg-type]
        .serial_number(wish.serial or x509.random_serial_number())
        .not_valid_before(wish.starts)
        .not_valid_after(wish.ends)
        .add_extension(x509.BasicConstraints(wish.is_ca, None), critical=True)
    )
    if wish.key_usage:
        usage = _usage(signs=wish.signs_certificates, digital=wish.digital_signature)
        builder = builder.add_extension(usage, critical=True)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in wish.uris]
    names += [x509.DNSName(name) for name in wish.dns]
    names += [x509.IPAddress(ip_address(text)) for text in wish.ips]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not wish.subject)
    if wish.usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wish.usages), critical=False)
    if issuer is not None:
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key())
        builder = builder.add_extension(issuer_key, critical=False)
    for extension, critical in wish.extra:
        builder = builder.add_extension(extension, critical=critical)
    hash_algorithm = None if isinstance(signer.key, ed25519.Ed25519PrivateKey) else wish.hash_algorithm
    return Made(builder.sign(signer.key, hash_algorithm), key)  # type: ignore[arg-type]


def material(made: Made, *chain: Made, trust: Sequence[Made], **more: object) -> Material:
    return Material(
        leaf=made.read,
        chain=tuple(each.read for each in chain),
        key=PrivateKey(made.key),
        trust=tuple(each.read for each in trust),
        **more,  # type: ignore[arg-type]
    )


def revocations(
    issuer: Made,
    *serials: int,
    this_update: datetime = NOW - timedelta(hours=1),
    next_update: datetime = NOW + DAY,
    extensions: Sequence[x509.ExtensionType] = (),
    of_entries: Sequence[x509.ExtensionType] = (),
) -> RevocationList:
    """``extensions`` of the list and ``of_entries`` are critical."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(this_update)
        .next_update(next_update)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(this_update)
        for each in of_entries:
            entry = entry.add_extension(each, critical=True)
        builder = builder.add_revoked_certificate(entry.build())
    for each in extensions:
        builder = builder.add_extension(each, critical=True)
    return RevocationList.of(builder.sign(issuer.key, hashes.SHA256()))  # type: ignore[arg-type]


def write(path: Path, content: bytes, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.write(fd, content)
    os.fchmod(fd, mode)
    os.close(fd)
    return path


@dataclass
class Files:
    """A leaf, its key and a trust bundle as plain files."""

    cert: Path
    key: Path
    trust: Path


def write_set(directory: Path, made: Made, *chain: Made, trust: Sequence[Made]) -> Files:
    return Files(
        cert=write(directory / "tls.crt", b"".join(each.pem for each in (made, *chain))),
        key=write(directory / "tls.key", made.key_pem(), 0o600),
        trust=write(directory / "ca.crt", b"".join(each.pem for each in trust)),
    )


def _usage(*, signs: bool, digital: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital,
        content_commitment=False,
        key_encipherment=not digital and not signs,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
