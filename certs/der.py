"""Reading DER (X.690) far enough to find things in a certificate, refusing nothing that nobody asks for."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import NamedTuple

OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30

_HIGH_TAG = 0x1F
_MAX_LENGTH_OCTETS = 4


class Element(NamedTuple):
    """One tag, length and value; ``der`` is all three, ``tag`` the identifier octet."""

    tag: int
    value: bytes
    der: bytes


def read(data: bytes, at: int = 0) -> Element:
    """The element that begins at ``at``. Raises ValueError."""
    if at + 2 > len(data):
        raise ValueError("cut short")
    tag, length = data[at], data[at + 1]
    if tag & _HIGH_TAG == _HIGH_TAG:
        raise ValueError("a tag of several octets")
    start = at + 2
    if length >= 0x80:
        octets = length & 0x7F
        if not 0 < octets <= _MAX_LENGTH_OCTETS or start + octets > len(data):
            raise ValueError("not a length")
        length = int.from_bytes(data[start : start + octets])
        start += octets
    if start + length > len(data):
        raise ValueError("cut short")
    return Element(tag, data[start : start + length], data[at : start + length])


def elements(data: bytes) -> Iterator[Element]:
    """What stands in a constructed value, in order. Raises ValueError when something else does."""
    at = 0
    while at < len(data):
        element = read(data, at)
        yield element
        at += len(element.der)


def encode(tag: int, value: bytes) -> bytes:
    """One element, with its length in the shortest form."""
    length = len(value)
    if length < 0x80:
        return bytes((tag, length)) + value
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets + value


def dotted(value: bytes) -> str:
    """An object identifier's content in dotted form; the hex of one that is none."""
    if not value or value[-1] & 0x80:
        return value.hex()
    numbers: list[int] = []
    number = 0
    for octet in value:
        number = number << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def pem(label: str, encoded: bytes) -> bytes:
    """One block of PEM (RFC 7468)."""
    text = base64.b64encode(encoded)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    boundary = label.encode("ascii")
    return b"\n".join((b"-----BEGIN %b-----" % boundary, *lines, b"-----END %b-----" % boundary, b""))
