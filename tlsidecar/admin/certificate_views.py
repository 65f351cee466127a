"""Certificates, revocation lists and material as the admin API has them. Nothing private is read here."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from certs import certificate
from certs.material import Material
from certs.text import describe_der
from tlsidecar.api.certificates import Certificate, FederatedTrust, RevocationList
from tlsidecar.api.times import moment


@lru_cache(maxsize=512)
def certificate_record(der: bytes) -> Certificate[str]:
    """One certificate. What cannot be read of it is empty, so that a broken one can be shown at all."""
    described = describe_der(der)
    texts = {name: tuple(described[name]) for name in ("dns", "uris", "ips")}
    times = {name: moment(described[name]) for name in ("not_before", "not_after")}
    return Certificate(**{**described, **texts, **times})


def certificate_records(certificates: Iterable[certificate.Certificate]) -> tuple[Certificate[str], ...]:
    """In the order given."""
    return tuple(certificate_record(each.der) for each in certificates)


def federated_records(material: Material) -> tuple[FederatedTrust[str], ...]:
    """Each trust domain with CAs of its own, by name."""
    return tuple(
        FederatedTrust(trust_domain=domain, trust=certificate_records(authorities))
        for domain, authorities in sorted(material.federated.items())
    )


def crl_records(material: Material) -> tuple[RevocationList[str], ...]:
    """Of the revocation lists that peers are judged by."""
    return tuple(
        RevocationList(
            issuer=crl.issuer.text,
            this_update=crl.last_update_utc,
            next_update=crl.next_update_utc,
            revoked=len(crl),
        )
        for crl in material.crls
    )
