"""Certificates and configuration in files, for an explanation without a running sidecar."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from certs.authority import Authority
from certs.certificate import Certificate
from certs.chain import arrange
from certs.clock import Clock
from certs.errors import MaterialError, MaterialReason
from certs.material import Material, PrivateKey
from certs.pem import certificates_in, missing, parse_certificate, read_blocks
from certs.safe_files import Secrecy, read_file
from certs.sources.bundles import Bundle, Bundles, TrustFile
from tlsidecar.control.sources import source_of
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.settings import IdentitySettings, Settings

_STAND_IN_DAYS = 1


def chain_in(path: Path) -> tuple[bytes, ...]:
    """The DER of the certificates in a file, PEM or DER: the leaf, then its issuers in order. Raises
    :class:`MaterialError`."""
    return chain_of(read_file(path, Secrecy.PUBLIC), path)


def chain_of(data: bytes, path: Path | None = None) -> tuple[bytes, ...]:
    """The same of what was read. Keys beside the certificates are passed over."""
    if b"-----" not in data:
        return (parse_certificate(data, path).der,)
    blocks = read_blocks(data, path)
    certificates = certificates_in(blocks, path)
    if not certificates:
        raise MaterialError(MaterialReason.PEM_INVALID, missing("certificate", blocks), path)
    leaf = next((each for each in certificates if not _is_authority(each)), certificates[0])
    chain, _ = arrange(leaf, certificates)
    return tuple(each.der for each in (leaf, *chain))


def contexts_of(settings: Settings, identity: str, clock: Clock) -> Contexts:
    """What a sidecar with these settings would be serving with by now, under the identity of this name. Raises
    certs.errors.CertsError.

    Nothing is ordered: where our own certificate would have to be issued first, another stands in for it, for peers are
    judged by the trust alone.
    """
    own = settings.identity_called(identity)
    material = asyncio.run(source_of(own, clock).read())
    if material is None:
        material = _stand_in(_trust_of(own, clock), clock)
    return Contexts(0, material, settings.tls, soft_crl=own.crl_policy == "soft", identity=identity)


def _is_authority(certificate: Certificate) -> bool:
    constraints = certificate.extension(x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _trust_of(identity: IdentitySettings, clock: Clock) -> Bundle:
    if identity.trust:
        return Bundles([TrustFile(each.path, each.trust_domain) for each in identity.trust], identity.crl).read()
    if identity.authority is not None:
        authority = Authority(identity.authority, clock)
        return Bundle(authority.trust(), authority.crls())
    raise MaterialError(
        MaterialReason.TRUST_EMPTY, "nothing was issued yet, and whom to trust comes with it: ask the running sidecar"
    )


def _stand_in(bundle: Bundle, clock: Clock) -> Material:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = clock.now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=_STAND_IN_DAYS))
        .not_valid_after(now + timedelta(days=_STAND_IN_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("stand-in.invalid")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    leaf = Certificate.of(certificate)
    return Material(leaf, (), PrivateKey(key), bundle.trust, bundle.crls, federated=bundle.federated)
