"""Material: one matched set of leaf, chain, key, trust bundle and revocation lists. Immutable, complete, in memory."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from certs.certificate import Certificate, certificate_of
from certs.chain import between, spki
from certs.errors import MaterialError, MaterialReason
from certs.hostile import PARSE_ERRORS
from certs.identity import Identity, serial_text
from certs.revocation_list import RevocationList, revocation_list_of
from certs.strength import TAKEN, kind_of_key

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

_MAGIC = b"tlsm\x01"
_FIELD = struct.Struct(">BI")  # kind, length
_LEAF, _CHAIN, _KEY, _TRUST, _CRL, _SOURCE, _NOTE, _DOMAIN, _DOMAIN_TRUST = range(1, 10)

_DAMAGE: tuple[type[Exception], ...] = (*PARSE_ERRORS, TypeError, KeyError, IndexError, struct.error)


class PrivateKey:
    """A private key that does not show itself in a repr, a traceback or a log."""

    __slots__ = ("_key",)

    def __init__(self, key: PrivateKeyTypes) -> None:
        """Raises :class:`MaterialError` (``unsupported_key``) for a kind of key that is not taken."""
        if not isinstance(key, SigningKey):
            detail = f"the private key is {kind_of_key(key)}: {TAKEN}"
            raise MaterialError(MaterialReason.UNSUPPORTED_KEY, detail)
        self._key = key

    def reveal(self) -> SigningKey:
        """The key itself, for the TLS library and for nothing else."""
        return self._key

    @property
    def spki(self) -> bytes:
        """DER of the public half."""
        return spki(self._key.public_key())

    def to_der(self) -> bytes:
        """Unencrypted PKCS #8, for a context or a worker's socketpair; never for a log, a reply or a shared file."""
        return self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def to_pem(self) -> bytes:
        """As :meth:`to_der`, in PEM."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def __repr__(self) -> str:
        return "PrivateKey(redacted)"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled")


@dataclass(frozen=True, eq=False, repr=False)
class Material:
    """One matched set. ``chain`` holds the certificates after the leaf, in order; ``trust`` the CAs that may vouch for
    peers; ``federated`` the CAs of other SPIFFE trust domains, each good for its own domain only. ``notes`` are what
    the source put right or wants to warn of. Whether it is fit to serve is for :mod:`certs.preflight` to say."""

    leaf: Certificate
    chain: tuple[Certificate, ...]
    key: PrivateKey
    trust: tuple[Certificate, ...]
    crls: tuple[RevocationList, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()
    federated: Mapping[str, tuple[Certificate, ...]] = field(default_factory=dict)

    @cached_property
    def identity(self) -> Identity:
        """Who the leaf says we are. Raises :class:`CertificateInvalid`."""
        return Identity.from_certificate(self.leaf)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over all public parts: the same digest means that nothing needs to be done."""
        digest = hashlib.sha256()
        for kind, value in self._public_fields():
            digest.update(_FIELD.pack(kind, len(value)))
            digest.update(value)
        return digest.hexdigest()

    @cached_property
    def shown_chain(self) -> tuple[Certificate, ...]:
        """What is shown after the leaf: its chain, or where its source has none, what the trust bundle has of it."""
        return self.chain or between(self.leaf, self.trust)

    def anchors_for(self, peer: Identity) -> tuple[Certificate, ...]:
        """The CAs that a peer's chain may end in: with federated bundles, those of its own SPIFFE trust domain and no
        others; a merged pool would let one domain vouch for another's workloads (SPIFFE Federation section 5)."""
        if peer.spiffe is None or not self.federated:
            return self.trust
        domain = peer.spiffe.trust_domain
        if domain in self.federated:
            return self.federated[domain]
        own = self.identity.spiffe
        return self.trust if own is None or own.trust_domain == domain else ()

    @cached_property
    def authorities(self) -> tuple[Certificate, ...]:
        """Every CA that may vouch for some peer: our own bundle's, then the federated ones, each once."""
        federated = (each for domain in sorted(self.federated) for each in self.federated[domain])
        return tuple(dict.fromkeys((*self.trust, *federated)))

    def __repr__(self) -> str:
        serial = serial_text(self.leaf.serial_number)
        return f"Material(serial={serial}, chain={len(self.chain)}, trust={len(self.trust)}, crls={len(self.crls)})"

    def to_bytes(self) -> bytes:
        """Everything, with the key, for handing to another process of ours in memory. Never write it to a file."""
        parts = [_MAGIC]
        fields = [*self._public_fields(), (_KEY, self.key.to_der()), (_SOURCE, self.source.encode())]
        fields += [(_NOTE, note.encode()) for note in self.notes]
        for kind, value in fields:
            parts += [_FIELD.pack(kind, len(value)), value]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Material:
        """The reverse of :meth:`to_bytes`. Raises :class:`MaterialError` (``handover_invalid``)."""
        try:
            return cls._from_fields(_fields_of(data))
        except _DAMAGE:
            raise MaterialError(MaterialReason.HANDOVER_INVALID) from None

    @classmethod
    def _from_fields(cls, fields: Iterator[tuple[int, bytes]]) -> Material:
        found: dict[int, list[bytes]] = {}
        federated: dict[str, tuple[Certificate, ...]] = {}
        domain = ""
        for kind, value in fields:
            if kind == _DOMAIN:
                domain = value.decode()
                federated[domain] = ()
            elif kind == _DOMAIN_TRUST:
                federated[domain] = (*federated[domain], certificate_of(value))
            else:
                found.setdefault(kind, []).append(value)
        return cls(
            leaf=certificate_of(found[_LEAF][0]),
            chain=tuple(map(certificate_of, found.get(_CHAIN, ()))),
            key=PrivateKey(load_der_private_key(found[_KEY][0], None)),
            trust=tuple(map(certificate_of, found.get(_TRUST, ()))),
            crls=tuple(map(revocation_list_of, found.get(_CRL, ()))),
            source=found[_SOURCE][0].decode(),
            notes=tuple(note.decode() for note in found.get(_NOTE, ())),
            federated=federated,
        )

    def _public_fields(self) -> Iterator[tuple[int, bytes]]:
        yield _LEAF, self.leaf.der
        for certificate in self.chain:
            yield _CHAIN, certificate.der
        for certificate in self.trust:
            yield _TRUST, certificate.der
        for crl in self.crls:
            yield _CRL, crl.der
        for domain in sorted(self.federated):
            yield _DOMAIN, domain.encode()
            for certificate in self.federated[domain]:
                yield _DOMAIN_TRUST, certificate.der


def _fields_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    if not data.startswith(_MAGIC):
        raise ValueError("not material")
    position = len(_MAGIC)
    while position < len(data):
        kind, length = _FIELD.unpack_from(data, position)
        position += _FIELD.size
        if position + length > len(data):
            raise ValueError("cut short")
        yield kind, data[position : position + length]
        position += length
