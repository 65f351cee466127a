"""The PROXY protocol, version 2, with the TLS TLVs: how a TCP service learns who is talking to it.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2.
"""

from __future__ import annotations

import socket
import struct

from certs.identity import Identity
from tlsidecar.dataplane.addresses import unmapped
from tlsidecar.dataplane.stream import Parameters

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_VERSION_2_PROXY = 0x21
_VERSION_2_LOCAL = 0x20
_TCP_OVER_IPV4 = 0x11
_TCP_OVER_IPV6 = 0x21
_UNSPECIFIED = 0x00

_ALPN = 0x01
_AUTHORITY = 0x02
_SSL = 0x20
_SSL_VERSION = 0x21
_SSL_COMMON_NAME = 0x22
_SSL_CIPHER = 0x23

# The peer used TLS and showed a certificate on this connection.
_CLIENT_TLS_WITH_CERTIFICATE = 0x01 | 0x02
_VERIFIED = 0

_MAX_TLV_BYTES = 1024


def header(peer: socket.socket, parameters: Parameters, identity: Identity | None) -> bytes:
    """The header for the connection accepted as ``peer``: its two addresses, then what TLS agreed on and the CN."""
    command, family, addresses = _addresses(peer)
    values = b""
    if parameters.alpn:
        values += _tlv(_ALPN, parameters.alpn.encode())
    if parameters.server_name:
        values += _tlv(_AUTHORITY, parameters.server_name.encode())
    details = _tlv(_SSL_VERSION, parameters.version.encode()) + _tlv(_SSL_CIPHER, parameters.cipher.encode())
    if identity is not None and identity.common_name:
        details += _tlv(_SSL_COMMON_NAME, identity.common_name.encode())
    values += _tlv(_SSL, struct.pack("!BI", _CLIENT_TLS_WITH_CERTIFICATE, _VERIFIED) + details)
    body = addresses + values
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def _addresses(peer: socket.socket) -> tuple[int, int, bytes]:
    try:
        source, destination = peer.getpeername(), peer.getsockname()
    except OSError:
        return _VERSION_2_LOCAL, _UNSPECIFIED, b""
    if peer.family == socket.AF_INET:
        packed = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
        return _VERSION_2_PROXY, _TCP_OVER_IPV4, packed + struct.pack("!HH", source[1], destination[1])
    if peer.family == socket.AF_INET6 and source[0] != unmapped(source[0]):
        packed = socket.inet_aton(unmapped(source[0])) + socket.inet_aton(unmapped(destination[0]))
        return _VERSION_2_PROXY, _TCP_OVER_IPV4, packed + struct.pack("!HH", source[1], destination[1])
    if peer.family == socket.AF_INET6:
        packed = b"".join(
            socket.inet_pton(socket.AF_INET6, name[0].partition("%")[0]) for name in (source, destination)
        )
        return _VERSION_2_PROXY, _TCP_OVER_IPV6, packed + struct.pack("!HH", source[1], destination[1])
    return _VERSION_2_PROXY, _UNSPECIFIED, b""


def _tlv(kind: int, value: bytes) -> bytes:
    value = value[:_MAX_TLV_BYTES]
    return struct.pack("!BH", kind, len(value)) + value
