"""One certificate revocation list (RFC 5280 section 5), and what it says as far as it can be read."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from weakref import WeakValueDictionary

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from OpenSSL import crypto

from certs import der
from certs.certificate import Certificate, verified
from certs.hostile import PARSE_ERRORS
from certs.names import Name

_PEM_LABEL = "X509 CRL"


class RevocationList:
    """Equal to another of the same DER. The name of whose list it is may hold what no parser of names takes: OpenSSL
    decides whom it covers, by the octets; a name that stands there for showing must not refuse the list."""

    def __init__(self, encoded: bytes) -> None:
        """Raises one of :data:`~certs.hostile.PARSE_ERRORS` for what is no revocation list."""
        self.der = encoded
        outer = der.read(encoded)
        parts = list(der.elements(outer.value))
        if len(outer.der) != len(encoded) or len(parts) != 3:  # what is signed, how, and the signature
            raise ValueError("not a revocation list")
        self._signed, self._algorithm, self._signature = parts
        fields = list(der.elements(self._signed.value))
        # version INTEGER OPTIONAL, signature AlgorithmIdentifier, issuer Name (RFC 5280 section 5.1)
        at = next((number for number, each in enumerate(fields) if _is_name(each)), None)
        if at is None:
            raise ValueError("not a revocation list: it names no issuer")
        self._issuer = fields[at]
        try:
            self._reading = x509.load_der_x509_crl(encoded)
        except PARSE_ERRORS:
            nameless = (*fields[:at], der.Element(der.SEQUENCE, b"", der.encode(der.SEQUENCE, b"")), *fields[at + 1 :])
            self._reading = x509.load_der_x509_crl(self._with(nameless))
        self.last_update_utc = self._reading.last_update_utc
        self.next_update_utc = self._reading.next_update_utc
        self._length = len(self._reading)  # counts the entries, and so reads each

    @classmethod
    def of(cls, crl: x509.CertificateRevocationList) -> RevocationList:
        """One that was just made."""
        return cls(crl.public_bytes(Encoding.DER))

    def __eq__(self, other: object) -> bool:
        return self.der == other.der if isinstance(other, RevocationList) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"<RevocationList of {self.issuer.text!a}>"

    def __len__(self) -> int:
        """How many certificates it revokes."""
        return self._length

    @cached_property
    def issuer(self) -> Name:
        """Whose list it is, whatever is in the name."""
        return Name.from_der(self._issuer.der)

    def __iter__(self) -> Iterator[int]:
        """The serial numbers that it revokes."""
        return (each.serial_number for each in self._reading)

    def revokes(self, serial: int) -> bool:
        """Whether it names a certificate of its issuer's with this serial number; each entry is looked at."""
        return self._reading.get_revoked_certificate_by_serial_number(serial) is not None

    def revoked_among(self, serials: Container[int]) -> list[int]:
        """Those of ``serials`` that it revokes, in one pass over its entries."""
        return [serial for serial in self if serial in serials]

    @cached_property
    def unread(self) -> str:
        """Why OpenSSL does not read it at all, or empty: it passes over lists that are a part of one, and refuses
        everybody over an extension that it must understand and does not (RFC 5280 section 5.2)."""
        for oid, critical, value in self._extensions:
            if oid == ExtensionOID.DELTA_CRL_INDICATOR:
                return "it is a delta list (RFC 5280 section 5.2.4), which is not read: the complete one is needed"
            if isinstance(value, x509.IssuingDistributionPoint):
                for is_so, what in (
                    (value.indirect_crl, "it is an indirect list"),
                    (value.only_some_reasons is not None, "it is for some reasons alone"),
                    (value.only_contains_attribute_certs, "it is for attribute certificates"),
                ):
                    if is_so:
                        return f"{what} (RFC 5280 section 5.2.5), which is not read"
            elif critical and isinstance(value, x509.UnrecognizedExtension):
                return f"it has the critical extension {oid.dotted_string}, which is not known (RFC 5280 section 5.2)"
        return ""

    def is_superseded(self, others: Iterable[RevocationList], now: datetime) -> bool:
        """Whether one of ``others`` that holds at ``now`` is newer, of the same issuer and key, for the same
        certificates: OpenSSL then takes that one."""
        return any(
            each.last_update_utc > self.last_update_utc
            and each.last_update_utc <= now
            and (each.next_update_utc is None or each.next_update_utc > now)
            and each._scope == self._scope
            for each in others
        )

    @cached_property
    def names_its_key(self) -> bool:
        """Whether it says which key signed it (RFC 5280 section 5.2.1): by what else OpenSSL tells the lists of two CAs
        of one name apart."""
        kinds = (value for _, _, value in self._extensions if isinstance(value, x509.AuthorityKeyIdentifier))
        return any(each.key_identifier is not None or each.authority_cert_issuer is not None for each in kinds)

    @cached_property
    def _scope(self) -> tuple[object, ...]:
        kinds = (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.ISSUING_DISTRIBUTION_POINT)
        return (self.issuer, *(value for oid, _, value in self._extensions if oid in kinds), self.unread)

    @cached_property
    def _extensions(self) -> tuple[tuple[x509.ObjectIdentifier, bool, x509.ExtensionType], ...]:
        try:
            return tuple((each.oid, each.critical, each.value) for each in self._reading.extensions)
        except PARSE_ERRORS:
            return ()  # whether it can be used is OpenSSL's to say

    def is_signed_by(self, authority: Certificate) -> bool:
        """Whether that one's key signed it. Names are not looked at."""
        return verified(authority.key, self._reading, self._signed.der)

    def public_bytes(self, encoding: Encoding) -> bytes:
        """Its DER, or PEM."""
        if encoding is Encoding.DER:
            return self.der
        return der.pem(_PEM_LABEL, self.der)

    def add_to(self, store: crypto.X509Store) -> None:
        """Have OpenSSL look at it. Raises :class:`OpenSSL.crypto.Error` when OpenSSL cannot read it."""
        # pyOpenSSL takes cryptography's lists only, which cannot hold each one, and has OpenSSL read them for each
        # store anew: 20 MiB and 0.3 s for 100,000 entries. Below its surface there is a way.
        from OpenSSL._util import lib

        if lib.X509_STORE_add_crl(store._store, self._openssl) != 1:
            raise crypto.Error("OpenSSL does not take the revocation list")

    def prepare(self) -> None:
        """Do now, on a thread that may wait, what :meth:`add_to` would do at first. What is wrong with the list is
        told by that."""
        with contextlib.suppress(crypto.Error):
            self._openssl  # noqa: B018

    @cached_property
    def _openssl(self) -> object:
        """The same for OpenSSL, one object for all contexts and stores that it stands in, which sorts it once."""
        from OpenSSL._util import ffi, lib

        source = ffi.gc(lib.BIO_new_mem_buf(ffi.from_buffer(self.der), len(self.der)), lib.BIO_free)
        read = lib.d2i_X509_CRL_bio(source, ffi.NULL)
        if read == ffi.NULL:
            lib.ERR_clear_error()
            raise crypto.Error("OpenSSL cannot read the revocation list")
        return ffi.gc(read, lib.X509_CRL_free)

    def _with(self, fields: Iterable[der.Element]) -> bytes:
        signed = der.encode(der.SEQUENCE, b"".join(each.der for each in fields))
        return der.encode(der.SEQUENCE, signed + self._algorithm.der + self._signature.der)


# By DER.
_in_use: WeakValueDictionary[bytes, RevocationList] = WeakValueDictionary()


def revocation_list_of(encoded: bytes) -> RevocationList:
    """See :class:`RevocationList`. Of one that is in use already, the same object: a list that comes again as it was
    is not read once more. Raises one of :data:`~certs.hostile.PARSE_ERRORS`."""
    found = _in_use.get(encoded)
    if found is None:
        found = _in_use[encoded] = RevocationList(encoded)
    return found


def _is_name(element: der.Element) -> bool:
    return element.tag == der.SEQUENCE and element.value[:1] != bytes((der.OBJECT_IDENTIFIER,))
