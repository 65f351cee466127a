"""Who a certificate says it is.

An :class:`Identity` is made once per new peer certificate and read by everything else; making one takes tens of
microseconds and :class:`IdentityCache` makes a known certificate cost one digest. Everything in it came from the
certificate: it is hostile text until escaped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.certificate import Certificate
from certs.errors import CertificateInvalid
from certs.form import leaf_defect
from certs.hostile import PARSE_ERRORS, plain
from certs.names import COMMON_NAME, ORGANIZATIONAL_UNIT
from certs.spiffe import SpiffeId, is_spiffe_uri
from certs.strength import key_weakness

IDENTITY_CACHE_ENTRIES = 4096
MAX_KEPT_BYTES = 16 * 1024  # a stranger may show certificates of 100 KiB: kept, they would come to 400 MiB
MAX_SERIAL_BITS = 159  # 20 octets of DER INTEGER, the top bit is its sign (RFC 5280 section 4.1.2.2)


class Role(StrEnum):
    """Which end of a TLS connection a certificate speaks for."""

    SERVER = "server"
    CLIENT = "client"

    @property
    def purpose(self) -> str:
        """The dotted OID of the extended key usage this end needs."""
        return _PURPOSES[self]

    @property
    def peer(self) -> Role:
        """The other end."""
        return Role.CLIENT if self is Role.SERVER else Role.SERVER


_PURPOSES = {
    Role.SERVER: ExtendedKeyUsageOID.SERVER_AUTH.dotted_string,
    Role.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """One leaf certificate, read.

    ``subject`` and ``issuer`` are RFC 4514 text, ``serial`` and the digests lowercase hex. ``common_name`` is the
    subject's only CN: empty when there is none or several, since several could be read in two ways. ``spiffe`` is set
    only for a valid X.509-SVID; a leaf that claims to be one and is not has ``svid_error``, and no rule matches it.
    """

    subject: str
    issuer: str
    serial: str
    uris: tuple[str, ...]
    dns: tuple[str, ...]
    ips: tuple[str, ...]
    common_name: str
    organizational_units: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    sha256: str
    spki_sha256: str
    spiffe: SpiffeId | None
    svid_error: str
    is_ca: bool
    has_subject_alternative_name: bool
    purposes: tuple[str, ...]  # dotted OIDs of the extended key usage; empty when it has none
    key_weakness: str
    serial_is_valid: bool
    # The one to call it by, for showing alone: its first URI, DNS name, IP address or e-mail address, its CN, its
    # subject, its digest, whichever there is first. Never empty, and never what anything is decided or kept by.
    name: str
    emails: tuple[str, ...] = ()
    form_error: str = ""  # what is not as RFC 5280 has it, with the section
    issuer_compared: bytes = b""  # :attr:`certs.names.Name.compared` of its issuer's

    @classmethod
    def from_certificate(cls, certificate: Certificate) -> Identity:
        """Raises :class:`CertificateInvalid`, and nothing else, for a certificate that cannot be read."""
        try:
            return cls._read(certificate)
        except PARSE_ERRORS as error:
            raise CertificateInvalid(f"the certificate {certificate.which} cannot be read: {plain(error)}") from None

    @classmethod
    def from_der(cls, der: bytes) -> Identity:
        """Raises :class:`CertificateInvalid`, and nothing else, for bytes that cannot be read as a certificate."""
        try:
            certificate = Certificate(der)
        except ValueError as error:
            digest = hashlib.sha256(der).hexdigest()
            raise CertificateInvalid(f"the certificate sha256:{digest} cannot be read: {error}") from None
        return cls.from_certificate(certificate)

    @classmethod
    def _read(cls, certificate: Certificate) -> Identity:
        form_error = leaf_defect(certificate)
        if certificate.defect or certificate.extensions_defect:
            raise ValueError(form_error or certificate.defect or certificate.extensions_defect)
        uris: list[str] = []
        dns: list[str] = []
        ips: list[str] = []
        emails: list[str] = []
        is_ca = signs_certificates = has_names = False
        purposes: tuple[str, ...] = ()
        for extension in certificate.extensions:
            value = extension.value  # compared by type: isinstance on these abstract classes costs more than parsing
            if type(value) is x509.SubjectAlternativeName:
                has_names = bool(len(value))
                _sort_names(value, uris, dns, ips, emails)
            elif type(value) is x509.BasicConstraints:
                is_ca = value.ca
            elif type(value) is x509.KeyUsage:
                signs_certificates = value.key_cert_sign or value.crl_sign
            elif type(value) is x509.ExtendedKeyUsage:
                purposes = tuple(oid.dotted_string for oid in value)

        subject = certificate.subject
        common_names = subject.attributes(COMMON_NAME)
        units = [unit.text for unit in subject.attributes(ORGANIZATIONAL_UNIT)]
        serial = certificate.serial_number
        spiffe, svid_error = _judge_svid(uris, is_ca, signs_certificates)
        common_name = (common_names[0].text or "") if len(common_names) == 1 else ""
        names = (*uris, *dns, *ips, *emails, common_name, subject.text)
        return cls(
            subject=subject.text,
            issuer=certificate.issuer.text,
            serial=serial_text(serial),
            uris=tuple(uris),
            dns=tuple(dns),
            ips=tuple(ips),
            common_name=common_name,
            organizational_units=tuple(unit for unit in units if unit is not None),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            sha256=certificate.sha256,
            spki_sha256=hashlib.sha256(certificate.key_der).hexdigest(),
            spiffe=spiffe,
            svid_error=svid_error,
            is_ca=is_ca,
            has_subject_alternative_name=has_names,
            purposes=purposes,
            key_weakness=key_weakness(certificate),
            serial_is_valid=serial > 0 and serial.bit_length() <= MAX_SERIAL_BITS,
            name=next(filter(None, names), f"sha256:{certificate.sha256}"),
            emails=tuple(emails),
            form_error="" if is_ca else form_error,
            issuer_compared=certificate.issuer.compared,
        )

    def covers_host(self, host: str) -> bool:
        """Whether the certificate is one for ``host``, a DNS name or an IP address (RFC 9525 section 6: a wildcard is
        the whole leftmost label and stands for exactly one; a CN is never consulted)."""
        try:
            return str(ip_address(host)) in self.ips
        except ValueError:
            pass
        host = host.rstrip(".").lower()
        _, _, parent = host.partition(".")
        wildcard = f"*.{parent}"
        return any(name.lower() == host or ("." in parent and name.lower() == wildcard) for name in self.dns)


class PeerProblem(StrEnum):
    """What is wrong with a peer's leaf beyond what OpenSSL checks; the words are the labels of refusals."""

    INVALID_SVID = "invalid_svid"
    NO_SUBJECT_ALTERNATIVE_NAME = "no_subject_alternative_name"
    WRONG_PURPOSE = "wrong_purpose"
    WEAK_KEY = "weak_key"
    CERTIFICATE_INVALID = "certificate_invalid"


def peer_problem(identity: Identity, role: Role) -> tuple[PeerProblem, str] | None:
    """The first thing wrong with a peer's leaf, with a detail, where ``role`` is the peer's end; ``None`` if nothing
    is. To be asked of every peer after OpenSSL has verified its chain."""
    if not identity.serial_is_valid:
        return PeerProblem.CERTIFICATE_INVALID, "the serial number is not 1 to 20 octets and positive"
    if identity.is_ca:
        return PeerProblem.CERTIFICATE_INVALID, "a CA's certificate shown as a leaf"
    if identity.form_error:
        return PeerProblem.CERTIFICATE_INVALID, identity.form_error
    if not identity.has_subject_alternative_name:
        return PeerProblem.NO_SUBJECT_ALTERNATIVE_NAME, ""
    if role.purpose not in identity.purposes:
        return PeerProblem.WRONG_PURPOSE, f"{role.value}Auth is not in its extended key usage"
    if identity.key_weakness:
        return PeerProblem.WEAK_KEY, identity.key_weakness
    if identity.svid_error:
        return PeerProblem.INVALID_SVID, identity.svid_error
    return None


class IdentityCache:
    """The identities of the certificates seen last, by the digest of their DER. Owned by one event loop: not safe
    from several threads."""

    __slots__ = ("_capacity", "_entries")

    def __init__(self, capacity: int = IDENTITY_CACHE_ENTRIES) -> None:
        self._capacity = capacity
        self._entries: dict[bytes, Identity] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def identify(self, digest: bytes, der: Callable[[], bytes]) -> Identity:
        """The identity of the leaf whose DER has this SHA-256 digest; ``der`` is asked for it when it is not known yet.
        Raises :class:`CertificateInvalid`; failures are not kept."""
        identity = self._entries.pop(digest, None)
        if identity is None:
            encoded = der()
            identity = Identity.from_der(encoded)
            if len(encoded) > MAX_KEPT_BYTES:
                return identity
            if len(self._entries) >= self._capacity:
                del self._entries[next(iter(self._entries))]
        self._entries[digest] = identity  # inserted last: a dict keeps the order, the first is the least recently seen
        return identity


def serial_text(serial: int) -> str:
    """A serial number as lowercase hex with an even number of digits, as in ``openssl x509 -serial``."""
    if serial < 0:
        return f"-{serial_text(-serial)}"
    text = f"{serial:x}"
    return text if len(text) % 2 == 0 else f"0{text}"


def _sort_names(
    names: x509.SubjectAlternativeName, uris: list[str], dns: list[str], ips: list[str], emails: list[str]
) -> None:
    for name in names:
        if isinstance(name, x509.UniformResourceIdentifier):
            uris.append(name.value)
        elif isinstance(name, x509.DNSName):
            dns.append(name.value)
        elif isinstance(name, x509.IPAddress):
            if not isinstance(name.value, (IPv4Address, IPv6Address)):
                raise ValueError("an IP address SAN is a network")
            ips.append(str(name.value))
        elif isinstance(name, x509.RFC822Name):
            emails.append(name.value)


def _judge_svid(uris: Sequence[str], is_ca: bool, signs_certificates: bool) -> tuple[SpiffeId | None, str]:
    """The SPIFFE ID, or why the leaf that claims one is not an X.509-SVID."""
    if not any(is_spiffe_uri(uri) for uri in uris):
        return None, ""
    if len(uris) != 1:
        return None, f"{len(uris)} URI names: an X.509-SVID has exactly one"
    if is_ca:
        return None, "a CA's certificate cannot be a workload's X.509-SVID"
    if signs_certificates:
        return None, "its key usage has keyCertSign or cRLSign"
    try:
        return SpiffeId.parse(uris[0]), ""
    except ValueError as error:
        return None, f"{uris[0][:200]!r}: {error}"
