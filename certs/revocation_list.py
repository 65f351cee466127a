"""One certificate revocation list (RFC 5280 section 5), and what it says as far as it can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
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
        self._is_exact = True
        try:
            self._reading = x509.load_der_x509_crl(encoded)
        except PARSE_ERRORS:
            self._is_exact = False
            nameless = (*fields[:at], der.Element(der.SEQUENCE, b"", der.encode(der.SEQUENCE, b"")), *fields[at + 1 :])
            self._reading = x509.load_der_x509_crl(self._with(nameless))
        self.last_update_utc = self._reading.last_update_utc
        self.next_update_utc = self._reading.next_update_utc
        len(self._reading)  # counts the entries, and so reads each

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
        return len(self._reading)

    @cached_property
    def issuer(self) -> Name:
        """Whose list it is, whatever is in the name."""
        return Name.from_der(self._issuer.der)

    def __iter__(self) -> Iterator[int]:
        """The serial numbers that it revokes."""
        return (each.serial_number for each in self._reading)

    def revokes(self, serial: int) -> bool:
        """Whether it names a certificate of its issuer's with this serial number."""
        return self._reading.get_revoked_certificate_by_serial_number(serial) is not None

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
        if self._is_exact:
            store.add_crl(self._reading)
            return
        # pyOpenSSL takes cryptography's lists only, which cannot hold this one; below its surface there is a way.
        from OpenSSL._util import ffi, lib

        memory = ffi.new("char[]", self.der)
        source = ffi.gc(lib.BIO_new_mem_buf(memory, len(self.der)), lib.BIO_free)
        read = lib.d2i_X509_CRL_bio(source, ffi.NULL)
        if read == ffi.NULL:
            raise crypto.Error("OpenSSL cannot read the revocation list")
        added = lib.X509_STORE_add_crl(store._store, ffi.gc(read, lib.X509_CRL_free))
        if added != 1:
            raise crypto.Error("OpenSSL does not take the revocation list")

    def _with(self, fields: Iterable[der.Element]) -> bytes:
        signed = der.encode(der.SEQUENCE, b"".join(each.der for each in fields))
        return der.encode(der.SEQUENCE, signed + self._algorithm.der + self._signature.der)


def _is_name(element: der.Element) -> bool:
    return element.tag == der.SEQUENCE and element.value[:1] != bytes((der.OBJECT_IDENTIFIER,))
