"""Certificates for people and for JSON."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from certs.certificate import Certificate
from certs.errors import CertificateInvalid
from certs.identity import Identity, serial_text
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
_MOST_NAMED = 3  # certificates, in one sentence
_CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


# The rule of the whole house, which tlsidecar.api.text has, too (neither may import the other, docs/decisions.md): a
# test compares them, character by character.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp", "Mn", "Me", "Mc"})
_HIDDEN_RANGES = (
    (0x115F, 0x11FF),  # Hangul vowels, finals and fillers, which join what stands before them
    (0x2630, 0x2637),  # trigrams
    (0x268A, 0x268F),  # monograms and digrams
    (0x3164, 0x3164),  # Hangul filler: looks like a space
    (0x4DC0, 0x4DFF),  # hexagrams
    (0xD7B0, 0xD7FF),  # Hangul vowels and finals
    (0xFFA0, 0xFFA0),  # half-width Hangul filler
    (0x16FE0, 0x16FFF),  # iteration marks that attach to what stands before them
    (0x1D300, 0x1D37F),  # tetragrams and counting rods
    (0x1F1E6, 0x1F1FF),  # regional indicators, which pair up
    (0x1F3FB, 0x1F3FF),  # skin tones, which change what stands before them
)


def safe_text(text: str) -> str:
    """``text`` on one line, whole, with every character that is not plainly visible written as ``\\x1b`` or
    ``\\u202e``: controls, what is hidden, reordered or combined with its neighbours, and what nobody has assigned."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    code = ord(character)
    if 0x20 <= code <= 0x7E:
        return character
    is_hidden = unicodedata.category(character) in _HIDDEN_CATEGORIES
    if not is_hidden and not any(first <= code <= last for first, last in _HIDDEN_RANGES):
        return character
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def describe_certificate(certificate: Certificate) -> dict[str, Any]:
    """One certificate as JSON, in the shape the admin API has. What cannot be read of it is left empty."""
    try:
        identity = Identity.from_certificate(certificate)
    except CertificateInvalid:
        identity = None
    return {
        "subject": certificate.subject.text,
        "issuer": certificate.issuer.text,
        "serial": serial_text(certificate.serial_number),
        "not_before": time_text(certificate.not_valid_before_utc),
        "not_after": time_text(certificate.not_valid_after_utc),
        "identity": identity.name if identity is not None else certificate.title,
        "dns": list(identity.dns) if identity is not None else [],
        "uris": list(identity.uris) if identity is not None else [],
        "ips": list(identity.ips) if identity is not None else [],
        "key": key_text(certificate),
        "signature": signature_text(certificate),
        "is_ca": identity is not None and identity.is_ca,
        "sha256": certificate.sha256,
        "spki_sha256": hashlib.sha256(certificate.key_der).hexdigest(),
    }


def describe_der(encoded: bytes) -> dict[str, Any]:
    """As :func:`describe_certificate`, for what a peer showed, whatever it is."""
    try:
        return describe_certificate(Certificate(encoded))
    except ValueError:  # OpenSSL reads some encodings that are not DER
        pass
    digest = hashlib.sha256(encoded).hexdigest()
    texts = dict.fromkeys(("subject", "issuer", "serial", "key", "signature", "spki_sha256"), "")
    names: dict[str, list[str]] = {"dns": [], "uris": [], "ips": []}
    times = {"not_before": None, "not_after": None}
    return {**texts, **names, **times, "identity": f"sha256:{digest}", "is_ca": False, "sha256": digest}


def key_text(certificate: Certificate) -> str:
    """The kind and size of its key: ``EC P-256``, ``RSA 2048``, ``Ed25519``."""
    return public_key_text(certificate.key) if certificate.key is not None else f"unknown ({certificate.key_oid})"


def public_key_text(key: CertificatePublicKeyTypes) -> str:
    """As :func:`key_text`."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {_CURVE_NAMES.get(key.curve.name, key.curve.name)}"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    return type(key).__name__.removesuffix("PublicKey")


def mismatch_text(which: str, key: CertificatePublicKeyTypes, certificates: Sequence[Certificate], place: str) -> str:
    """That ``key`` fits none of the certificates in ``place``, with what tells how that came about. Hostile until
    escaped."""
    there = ", ".join(f"{each.title} ({key_text(each)})" for each in certificates[:_MOST_NAMED])
    return f"{which} ({public_key_text(key)}) fits no certificate in {place}: {there}"


def signature_text(certificate: Certificate) -> str:
    """The signature algorithm by its usual name, or its OID."""
    oid = certificate.signature_oid
    return _SIGNATURE_NAMES.get(oid, oid)


def certificate_pem(certificate: Certificate | x509.Certificate) -> bytes:
    """One CERTIFICATE block (RFC 7468 section 5.1)."""
    return certificate.public_bytes(Encoding.PEM)
