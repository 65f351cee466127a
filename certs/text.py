"""Certificates for people and for JSON."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from certs.hostile import PARSE_ERRORS
from certs.identity import Identity
from certs.journal import time_text

_SIGNATURE_NAMES = {
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
    "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
    "1.2.840.113549.1.1.10": "rsassaPss",
    "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
    "1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
    "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
}
_CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


def safe_text(text: str) -> str:
    """Text that a certificate brought, made inert for a terminal: everything that is not printable is escaped, line
    ends, escape sequences and direction marks included."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def describe_certificate(certificate: x509.Certificate) -> dict[str, Any]:
    """One certificate as JSON, in the shape the admin API has. Raises :class:`CertificateInvalid`."""
    identity = Identity.from_certificate(certificate)
    return {
        "subject": identity.subject,
        "issuer": identity.issuer,
        "serial": identity.serial,
        "not_before": time_text(identity.not_before),
        "not_after": time_text(identity.not_after),
        "identity": identity.name,
        "dns": list(identity.dns),
        "uris": list(identity.uris),
        "ips": list(identity.ips),
        "key": key_text(certificate),
        "signature": signature_text(certificate),
        "is_ca": identity.is_ca,
        "sha256": identity.sha256,
        "spki_sha256": identity.spki_sha256,
    }


def key_text(certificate: x509.Certificate) -> str:
    """The kind and size of its key: ``EC P-256``, ``RSA 2048``, ``Ed25519``."""
    try:
        key = certificate.public_key()
    except PARSE_ERRORS:
        return f"unknown ({certificate.public_key_algorithm_oid.dotted_string})"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {_CURVE_NAMES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__.removesuffix("PublicKey")


def signature_text(certificate: x509.Certificate) -> str:
    """The signature algorithm by its usual name, or its OID."""
    oid = certificate.signature_algorithm_oid.dotted_string
    return _SIGNATURE_NAMES.get(oid, oid)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def subject_of(certificate: x509.Certificate) -> str:
    """Its subject as RFC 4514 text, or a placeholder for one that is empty or cannot be read."""
    try:
        return certificate.subject.rfc4514_string() or "a certificate without a subject"
    except PARSE_ERRORS:
        return "a certificate with an unreadable subject"
