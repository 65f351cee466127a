"""ClientHellos, whole or spoilt, as bytes: made by OpenSSL in memory, then taken apart."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

from OpenSSL import SSL

from support.mtls import client_context
from support.pki import Pair

HANDSHAKE_RECORD = 0x16


def client_hello(trust: Path, pair: Pair | None = None, *, name: bytes = b"localhost") -> bytes:
    """One whole record with a ClientHello that asks for ``name``."""
    tls = SSL.Connection(client_context(trust, pair))
    tls.set_connect_state()
    if name:
        tls.set_tlsext_host_name(name)
    with contextlib.suppress(SSL.WantReadError):
        tls.do_handshake()
    hello: bytes = tls.bio_read(65536)
    return hello


def record(content: bytes) -> bytes:
    return struct.pack("!BHH", HANDSHAKE_RECORD, 0x0301, len(content)) + content


def message(body: bytes) -> bytes:
    """A ClientHello message of this body, without its record."""
    return b"\x01" + len(body).to_bytes(3, "big") + body


def in_records_of(hello: bytes, size: int) -> bytes:
    """The same hello with so many bytes in each record."""
    content = hello[5:]
    return b"".join(record(content[at : at + size]) for at in range(0, len(content), size))


def with_extensions(extensions: bytes) -> bytes:
    """A hello of the shape of RFC 8446 section 4.1.2, with these extensions."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    return message(body + struct.pack("!H", len(extensions) & 0xFFFF) + extensions)
