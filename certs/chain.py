"""Putting a leaf's chain in order: leaf, then each certificate's issuer."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certs.hostile import PARSE_ERRORS, SIGNATURE_ERRORS
from certs.text import subject_of


def leaf_of(certificates: Sequence[x509.Certificate], key_spki: bytes) -> x509.Certificate | None:
    """The certificate a key belongs to, given the DER of its public half."""
    for certificate in certificates:
        try:
            if spki(certificate.public_key()) == key_spki:
                return certificate
        except PARSE_ERRORS:
            continue  # a key we cannot parse is not ours
    return None


def arrange(
    leaf: x509.Certificate, certificates: Sequence[x509.Certificate]
) -> tuple[tuple[x509.Certificate, ...], tuple[str, ...]]:
    """The leaf's chain in order, without the leaf, and what was put right, in words.

    What does not belong to the chain is kept behind it: it may be a cross-signed alternative.
    """
    distinct = list(dict.fromkeys(certificates))
    rest = [certificate for certificate in distinct if certificate is not leaf]
    chain: list[x509.Certificate] = []
    current = leaf
    while not is_self_issued(current):
        issuer = next((candidate for candidate in rest if issued(candidate, current)), None)
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
        names = ", ".join(subject_of(certificate) for certificate in rest)
        notes.append(f"not part of the leaf's chain, but served with it: {names}")
    return (*chain, *rest), tuple(notes)


def issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether ``issuer`` signed ``certificate``: names and signature fit."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except SIGNATURE_ERRORS:
        return False
    return True


def is_self_issued(certificate: x509.Certificate) -> bool:
    try:
        return certificate.issuer == certificate.subject
    except PARSE_ERRORS:
        return False  # names that cannot be read are not the same


def spki(key: CertificatePublicKeyTypes) -> bytes:
    """The DER of a public key's SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
