"""Putting a leaf's chain in order: leaf, then each certificate's issuer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import crypto

from certs.certificate import Certificate

_X509_V_FLAG_NO_CHECK_TIME = 0x200000  # openssl/x509_vfy.h


def leaf_of(certificates: Sequence[Certificate], key_spki: bytes) -> Certificate | None:
    """The certificate a key belongs to, given the DER of its public half."""
    for certificate in certificates:
        if certificate.key is not None and spki(certificate.key) == key_spki:
            return certificate
    return None


def arrange(leaf: Certificate, certificates: Sequence[Certificate]) -> tuple[tuple[Certificate, ...], tuple[str, ...]]:
    """The leaf's chain in order, without the leaf, and what was put right, in words.

    What does not belong to the chain is kept behind it: it may be a cross-signed alternative.
    """
    distinct = list(dict.fromkeys(certificates))
    rest = [certificate for certificate in distinct if certificate is not leaf]
    chain: list[Certificate] = []
    current = leaf
    while not current.is_self_issued:
        issuer = next((candidate for candidate in rest if is_issuer(candidate, current)), None)
        if issuer is None:
            break
        rest.remove(issuer)
        chain.append(issuer)
        current = issuer
    notes = []
    if [leaf, *chain, *rest] != distinct:
        notes.append("the chain was not in order, leaf first, then each one's issuer: served in order")
    if len(distinct) != len(certificates):
        notes.append("a certificate is in the file twice: served once")
    if rest:
        names = ", ".join(certificate.which for certificate in rest)
        notes.append(f"not part of the leaf's chain, but served with it: {names}")
    return (*chain, *rest), tuple(notes)


def between(leaf: Certificate, authorities: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Those of ``authorities`` that lead from ``leaf`` up to a root among them, or as far as they go; without the root,
    which whoever trusts it has (RFC 8446 section 4.4.2). What the old root has signed of the new one (RFC 4210 section
    4.4), under the name of both, is no root: without it whoever trusts the old one alone finds no way up."""
    found: list[Certificate] = []
    current = leaf
    while issuers := [
        each
        for each in authorities
        if each not in found and is_issuer(each, current) and not (each.is_self_issued and is_issuer(each, each))
    ]:
        current = max(issuers, key=lambda each: each.not_valid_after_utc)  # of one that was renewed, the newest
        found.append(current)
    return tuple(found)


def is_issuer(issuer: Certificate, certificate: Certificate) -> bool:
    """Whether ``issuer`` signed ``certificate``: names and signature fit."""
    return certificate.issuer == issuer.subject and issuer.signed(certificate)


class Rejection(NamedTuple):
    """What OpenSSL finds wrong in a chain: its error number (openssl/x509_vfy.h: ``X509_V_ERR_…``) and text, and the
    certificate that it is about; ``None`` where that is none of those given."""

    number: int
    text: str
    certificate: Certificate | None


def rejection(
    certificate: Certificate,
    chain: Sequence[Certificate],
    trust: Sequence[Certificate],
    moment: datetime | None,
    flags: int,
) -> Rejection | None:
    """Why OpenSSL does not verify ``certificate`` under the CAs in ``trust``, or ``None``. ``moment=None``: at any
    time."""
    store = crypto.X509Store()
    if moment is None:
        flags |= _X509_V_FLAG_NO_CHECK_TIME
    else:
        store.set_time(moment)
    store.set_flags(flags)
    try:
        for authority in trust:
            store.add_cert(authority.openssl())
        between = [each.openssl() for each in chain]
        crypto.X509StoreContext(store, certificate.openssl(), between).verify_certificate()
    except crypto.X509StoreContextError as error:
        number, _, text = error.errors
        encoded = crypto.dump_certificate(crypto.FILETYPE_ASN1, error.certificate)
        known = (certificate, *chain, *trust)
        return Rejection(int(number), str(text), next((each for each in known if each.der == encoded), None))
    except crypto.Error as error:
        return Rejection(0, f"OpenSSL cannot read it: {error}", None)
    return None


def spki(key: CertificatePublicKeyTypes) -> bytes:
    """The DER of a public key's SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
