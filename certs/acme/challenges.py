"""What proves to an ACME CA that a name is ours: over HTTP (RFC 8555 section 8.3) or in a TLS handshake (RFC 8737)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ALPN_PROTOCOL = b"acme-tls/1"
HTTP_PATH = "/.well-known/acme-challenge/"

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_CERTIFICATE_LIFETIME = timedelta(days=7)
_BACKDATE = timedelta(hours=1)

# RFC 8555 section 8.3: base64url, and so nothing that could leave the path it is put into.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")


class ChallengeType(StrEnum):
    """RFC 8555 section 8.3, and RFC 8737."""

    HTTP_01 = "http-01"
    TLS_ALPN_01 = "tls-alpn-01"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One name to be proved. ``key_authorization`` is no secret: whoever asks is told it."""

    type: ChallengeType
    name: str
    token: str
    key_authorization: str

    @property
    def path(self) -> str:
        """Where http-01 is asked for."""
        return HTTP_PATH + self.token

    @property
    def server_name(self) -> str:
        """What tls-alpn-01 asks for by SNI: the name; of an address its reverse-mapping name (RFC 8738 section 6)."""
        try:
            return ip_address(self.name).reverse_pointer
        except ValueError:
            return self.name.lower()


def is_token(text: object) -> bool:
    """Whether the CA's token is one."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def alpn_certificate(challenge: Challenge, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The self-signed certificate that the handshake has to show, and its key (RFC 8737 section 3)."""
    key = ec.generate_private_key(ec.SECP256R1())
    nobody = x509.Name([])
    digest = hashlib.sha256(challenge.key_authorization.encode("ascii")).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(nobody)
        .issuer_name(nobody)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + _CERTIFICATE_LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_general_name(challenge.name)]), critical=True)
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, b"\x04\x20" + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate, key


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
