"""One certificate, and what it says as far as it can be read. Nothing that is asked of it later raises.

OpenSSL decides about chains. This is what everything else goes by: summaries, problems, metrics, the preflight, who a
peer is. Its DER is what was read from the file or the peer, to the byte, and is all that OpenSSL ever gets.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from certs import der
from certs.hostile import PARSE_ERRORS, SIGNATURE_ERRORS, plain
from certs.names import Name

# A date that cannot be read: the certificate is as good as expired, which is how OpenSSL takes it, too.
UNREADABLE_TIME = datetime(1970, 1, 1, tzinfo=UTC)

_INTEGER, _UTC_TIME, _GENERALIZED_TIME, _VERSION, _EXTENSIONS, _UTF8 = 0x02, 0x17, 0x18, 0xA0, 0xA3, 0x0C

# Names that say by themselves who is meant.
_TELLING = (x509.UniformResourceIdentifier, x509.DNSName, x509.IPAddress, x509.RFC822Name)

_SSL_MODE_NO_AUTO_CHAIN = 0x8  # openssl/ssl.h

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class EncodedExtension(NamedTuple):
    """An extension as it is encoded; ``value`` is its DER."""

    critical: bool
    value: bytes


class Certificate:
    """Equal to another of the same DER."""

    def __init__(self, encoded: bytes, origin: str = "") -> None:
        """``origin``: the file and where in it. Raises ValueError when it is no certificate."""
        self.origin = origin
        self.der = encoded
        outer = der.read(encoded)
        if outer.tag != der.SEQUENCE or len(outer.der) != len(encoded):
            raise ValueError("not a certificate")
        self._parts = list(der.elements(outer.value))
        if len(self._parts) != 3:  # RFC 5280 section 4.1: what is signed, how, and the signature
            raise ValueError("not a certificate")
        self._fields = list(der.elements(self._parts[0].value))
        first = 1 if self._fields and self._fields[0].tag == _VERSION else 0
        fields = self._fields[first : first + 6]
        if len(fields) < 6:
            raise ValueError("not a certificate")
        serial, _, self._issuer, validity, self._subject, self._key = fields
        if serial.tag != _INTEGER or {each.tag for each in fields[1:6]} != {der.SEQUENCE}:
            raise ValueError("not a certificate")
        self.serial_number = int.from_bytes(serial.value, signed=True)
        times = [_time(each) for each in der.elements(validity.value)]
        if len(times) != 2:
            raise ValueError("not a certificate: it has no period of validity")
        self.not_valid_before_utc, self.not_valid_after_utc = (time or UNREADABLE_TIME for time in times)
        rest = self._fields[first + 6 :]
        self._extension_list = next((each for each in rest if each.tag == _EXTENSIONS), None)
        self.defect = "a date in it cannot be read" if None in times else ""
        self._is_exact = True
        self._openssl: crypto.X509 | None = None
        self._made_by: dict[bytes, bool] = {}  # whether the key with this DER made its signature
        self._reading: x509.Certificate | None = None
        try:
            self._reading = x509.load_der_x509_certificate(encoded)
        except PARSE_ERRORS as error:
            self._is_exact = False
            try:
                self._reading = x509.load_der_x509_certificate(self._loosened())
            except PARSE_ERRORS:
                self.defect = self.defect or plain(error)

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Certificate:
        """One that was just made, or parsed elsewhere."""
        return cls(certificate.public_bytes(Encoding.DER))

    def __eq__(self, other: object) -> bool:
        return self.der == other.der if isinstance(other, Certificate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"<Certificate {self.title!a}>"

    @cached_property
    def sha256(self) -> str:
        """Hex digest of its DER."""
        return hashlib.sha256(self.der).hexdigest()

    @cached_property
    def subject(self) -> Name:
        return Name.from_der(self._subject.der)

    @cached_property
    def issuer(self) -> Name:
        return Name.from_der(self._issuer.der)

    @property
    def title(self) -> str:
        """What to call it: its subject, or else the first of its names, or its digest. Hostile until escaped."""
        return self.subject.text or self._first_name or f"sha256:{self.sha256}"

    @cached_property
    def _first_name(self) -> str:
        names = self.extension(x509.SubjectAlternativeName) or ()
        return next((str(each.value) for each in names if isinstance(each, _TELLING)), "")

    @property
    def which(self) -> str:
        """:attr:`title`, and where it was read from."""
        return f"{self.title} ({self.origin})" if self.origin else self.title

    @property
    def is_self_issued(self) -> bool:
        return self._issuer.der == self._subject.der or self.issuer == self.subject

    def fraction_left(self, now: datetime) -> float:
        """How much of its lifetime is left: 1 when it begins, 0 and less when it has expired."""
        left = self.not_valid_after_utc - now
        lifetime = self.not_valid_after_utc - self.not_valid_before_utc
        if lifetime <= timedelta(0):  # it never was valid
            return min(left.total_seconds(), 0.0)
        return left / lifetime

    @cached_property
    def key(self) -> CertificatePublicKeyTypes | None:
        """Its public key; ``None`` for one of a kind that is not known, or that is damaged."""
        try:
            return self._reading.public_key() if self._reading is not None else None
        except PARSE_ERRORS:
            return None

    @property
    def key_der(self) -> bytes:
        """The DER of its SubjectPublicKeyInfo."""
        return self._key.der

    @property
    def key_oid(self) -> str:
        """The dotted OID of its key's algorithm."""
        return _algorithm(self._key.value)

    @property
    def signature_oid(self) -> str:
        """The dotted OID of the algorithm it was signed with."""
        return _algorithm(self._parts[1].der)

    @property
    def signature_hash(self) -> str | None:
        """The digest it was signed with, as ``sha256``; empty where the algorithm has none of its own, ``None`` where
        the algorithm is not known."""
        try:
            algorithm = self._reading.signature_hash_algorithm if self._reading is not None else None
        except PARSE_ERRORS:
            return None
        return algorithm.name if algorithm is not None else "" if self._reading is not None else None

    @cached_property
    def extensions(self) -> tuple[x509.Extension[x509.ExtensionType], ...]:
        """Its extensions; none when they cannot be read, and then :attr:`extensions_defect` says why."""
        return self._extensions[0]

    @property
    def extensions_defect(self) -> str:
        """Why its extensions cannot be read, or an empty string."""
        return self._extensions[1]

    @cached_property
    def _extensions(self) -> tuple[tuple[x509.Extension[x509.ExtensionType], ...], str]:
        if self._reading is None:
            return (), self.defect
        try:
            return tuple(self._reading.extensions), ""
        except PARSE_ERRORS as error:
            return (), plain(error)

    def extension(self, kind: type[_Extension]) -> _Extension | None:
        """The value of one extension; ``None`` where it is not there, or cannot be read."""
        for extension in self.extensions:
            if isinstance(extension.value, kind):
                return extension.value
        return None

    @cached_property
    def encoded_extensions(self) -> Mapping[str, EncodedExtension]:
        """Its extensions by their dotted OID, as they are encoded: what is there, and whether it is critical, can be
        told also where what is in one cannot be read. The first of two alike."""
        found: dict[str, EncodedExtension] = {}
        try:
            listed = der.read(self._extension_list.value) if self._extension_list is not None else None
            for each in der.elements(listed.value) if listed is not None else ():
                oid, *critical, value = der.elements(each.value)
                is_critical = bool(critical) and critical[0].value != b"\0"
                found.setdefault(der.dotted(oid.value), EncodedExtension(is_critical, value.value))
        except ValueError:
            pass
        return found

    def signed(self, certificate: Certificate) -> bool:
        """Whether this one's key signed ``certificate``. Names are not looked at."""
        found = certificate._made_by.get(self.key_der)
        if found is None:
            reading = certificate._reading
            found = reading is not None and verified(self.key, reading, certificate._parts[0].der)
            certificate._made_by[self.key_der] = found
        return found

    def public_bytes(self, encoding: Encoding) -> bytes:
        """Its DER, or PEM."""
        if encoding is Encoding.DER:
            return self.der
        return crypto.dump_certificate(crypto.FILETYPE_PEM, self.openssl())

    def to_cryptography(self) -> x509.Certificate | None:
        """The same for cryptography; ``None`` where that would be another certificate than this one."""
        return self._reading if self._is_exact else None

    def openssl(self) -> crypto.X509:
        """The same for OpenSSL, one object for all contexts and stores that it stands in. Raises
        :class:`OpenSSL.crypto.Error` when OpenSSL cannot read it."""
        if self._openssl is None:
            self._openssl = crypto.load_certificate(crypto.FILETYPE_ASN1, self.der)
        return self._openssl

    def _loosened(self) -> bytes:
        """The same with names whose values are all UTF8Strings, which a parser does not check until it is asked."""
        names = (self._issuer, self._subject)
        fields = [_retagged(each) if any(each is name for name in names) else each.der for each in self._fields]
        _, *rest = self._parts
        signed = der.encode(der.SEQUENCE, b"".join(fields))
        return der.encode(der.SEQUENCE, signed + b"".join(each.der for each in rest))


# By DER and origin.
_in_use: WeakValueDictionary[tuple[bytes, str], Certificate] = WeakValueDictionary()


def certificate_of(encoded: bytes, origin: str = "") -> Certificate:
    """See :class:`Certificate`. Of one that is in use already, the same object: a bundle that comes again as it was is
    not parsed and verified once more. Raises ValueError."""
    certificate = _in_use.get((encoded, origin))
    if certificate is None:
        certificate = _in_use[encoded, origin] = Certificate(encoded, origin)
    return certificate


def verified(
    key: CertificatePublicKeyTypes | None, reading: x509.Certificate | x509.CertificateRevocationList, message: bytes
) -> bool:
    """Whether ``key`` made the signature in ``reading``, over ``message``: what was signed, to the byte, of which
    ``reading`` may be a likeness only."""
    try:
        parameters = reading.signature_algorithm_parameters
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(reading.signature, message, parameters, reading.signature_hash_algorithm)  # type: ignore[arg-type]
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(reading.signature, message, parameters)  # type: ignore[arg-type]
        elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(reading.signature, message)
        else:
            return False
    except SIGNATURE_ERRORS:
        return False
    return True


def show_certificate(context: SSL.Context, certificate: Certificate) -> None:
    """Have ``context`` show it as its own. Raises :class:`OpenSSL.SSL.Error`."""
    with _without_the_deprecation():
        context.use_certificate(certificate.openssl())


def show_chain(context: SSL.Context, chain: tuple[Certificate, ...]) -> None:
    """Have ``context`` show these after its own, and no others. Raises :class:`OpenSSL.SSL.Error`.

    Where there are none OpenSSL would look for some among those it trusts, and verify them, in each handshake anew: a
    fifth of what a handshake costs, to send the root, too, which whoever trusts it has (RFC 8446 section 4.4.2)."""
    context.set_mode(_SSL_MODE_NO_AUTO_CHAIN)
    with _without_the_deprecation():
        for certificate in chain:
            context.add_extra_chain_cert(certificate.openssl())


def name_authorities(context: SSL.Context, authorities: tuple[Certificate, ...]) -> None:
    """Have ``context``, a server's, tell clients whose certificates it takes. Raises :class:`OpenSSL.SSL.Error`."""
    with _without_the_deprecation():
        for certificate in authorities:
            context.add_client_ca(certificate.openssl())


class _without_the_deprecation(warnings.catch_warnings):
    """pyOpenSSL would rather be given cryptography's objects, which cannot hold every certificate."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", DeprecationWarning)


def _retagged(name: der.Element) -> bytes:
    sets = []
    for each in der.elements(name.value):
        attributes = []
        for attribute in der.elements(each.value):
            oid, value = der.elements(attribute.value)
            attributes.append(der.encode(attribute.tag, oid.der + der.encode(_UTF8, value.value)))
        sets.append(der.encode(each.tag, b"".join(attributes)))
    return der.encode(name.tag, b"".join(sets))


def _algorithm(encoded: bytes) -> str:
    """The OID in the AlgorithmIdentifier that comes first."""
    try:
        return der.dotted(der.read(der.read(encoded).value).value)
    except ValueError:
        return ""


def _time(element: der.Element) -> datetime | None:
    """A UTCTime or GeneralizedTime as RFC 5280 section 4.1.2.5 has them; ``None`` for another."""
    digits, zone = element.value[:-1], element.value[-1:]
    if element.tag == _UTC_TIME:  # its two digits of a year stand for 1950 to 2049
        digits = (b"19" if digits[:2] >= b"50" else b"20") + digits
    elif element.tag != _GENERALIZED_TIME:
        return None
    if zone != b"Z" or len(digits) != 14 or not digits.isdigit():
        return None
    try:
        month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(4, 14, 2))
        return datetime(int(digits[:4]), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
