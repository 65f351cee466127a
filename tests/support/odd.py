"""Certificates as libraries refuse to make them: one that a library made, its DER changed and signed anew."""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

UTF8, PRINTABLE, T61, IA5, BMP, UNIVERSAL, BIT_STRING = 0x0C, 0x13, 0x14, 0x16, 0x1E, 0x1C, 0x03
COMMON_NAME = bytes.fromhex("0603550403")
ORGANIZATION = bytes.fromhex("060355040a")
UNHEARD_OF = bytes.fromhex("06082b06010401bf0801")
_EXTENSIONS = 0xA3


def tlv(tag: int, value: bytes) -> bytes:
    if len(value) < 0x80:
        return bytes((tag, len(value))) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + value


def parts(value: bytes) -> list[bytes]:
    """The elements in a constructed value, each whole."""
    found = []
    while value:
        size, length = 2, value[1]
        if length & 0x80:
            size = 2 + (length & 0x7F)
            length = int.from_bytes(value[2:size])
        found.append(value[: size + length])
        value = value[size + length :]
    return found


def inside(element: bytes) -> bytes:
    return element[2 + (element[1] & 0x7F if element[1] & 0x80 else 0) :]


def name(*values: tuple[int, bytes], kind: bytes = COMMON_NAME) -> bytes:
    """A name of one attribute for each tag and value."""
    return tlv(0x30, b"".join(tlv(0x31, tlv(0x30, kind + tlv(tag, value))) for tag, value in values))


@dataclass(frozen=True)
class Odd:
    der: bytes
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return _pem("CERTIFICATE", self.der)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def subject(self) -> bytes:
        return parts(inside(parts(inside(self.der))[0]))[5]


def authority(
    subject: bytes | None = None,
    *,
    issuer: Odd | None = None,
    validity: bytes | None = None,
    serial: bytes | None = None,
    extensions: tuple[bytes, ...] = (),
    without: tuple[x509.ObjectIdentifier, ...] = (),
) -> Odd:
    """A root, or a CA under ``issuer``. ``validity``, ``serial``: their whole DER; ``extensions``: more of them;
    ``without``: those to drop."""
    subject = subject if subject is not None else name((UTF8, b"Some CA"))
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = _builder(key).add_extension(x509.BasicConstraints(True, None), True).add_extension(usage, True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    if issuer is not None:
        builder = builder.add_extension(_key_identifier(issuer), False)
    made = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    signer, signer_name = (key, subject) if issuer is None else (issuer.key, issuer.subject)
    return _changed(made, key, signer, signer_name, subject, validity, serial, extensions, without)


def leaf(
    issuer: Odd,
    subject: bytes | None = None,
    *,
    names: tuple[x509.GeneralName, ...] = (x509.DNSName("client.test"),),
    validity: bytes | None = None,
    serial: bytes | None = None,
    extensions: tuple[bytes, ...] = (),
    without: tuple[x509.ObjectIdentifier, ...] = (),
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Odd:
    key = key or ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = _builder(key).add_extension(x509.BasicConstraints(False, None), True).add_extension(usage, True)
    builder = builder.add_extension(purposes, False)
    builder = builder.add_extension(_key_identifier(issuer), False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    return _changed(made, key, issuer.key, issuer.subject, subject, validity, serial, extensions, without)


def impostor_key(made: x509.Certificate) -> bytes:
    """PEM of a key that passes for the certificate's (its public half is) and cannot sign for it."""
    public = made.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        secret = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32)
        curve = tlv(0xA0, bytes.fromhex("06082a8648ce3d030107"))  # P-256
        encoded = tlv(0x30, b"\x02\x01\x01" + tlv(0x04, secret) + curve + tlv(0xA1, tlv(0x03, b"\0" + point)))
        return _pem("EC PRIVATE KEY", encoded)
    assert isinstance(public, rsa.RSAPublicKey)
    other = rsa.generate_private_key(65537, public.key_size)
    numbers = parts(inside(other.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())))
    modulus = public.public_numbers().n
    numbers[1] = tlv(0x02, modulus.to_bytes(modulus.bit_length() // 8 + 1))
    return _pem("RSA PRIVATE KEY", tlv(0x30, b"".join(numbers)))


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """One extension with whatever in it."""
    encoded = parts(inside(x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), "x")]).public_bytes()))[0]
    kind = parts(inside(parts(inside(encoded))[0]))[0]
    return tlv(0x30, kind + (b"\x01\x01\xff" if critical else b"") + tlv(0x04, value))


def times(begin: tuple[int, bytes], end: tuple[int, bytes]) -> bytes:
    return tlv(0x30, tlv(*begin) + tlv(*end))


def _key_identifier(issuer: Odd) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())


def _pem(label: str, encoded: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(encoded).decode()}-----END {label}-----\n".encode()


def _builder(key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    nobody = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    return (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
    )


def _changed(
    made: bytes,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: bytes | None,
    subject: bytes | None,
    validity: bytes | None,
    serial: bytes | None,
    extensions: tuple[bytes, ...],
    without: tuple[x509.ObjectIdentifier, ...],
) -> Odd:
    signed, algorithm, _ = parts(inside(made))
    fields = parts(inside(signed))
    for at, value in ((1, serial), (3, issuer), (4, validity), (5, subject)):
        if value is not None:
            fields[at] = value
    dropped = [parts(inside(extension(oid.dotted_string, b"")))[0] for oid in without]
    kept = [each for each in parts(inside(inside(fields[7]))) if not any(oid in each for oid in dropped)]
    fields[7] = tlv(_EXTENSIONS, tlv(0x30, b"".join([*kept, *extensions])))
    signed = tlv(0x30, b"".join(fields))
    signature = signer.sign(signed, ec.ECDSA(hashes.SHA256()))
    return Odd(tlv(0x30, signed + algorithm + tlv(0x03, b"\0" + signature)), key)
