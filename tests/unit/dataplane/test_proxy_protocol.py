"""The bytes of PROXY protocol v2, read back as a service reads them."""

from __future__ import annotations

import socket
import struct
from typing import Any, cast

import pytest
from cryptography.x509.oid import NameOID
from unit.certs import forge

from certs.identity import Identity
from tlsidecar.dataplane.proxy_protocol import SIGNATURE, header
from tlsidecar.dataplane.stream import Parameters

TLS = Parameters("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "shop.example", "h2")


class Peer:
    """A socket that was accepted, with the addresses of a test."""

    def __init__(self, family: int, source: Any, destination: Any) -> None:
        self.family = family
        self._source = source
        self._destination = destination

    def getpeername(self) -> Any:
        if self._source is None:
            raise OSError
        return self._source

    def getsockname(self) -> Any:
        return self._destination


def read(data: bytes) -> tuple[int, int, bytes, dict[int, bytes]]:
    """Command, family, addresses, and values by their type; those of the TLS one beside it."""
    assert data[:12] == SIGNATURE
    command, family, length = struct.unpack_from("!BBH", data, 12)
    body = data[16:]
    assert len(body) == length
    size = {0x11: 12, 0x21: 36}.get(family, 0)
    values: dict[int, bytes] = {}
    _values(body[size:], values)
    return command, family, body[:size], values


def _values(data: bytes, into: dict[int, bytes]) -> None:
    while data:
        kind, length = struct.unpack_from("!BH", data)
        into[kind], data = data[3 : 3 + length], data[3 + length :]
        if kind == 0x20:
            _values(into[kind][5:], into)


def sent(peer: Peer, tls: Parameters = TLS, identity: Identity | None = None) -> bytes:
    return header(cast("socket.socket", peer), tls, identity)


V4 = socket.inet_aton("192.0.2.1") + socket.inet_aton("198.51.100.7") + struct.pack("!HH", 4711, 8443)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "fe80::2")


@pytest.mark.parametrize(
    ("peer", "command", "family", "addresses"),
    [
        (Peer(socket.AF_INET, ("192.0.2.1", 4711), ("198.51.100.7", 8443)), 0x21, 0x11, V4),
        (
            Peer(socket.AF_INET6, ("::ffff:192.0.2.1", 4711, 0, 0), ("::ffff:198.51.100.7", 8443, 0, 0)),
            0x21,
            0x11,
            V4,
        ),
        (
            Peer(socket.AF_INET6, ("2001:db8::1", 4711, 0, 0), ("fe80::2%eth0", 8443, 0, 2)),
            0x21,
            0x21,
            V6 + struct.pack("!HH", 4711, 8443),
        ),
        (Peer(socket.AF_UNIX, "", "/run/web.sock"), 0x21, 0x00, b""),
        (Peer(socket.AF_INET, None, None), 0x20, 0x00, b""),  # it has gone: LOCAL, nobody's addresses
    ],
)
def test_addresses(peer: Peer, command: int, family: int, addresses: bytes) -> None:
    assert read(sent(peer))[:3] == (command, family, addresses)


def test_what_tls_agreed_on_and_the_common_name() -> None:
    pki = forge.authority()
    identity = Identity.from_der(forge.leaf(pki, subject=[(NameOID.COMMON_NAME, "Payments")]).der)
    values = read(sent(Peer(socket.AF_UNIX, "", ""), identity=identity))[3]
    assert {kind: values[kind] for kind in (0x01, 0x02, 0x21, 0x22, 0x23)} == {
        0x01: b"h2",
        0x02: b"shop.example",
        0x21: b"TLSv1.3",
        0x22: b"Payments",
        0x23: b"TLS_AES_128_GCM_SHA256",
    }
    assert values[0x20][:5] == bytes([0x03, 0, 0, 0, 0])  # TLS, with a certificate on this connection; verified


def test_what_is_not_known_is_left_out() -> None:
    values = read(sent(Peer(socket.AF_UNIX, "", ""), Parameters("TLSv1.2", "X", "", "", "")))[3]
    assert sorted(values) == [0x20, 0x21, 0x23]


def test_a_long_name_does_not_overrun_the_header() -> None:
    tls = TLS._replace(server_name="a" * 5000)
    assert len(read(sent(Peer(socket.AF_UNIX, "", ""), tls))[3][0x02]) == 1024
