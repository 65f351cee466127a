"""What a SPIFFE Workload API agent sends (SPIFFE Workload API section 5.2, X509SVIDResponse), as material.

The messages are protobuf (``workload.proto``): of its encoding only what they use is read here, varints and
length-delimited fields, each bounded before memory is taken. Everything in them is judged as files are: by the parser
here and by :mod:`certs.preflight` later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from cryptography.hazmat.primitives.serialization import load_der_private_key

from certs import der
from certs.certificate import Certificate
from certs.errors import CertificateInvalid, MaterialError, MaterialReason
from certs.hostile import PARSE_ERRORS
from certs.material import Material, PrivateKey
from certs.revocation_list import RevocationList
from certs.spiffe import SpiffeId, trust_domain_problem

MAX_CERTIFICATES = 4096
MAX_SVIDS = 256

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BITS = 63


@dataclass(frozen=True, slots=True)
class Svid:
    """One X.509-SVID as it was sent: DER, certificates one behind the other, the leaf first."""

    spiffe_id: str
    chain: bytes
    key: bytes = field(repr=False)
    bundle: bytes
    hint: str = ""


@dataclass(frozen=True, slots=True)
class SvidResponse:
    """Every identity the agent has for us, in its order, and the bundles of other trust domains by their names."""

    svids: tuple[Svid, ...]
    crls: tuple[bytes, ...]
    federated: dict[str, bytes]

    @classmethod
    def parse(cls, message: bytes) -> SvidResponse:
        """Unknown fields are passed over, as protobuf wants it. Raises :class:`MaterialError` (``agent_failed``)."""
        svids: list[Svid] = []
        crls: list[bytes] = []
        federated: dict[str, bytes] = {}
        try:
            for number, value in _fields(message):
                if number == 1:
                    svids.append(_svid(value))
                elif number == 2:
                    crls.append(value)
                elif number == 3:
                    entry = dict(_fields(value))
                    federated[_trust_domain(entry.get(1, b"").decode())] = entry.get(2, b"")
                if len(svids) > MAX_SVIDS or len(federated) > MAX_CERTIFICATES:
                    raise ValueError("more identities or bundles than anybody has")
        except ValueError as error:
            raise _refused(f"its message cannot be read: {error}") from None
        return cls(tuple(svids), tuple(crls), federated)

    def choose(self, spiffe_id: str = "", hint: str = "") -> Svid:
        """The identity to use: the one asked for by SPIFFE ID or hint, else the first, which is the agent's default
        (SPIFFE Workload API section 5.2.1). Raises :class:`MaterialError` naming what there is."""
        for svid in self.svids:
            if (not spiffe_id or svid.spiffe_id == spiffe_id) and (not hint or svid.hint == hint):
                return svid
        if not self.svids:
            raise _refused("it has no identity for us")
        wanted = " and ".join(filter(None, (spiffe_id, f"the hint {hint!r}" if hint else "")))
        there = ", ".join(f"{each.spiffe_id} ({each.hint})" if each.hint else each.spiffe_id for each in self.svids)
        raise _refused(f"it has no identity with {wanted}, but {there}")

    def material(self, svid: Svid, source: str) -> Material:
        """The chosen identity, whole. Raises :class:`MaterialError`."""
        try:
            leaf, *chain = _certificates(svid.chain, "the SVID")
            key = PrivateKey(load_der_private_key(svid.key, None))
            trust = _certificates(svid.bundle, "the trust bundle")
            crls = tuple(RevocationList(each) for each in self.crls)
        except PARSE_ERRORS as error:
            raise _refused(f"{svid.spiffe_id}: {error}") from None
        federated, notes = self._federated_bundles()
        own = SpiffeId.parse(svid.spiffe_id).trust_domain
        federated.pop(own, None)  # a peer of our own domain is judged by our own bundle, which is newer
        material = Material(
            leaf=leaf,
            chain=tuple(chain),
            key=key,
            trust=tuple(dict.fromkeys(trust)),
            crls=crls,
            source=source,
            notes=notes,
            federated=federated,
        )
        try:
            identity = material.identity
        except CertificateInvalid as error:
            raise _refused(f"{svid.spiffe_id}: the certificate {error}") from None
        # One that breaks the rules for SVIDs (a CA's, say) has no SPIFFE ID to us: the preflight says which rule.
        if str(identity.spiffe or identity.name) != svid.spiffe_id:
            raise _refused(f"the certificate for {svid.spiffe_id} says that it is {identity.name}")
        return material

    def _federated_bundles(self) -> tuple[dict[str, tuple[Certificate, ...]], tuple[str, ...]]:
        """One that cannot be read lets nobody of its domain in, and is no reason to go without a certificate."""
        bundles: dict[str, tuple[Certificate, ...]] = {}
        notes: list[str] = []
        for name, bundle in self.federated.items():
            try:
                bundles[name] = tuple(dict.fromkeys(_certificates(bundle, "it")))
            except PARSE_ERRORS as error:
                bundles[name] = ()
                notes.append(f"the trust bundle of {name} cannot be read, nobody of that domain is let in: {error}")
        return bundles, tuple(notes)


def _svid(message: bytes) -> Svid:
    found = dict(_fields(message))
    spiffe_id = found.get(1, b"").decode()
    SpiffeId.parse(spiffe_id)
    return Svid(spiffe_id, found.get(2, b""), found.get(3, b""), found.get(4, b""), found.get(5, b"").decode())


def _trust_domain(text: str) -> str:
    """A bundle's name: a trust domain, which some agents write as its SPIFFE ID."""
    name = text.removeprefix("spiffe://").rstrip("/")
    problem = trust_domain_problem(name)
    if problem:
        raise ValueError(problem)
    return name


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; others are passed over. Raises ValueError."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("a field without a number")
        if wire_type == _VARINT:
            _, position = _varint(message, position)
            continue
        if wire_type == _BYTES:
            length, position = _varint(message, position)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the unknown wire type {wire_type}")
        if length > len(message) - position:
            raise ValueError("a field longer than its message")
        if wire_type == _BYTES:
            yield number, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message) or shift > _MAX_VARINT_BITS:
            raise ValueError("a number that does not end")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _certificates(data: bytes, what: str) -> list[Certificate]:
    """DER certificates one behind the other. Raises ValueError."""
    try:
        found = [Certificate(each.der) for each in islice(der.elements(data), MAX_CERTIFICATES + 1)]
    except ValueError as error:
        raise ValueError(f"{what} cannot be read: {error}") from None
    if not found:
        raise ValueError(f"{what} is empty")
    if len(found) > MAX_CERTIFICATES:
        raise ValueError(f"{what} has more than {MAX_CERTIFICATES} certificates")
    return found


def _refused(detail: str) -> MaterialError:
    return MaterialError(MaterialReason.AGENT_FAILED, detail)
