"""Certificates, revocation lists and material as the admin API tells of them. Nothing private is read here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from certs.errors import CertificateInvalid
from certs.material import Material
from certs.text import describe_certificate
from tlsidecar.admin.times import timestamp


@lru_cache(maxsize=512)
def certificate_view(der: bytes) -> dict[str, object]:
    """One certificate. What cannot be read of it is empty, so that a broken one can be shown at all."""
    view: dict[str, object] = {
        "subject": "",
        "issuer": "",
        "serial": "",
        "not_before": None,
        "not_after": None,
        "identity": "",
        "dns": [],
        "uris": [],
        "ips": [],
        "key": "",
        "signature": "",
        "is_ca": False,
        "sha256": hashlib.sha256(der).hexdigest(),
        "spki_sha256": "",
    }
    try:
        return describe_certificate(x509.load_der_x509_certificate(der))
    except (ValueError, UnsupportedAlgorithm, CertificateInvalid):
        return view


def certificates_view(certificates: Sequence[x509.Certificate]) -> list[dict[str, object]]:
    return [certificate_view(certificate.public_bytes(Encoding.DER)) for certificate in certificates]


def crls_view(material: Material) -> list[dict[str, object]]:
    return [
        {
            "issuer": crl.issuer.rfc4514_string(),
            "this_update": timestamp(crl.last_update_utc),
            "next_update": timestamp(crl.next_update_utc),
            "revoked": len(crl),
        }
        for crl in material.crls
    ]
