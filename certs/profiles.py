"""What our local CA's certificates look like, so that openssl -x509_strict, curl, Go and browsers accept them.

Source: RFC 5280 sections 4.1 and 4.2, CA/Browser Forum Baseline Requirements section 7.1, SPIFFE X509-SVID.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.durations import MAX_DURATION
from certs.errors import AuthorityError
from certs.identity import Role
from certs.spiffe import SpiffeId, trust_domain_problem

BACKDATE = timedelta(minutes=5)  # a peer's clock may be this far behind ours
SERIAL_BITS = 128
MAX_SERVER_LIFETIME = timedelta(days=398)  # what browsers take
MAX_COMMON_NAME_CHARACTERS = 64  # RFC 5280 appendix A: ub-common-name
MAX_NAMES = 100

RandomBits = Callable[[int], int]

_DNS_NAME = re.compile(
    r"(?:\*\.)?(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.I
)
_MAX_DNS_CHARACTERS = 253


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """Whom to issue a leaf for, and for which ends of a connection. Made by :meth:`checked`."""

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    spiffe: str = ""
    common_name: str = ""
    organizational_units: tuple[str, ...] = ()
    ttl: timedelta = timedelta(hours=24)
    roles: tuple[Role, ...] = (Role.SERVER, Role.CLIENT)

    def checked(self) -> LeafRequest:
        """The request with its names in their usual form. Raises :class:`AuthorityError` saying what is wrong.

        A request with a CN and no other name gets the CN as a DNS name, too, since a certificate without a subject
        alternative name is accepted by nobody.
        """
        dns = tuple(dict.fromkeys(_checked_dns(name) for name in self.dns))
        ip = tuple(dict.fromkeys(_checked_ip(address) for address in self.ip))
        if self.spiffe:
            try:
                SpiffeId.parse(self.spiffe)
            except ValueError as error:
                raise AuthorityError(f"{self.spiffe!r} is not a SPIFFE ID: {error}") from None
        for text, name in ((self.common_name, "CN"), *((unit, "OU") for unit in self.organizational_units)):
            if len(text) > MAX_COMMON_NAME_CHARACTERS or not text.isprintable() or text != text.strip():
                raise AuthorityError(f"{name} {text!a}: at most {MAX_COMMON_NAME_CHARACTERS} printable characters")
        if not (dns or ip or self.spiffe):
            if not self.common_name or not _DNS_NAME.fullmatch(self.common_name):
                raise AuthorityError("a certificate needs a name: give --dns, --ip or --spiffe")
            dns = (self.common_name.lower(),)
        if len(dns) + len(ip) > MAX_NAMES:
            raise AuthorityError(f"more than {MAX_NAMES} names")
        if self.ttl < timedelta(minutes=1):
            raise AuthorityError("a certificate must live for a minute at least")
        if self.ttl > MAX_DURATION:
            raise AuthorityError("a lifetime of over a hundred years")
        if not self.roles:
            raise AuthorityError("a certificate is for a server, a client or both")
        return LeafRequest(
            dns, ip, self.spiffe, self.common_name, tuple(filter(None, self.organizational_units)), self.ttl, self.roles
        )


@dataclass(frozen=True, slots=True)
class Constraints:
    """What names a CA may vouch for (RFC 5280 section 4.2.1.10); empty means no bound on that kind of name."""

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()  # networks, 10.0.0.0/8
    trust_domains: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.dns or self.ip or self.trust_domains)

    def extension(self) -> x509.NameConstraints:
        """Raises :class:`AuthorityError` for what is not a domain, a network or a trust domain."""
        permitted: list[x509.GeneralName] = [x509.DNSName(_checked_dns(name.removeprefix("."))) for name in self.dns]
        for domain in self.trust_domains:
            problem = trust_domain_problem(domain)
            if problem:
                raise AuthorityError(f"{domain!r}: {problem}")
            permitted.append(x509.UniformResourceIdentifier(domain))
        for text in self.ip:
            try:
                network: IPv4Network | IPv6Network = ip_network(text)
            except ValueError as error:
                raise AuthorityError(str(error)) from None
            permitted.append(x509.IPAddress(network))
        return x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None)


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA's certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def new_key() -> ec.EllipticCurvePrivateKey:
    """P-256, for a CA as for a leaf."""
    return ec.generate_private_key(ec.SECP256R1())


def random_serial(random_bits: RandomBits) -> int:
    """A positive serial of exactly 128 bits, of which 127 are random: 16 or 17 octets in DER."""
    return random_bits(SERIAL_BITS - 1) | 1 << (SERIAL_BITS - 1)


def root_certificate(
    name: str, key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta, limits: Constraints, serial: int
) -> x509.Certificate:
    """A self-signed root. It may have CAs below it to any depth; its intermediate says 0."""
    subject = _authority_name(name)
    builder = _builder(subject, subject, key.public_key(), serial, now - BACKDATE, now + lifetime)
    builder = _add_authority_extensions(builder, key.public_key(), None, limits)
    return builder.sign(key, hashes.SHA256())


def intermediate_certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    root: Issuer,
    now: datetime,
    lifetime: timedelta,
    limits: Constraints,
    serial: int,
) -> x509.Certificate:
    """A CA that issues leaves only (pathlen 0) and does not outlive the root."""
    starts, ends = _within(root.certificate, now, lifetime)
    builder = _builder(_authority_name(name), root.certificate.subject, key, serial, starts, ends)
    builder = _add_authority_extensions(builder, key, 0, limits)
    return builder.add_extension(_authority_key_identifier(root.certificate), critical=False).sign(
        root.key, hashes.SHA256()
    )


def leaf_certificate(
    request: LeafRequest, key: ec.EllipticCurvePublicKey, issuer: Issuer, now: datetime, serial: int
) -> x509.Certificate:
    """A leaf for a request that has been :meth:`~LeafRequest.checked`; it does not outlive its issuer."""
    starts, ends = _within(issuer.certificate, now, request.ttl)
    attributes = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in request.organizational_units]
    if request.common_name:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, request.common_name))
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(request.spiffe)] if request.spiffe else []
    names += [x509.DNSName(name) for name in request.dns]
    names += [x509.IPAddress(_address(text)) for text in request.ip]
    usages = {Role.SERVER: ExtendedKeyUsageOID.SERVER_AUTH, Role.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}
    subject_key_identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    return (
        _builder(x509.Name(attributes), issuer.certificate.subject, key, serial, starts, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usages[role] for role in request.roles]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=not attributes)
        .add_extension(subject_key_identifier, critical=False)
        .add_extension(_authority_key_identifier(issuer.certificate), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def revocation_list(
    issuer: Issuer, revoked: list[tuple[int, datetime]], number: int, now: datetime, lifetime: timedelta
) -> x509.CertificateRevocationList:
    """A CRL of ``(serial, revoked at)``, with a number that must go up from one to the next."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - BACKDATE)
        .next_update(now + lifetime)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_key_identifier(issuer.certificate), critical=False)
    )
    for serial, revoked_at in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(revoked_at)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256())


def _within(issuer: x509.Certificate, now: datetime, lifetime: timedelta) -> tuple[datetime, datetime]:
    starts = max(now - BACKDATE, issuer.not_valid_before_utc)
    return starts, min(now + lifetime, issuer.not_valid_after_utc)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    serial: int,
    starts: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(starts)
        .not_valid_after(ends)
    )


def _add_authority_extensions(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey, path_length: int | None, limits: Constraints
) -> x509.CertificateBuilder:
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
    return builder.add_extension(limits.extension(), critical=True) if limits else builder


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _authority_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _checked_dns(name: str) -> str:
    name = name.lower().rstrip(".")
    if not _DNS_NAME.fullmatch(name) or len(name) > _MAX_DNS_CHARACTERS:
        raise AuthorityError(f"{name!a} is not a DNS name (international names are written in their xn-- form)")
    try:
        ip_address(name)
    except ValueError:
        return name
    raise AuthorityError(f"{name!a} is an IP address: give it with --ip")


def _checked_ip(text: str) -> str:
    try:
        return str(_address(text))
    except ValueError:
        raise AuthorityError(f"{text!a} is not an IP address") from None


def _address(text: str) -> IPv4Address | IPv6Address:
    return ip_address(text)
