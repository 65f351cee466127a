"""MySQL's and MariaDB's own words for TLS: the server greets, the client answers with a packet that wants TLS, and
sends the real answer inside.

Source: MySQL Internals, "Connection Phase" (HandshakeV10, SSLRequest, HandshakeResponse41); MariaDB's documentation,
"Connecting". A packet is three bytes of length, one of sequence, and its payload.

The greeting holds what the client needs from this very server: the nonce that its password is hashed with, the number
that KILL takes, the version that drivers go by. So it is passed on, with the bit for TLS as we have it, and the local
service is connected to before the peer is known; it is not sent a byte before. Whoever has one TLS packet more than the
other counts one further on: :mod:`.mysql_session`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tlsidecar.dataplane.starttls.script import MOST_SHOWN_BYTES, TLS_HANDSHAKE, WAIT, Next, Step

HEADER_BYTES = 4
_PROTOCOL = 10
_ERROR = 0xFF
CLIENT_SSL = 0x0800
_CLIENT_PROTOCOL_41 = 0x0200
_CLIENT_SECURE_CONNECTION = 0x8000
_FIXED_BYTES = 32  # of a client's answer: capabilities, largest packet, character set, and 23 reserved
HEAD_BYTES = HEADER_BYTES + _FIXED_BYTES
_AFTER_VERSION = 21  # number, nonce, filler, capabilities, character set, status, capabilities
_CAPABILITIES_AT = 13  # behind the version: number, nonce and filler
_UTF8MB4 = 45
_LARGEST_PACKET = (1 << 24) - 1

_SECURE_TRANSPORT_REQUIRED = 3159
_UNKNOWN_ERROR = 1105
_HANDSHAKE_ERROR = 1043


class Header(NamedTuple):
    """Of a packet: its payload's bytes, and its number in the conversation."""

    length: int
    sequence: int


def header_of(data: bytes) -> Header:
    """The first four bytes."""
    return Header(int.from_bytes(data[:3], "little"), data[3])


def packet(sequence: int, payload: bytes) -> bytes:
    """With its header. The number wraps at 256."""
    return len(payload).to_bytes(3, "little") + bytes([sequence & 0xFF]) + payload


def error(sequence: int, code: int, text: str) -> bytes:
    """An ERR packet, which a client shows to its user."""
    return packet(sequence, b"\xff" + struct.pack("<H", code) + b"#HY000" + text.encode("ascii", "backslashreplace"))


def not_served(text: str) -> bytes:
    """In the place of a greeting."""
    return error(0, _UNKNOWN_ERROR, f"tlsidecar: {text}")


def with_tls(greeting: bytes, offered: bool) -> bytes:
    """A greeting that :class:`MysqlGreeting` has judged, with TLS on offer or not."""
    at = greeting.index(b"\0", HEADER_BYTES + 1) + 1 + _CAPABILITIES_AT
    (capabilities,) = struct.unpack_from("<H", greeting, at)
    capabilities = capabilities | CLIENT_SSL if offered else capabilities & ~CLIENT_SSL
    return greeting[:at] + struct.pack("<H", capabilities) + greeting[at + 2 :]


def ssl_request(head: bytes) -> bytes:
    """For a remote: that TLS is wanted, and otherwise what the application's answer, ``head``, begins with: some
    servers go by what was said here."""
    capabilities = int.from_bytes(head[HEADER_BYTES : HEADER_BYTES + 4], "little") | CLIENT_SSL
    return packet(1, capabilities.to_bytes(4, "little") + head[HEADER_BYTES + 4 : HEAD_BYTES])


# For a check of ours, which ends with the handshake.
_OWN_CAPABILITIES = _CLIENT_PROTOCOL_41 | _CLIENT_SECURE_CONNECTION | CLIENT_SSL
OWN_SSL_REQUEST = packet(1, struct.pack("<IIB23x", _OWN_CAPABILITIES, _LARGEST_PACKET, _UTF8MB4))


class MysqlGreeting:
    """Towards any server: waits for its greeting and takes it."""

    opening = b""

    def __init__(self, *, tls: bool) -> None:
        """``tls``: it has to be on offer."""
        self._tls = tls

    def look(self, shown: bytes) -> Step:
        if len(shown) < HEADER_BYTES:
            return WAIT
        length, sequence = header_of(shown)
        whole = HEADER_BYTES + length
        if sequence or length < 2 or whole > MOST_SHOWN_BYTES:
            return Step(Next.REFUSED, detail="what it says is not MySQL's")
        if len(shown) < whole:
            return WAIT
        if shown[HEADER_BYTES] == _ERROR:
            code = int.from_bytes(shown[HEADER_BYTES + 1 : HEADER_BYTES + 3], "little")
            text = shown[HEADER_BYTES + 3 : whole].decode("ascii", "backslashreplace")
            return Step(Next.REFUSED, whole, detail=f"it answers with error {code}: {text!r}")
        problem = self._problem(shown[:whole])
        return Step(Next.REFUSED, detail=problem) if problem else Step(Next.PLAIN, whole)

    def _problem(self, greeting: bytes) -> str:
        if greeting[HEADER_BYTES] != _PROTOCOL:
            return f"it greets with protocol {greeting[HEADER_BYTES]}, not 10"
        version, end, rest = greeting[HEADER_BYTES + 1 :].partition(b"\0")
        if not end or len(rest) < _AFTER_VERSION:
            return "its greeting is cut short"
        (capabilities,) = struct.unpack_from("<H", rest, _CAPABILITIES_AT)
        if not capabilities & _CLIENT_PROTOCOL_41:
            return f"it is older than MySQL 4.1: {version.decode('ascii', 'backslashreplace')!r}"
        return "" if capabilities & CLIENT_SSL or not self._tls else "it does not offer TLS"


class MysqlServer:
    """For a client that has to want TLS, and shows a certificate there."""

    def __init__(self, greeting: bytes) -> None:
        self.opening = with_tls(greeting, offered=True)

    def look(self, shown: bytes) -> Step:
        if len(shown) >= HEADER_BYTES and shown[0] == TLS_HANDSHAKE and shown[1] == 3 and shown[2]:
            return Step(Next.TLS)  # no answer is so long
        head = _answer_head(shown)
        if isinstance(head, Step):
            return head
        length, capabilities = head
        if not capabilities & CLIENT_SSL or length > _FIXED_BYTES:
            text = "mutual TLS is required here: a MySQL client without ssl-mode=REQUIRED or better, and a certificate"
            return _refused(_SECURE_TRANSPORT_REQUIRED, text)
        if not capabilities & _CLIENT_PROTOCOL_41:
            return _refused(_HANDSHAKE_ERROR, "a client older than MySQL 4.1")
        return Step(Next.TLS, HEAD_BYTES)


class MysqlLocal:
    """For an application that need not speak TLS: takes the head of its answer, which says what it can do."""

    def __init__(self, greeting: bytes) -> None:
        self.opening = with_tls(greeting, offered=False)

    def look(self, shown: bytes) -> Step:
        head = _answer_head(shown)
        if isinstance(head, Step):
            return head
        _, capabilities = head
        if capabilities & CLIENT_SSL:
            return _refused(_HANDSHAKE_ERROR, "the application wants TLS, which is spoken for it here")
        if not capabilities & _CLIENT_PROTOCOL_41:
            return _refused(_HANDSHAKE_ERROR, "a client older than MySQL 4.1")
        return Step(Next.PLAIN, HEAD_BYTES)


def _answer_head(shown: bytes) -> tuple[int, int] | Step:
    """The length of a client's answer to a greeting, in bytes, and what it says it can do; or what is to be done where
    that is not there, or is none."""
    if len(shown) < HEADER_BYTES:
        return WAIT
    length, sequence = header_of(shown)
    if sequence != 1 or length < _FIXED_BYTES:
        return _refused(_HANDSHAKE_ERROR, "what was sent is not MySQL's answer to a greeting")
    if len(shown) < HEAD_BYTES:
        return WAIT
    return length, int.from_bytes(shown[HEADER_BYTES : HEADER_BYTES + 4], "little")


def _refused(code: int, text: str) -> Step:
    return Step(Next.REFUSED, 0, error(2, code, text), text)
