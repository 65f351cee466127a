"""X.500 names as certificates have them, for showing and comparing: whatever is in one, it can be shown.

Names in the field hold what their string types do not allow: ``&`` in a PrintableString, Latin-1 in a T61String, a BIT
STRING. OpenSSL reads them all, and no decision of ours depends on their spelling, so none of it is an error here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property

from certs import der

MAX_TEXT_CHARACTERS = 1024  # a peer may send names of 100 KiB; a longer one is shown cut, with its digest

COMMON_NAME = "2.5.4.3"
ORGANIZATIONAL_UNIT = "2.5.4.11"

# RFC 4514 section 3
_SHORT_NAMES = {
    COMMON_NAME: "CN",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    ORGANIZATIONAL_UNIT: "OU",
    "2.5.4.6": "C",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}

_SET = 0x31
_UTF8, _UTF16, _UTF32 = 0x0C, 0x1E, 0x1C  # UTF8String, BMPString, UniversalString
_OCTETS = frozenset({0x0C, 0x12, 0x13, 0x14, 0x15, 0x16, 0x19, 0x1A, 0x1B})  # UTF8String, and what is ASCII mostly
_ESCAPED = frozenset('\\"+,;<>')

# The string types whose values are compared as text, as OpenSSL has it; T61String is Latin-1 there.
_ENCODINGS = {
    _UTF8: "utf-8",
    0x13: "latin-1",  # PrintableString
    0x14: "latin-1",  # T61String
    0x16: "latin-1",  # IA5String
    0x1A: "latin-1",  # VisibleString
    _UTF16: "utf-16-be",
    _UTF32: "utf-32-be",
}
_SPACES = re.compile(rb"[\t-\r ]+")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a name: its type as a dotted OID, and type and value as they are encoded."""

    oid: str
    encoded_oid: bytes
    value: der.Element

    @property
    def text(self) -> str | None:
        """What it says, or ``None`` when that cannot be told: an access rule is compared with nothing less."""
        tag, content = self.value.tag, self.value.value
        try:
            if tag in _OCTETS:
                return content.decode("utf-8")
            if tag == _UTF16:
                return content.decode("utf-16-be")
            if tag == _UTF32:
                return content.decode("utf-32-be")
        except UnicodeDecodeError:
            pass
        return None

    @property
    def compared(self) -> bytes:
        """Its encoding once what does not count between two names is gone: the string type, the case of ASCII letters,
        spaces around and beside one another (RFC 5280 section 7.1, as OpenSSL's ``X509_NAME_cmp`` does it)."""
        value = self.value.der
        if self.value.tag in _ENCODINGS:
            try:
                text = self.value.value.decode(_ENCODINGS[self.value.tag]).encode("utf-8")
            except UnicodeError:
                pass
            else:
                value = der.encode(_UTF8, _SPACES.sub(b" ", text).strip(b" ").lower())
        return der.encode(der.SEQUENCE, self.encoded_oid + value)

    @property
    def rfc4514(self) -> str:
        """``TYPE=value``: octets that are no text are escaped one by one, what is no string is ``#`` and its DER in hex
        (RFC 4514 section 2.4)."""
        text = self.text
        if text is not None:
            shown = _escaped(text)
        elif self.value.tag in _OCTETS:
            shown = _escaped_octets(self.value.value)
        else:
            shown = f"#{self.value.der.hex()}"
        return f"{_SHORT_NAMES.get(self.oid, self.oid)}={shown}"


@dataclass(frozen=True, eq=False)
class Name:
    """A name by its DER. Two are equal when OpenSSL holds them for one: it finds issuers and their lists so."""

    der: bytes
    _relative: tuple[tuple[Attribute, ...], ...] = field(repr=False, default=())

    @classmethod
    def from_der(cls, encoded: bytes) -> Name:
        """What cannot be parsed has no attributes, and is shown by its digest. Never raises."""
        try:
            sets = der.elements(der.read(encoded).value)
            return cls(encoded, tuple(tuple(map(_attribute, der.elements(each.value))) for each in sets))
        except ValueError:
            return cls(encoded)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Name):
            return NotImplemented
        return self.der == other.der or self.compared == other.compared

    def __hash__(self) -> int:
        return hash(self.compared)

    def __str__(self) -> str:
        return self.text

    @cached_property
    def compared(self) -> bytes:
        """What two names that are one have in common: see :attr:`Attribute.compared`. All of its DER where that cannot
        be parsed."""
        if not self._relative:
            return self.der if not self.is_empty else b""
        sets = (sorted(attribute.compared for attribute in each) for each in self._relative)
        return b"".join(der.encode(_SET, b"".join(each)) for each in sets)

    @cached_property
    def text(self) -> str:
        """RFC 4514 text; empty for an empty name. Hostile until escaped."""
        parts = ("+".join(attribute.rfc4514 for attribute in each) for each in reversed(self._relative))
        text = ",".join(parts)
        if not text and len(self.der) > len(_EMPTY):
            return f"unreadable, sha256:{hashlib.sha256(self.der).hexdigest()}"
        if len(text) <= MAX_TEXT_CHARACTERS:
            return text
        return f"{text[:MAX_TEXT_CHARACTERS]}… sha256:{hashlib.sha256(self.der).hexdigest()}"

    @property
    def is_empty(self) -> bool:
        return self.der == _EMPTY

    def attributes(self, oid: str) -> list[Attribute]:
        return [attribute for each in self._relative for attribute in each if attribute.oid == oid]

    @cached_property
    def oddities(self) -> tuple[str, ...]:
        """The values that cannot be told as text, as :attr:`Attribute.rfc4514`."""
        return tuple(each.rfc4514 for some in self._relative for each in some if each.text is None)


_EMPTY = bytes((der.SEQUENCE, 0))


def _attribute(element: der.Element) -> Attribute:
    oid, value = der.elements(element.value)
    return Attribute(der.dotted(oid.value), oid.der, value)


def _escaped(text: str) -> str:
    shown = "".join(f"\\{char}" if char in _ESCAPED else char for char in text).replace("\0", "\\00")
    if shown[:1] in ("#", " "):
        shown = f"\\{shown}"
    if shown[-1:] == " " and text != " ":
        shown = f"{shown[:-1]}\\ "
    return shown


def _escaped_octets(content: bytes) -> str:
    return "".join(_escaped_octet(octet) for octet in content)


def _escaped_octet(octet: int) -> str:
    char = chr(octet)
    if not 0x20 <= octet < 0x7F:
        return f"\\{octet:02X}"
    return f"\\{char}" if char in _ESCAPED else char
