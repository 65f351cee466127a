"""Putting a leaf's chain in order: leaf, then each certificate's issuer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

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
        names = ", ".join(certificate.which for certificate in rest)
        notes.append(f"not part of the leaf's chain, but served with it: {names}")
    return (*chain, *rest), tuple(notes)


def issued(issuer: Certificate, certificate: Certificate) -> bool:
    """Whether ``issuer`` signed ``certificate``: names and signature fit."""
    return certificate.issuer == issuer.subject and issuer.signed(certificate)


def verification_error(
    certificate: Certificate,
    chain: Sequence[Certificate],
    trust: Sequence[Certificate],
    moment: datetime | None,
    flags: int,
) -> tuple[int, int, str] | None:
    """What OpenSSL finds wrong with ``certificate`` under the CAs in ``trust``: ``None``, or its error number, the
    depth it was found at, and its text. ``moment=None``: at any time."""
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
        number, depth, text = error.errors
        return int(number), int(depth), str(text)
    except crypto.Error as error:
        return 0, 0, f"OpenSSL cannot read it: {error}"
    return None


def spki(key: CertificatePublicKeyTypes) -> bytes:
    """The DER of a public key's SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
