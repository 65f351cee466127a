"""Certificates, revocation lists and material as the admin API tells of them. Nothing private is read here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from certs.certificate import Certificate
from certs.material import Material
from certs.names import crl_issuer
from certs.text import describe_der
from tlsidecar.admin.times import timestamp


@lru_cache(maxsize=512)
def certificate_view(der: bytes) -> dict[str, object]:
    """One certificate. What cannot be read of it is empty, so that a broken one can be shown at all."""
    return describe_der(der)


def certificates_view(certificates: Sequence[Certificate]) -> list[dict[str, object]]:
    return [certificate_view(certificate.der) for certificate in certificates]


def crls_view(material: Material) -> list[dict[str, object]]:
    return [
        {
            "issuer": crl_issuer(crl).text,
            "this_update": timestamp(crl.last_update_utc),
            "next_update": timestamp(crl.next_update_utc),
            "revoked": len(crl),
        }
        for crl in material.crls
    ]
