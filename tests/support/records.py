"""TLS 1.3 records made by hand, for what no library sends: floods, empty records, one byte in each.

A client shakes hands as always; from its key log (RFC 9850) the traffic secret is known, and from then on this module
seals the client's records itself (RFC 8446 sections 5.2, 5.3 and 7.1).
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from support.mtls import TIMEOUT_S, Peer, client_context
from support.pki import Pair

ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23
_KEY_UPDATE = b"\x18\x00\x00\x01\x00"  # update_not_requested


class RecordWriter:
    """An established client connection on which every record can be written as one likes."""

    def __init__(self, port: int, trust: Path, pair: Pair) -> None:
        secrets: dict[str, bytes] = {}

        def note(_connection: SSL.Connection, line: bytes) -> None:
            label, _, secret = line.decode().split(" ")
            secrets[label] = bytes.fromhex(secret)

        context = client_context(trust, pair)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
        context.set_keylog_callback(note)
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = Peer(context, self.sock, name="localhost").handshake()
        self._secret = secrets["CLIENT_TRAFFIC_SECRET_0"]
        self._sequence = 0
        self._rekey()

    def seal(self, content: bytes, kind: int = APPLICATION_DATA, *, padding: int = 0) -> bytes:
        """One record with this content, to be sent in the order in which they are sealed."""
        inner = content + bytes([kind]) + b"\0" * padding
        head = struct.pack("!BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
        nonce = bytes(a ^ b for a, b in zip(self._iv, self._sequence.to_bytes(12, "big"), strict=True))
        self._sequence += 1
        return head + self._aead.encrypt(nonce, inner, head)

    def key_update(self) -> bytes:
        """A KeyUpdate; what is sealed after it uses the next key."""
        record = self.seal(_KEY_UPDATE, HANDSHAKE)
        self._secret = _expand(self._secret, b"traffic upd", 32)
        self._sequence = 0
        self._rekey()
        return record

    def send(self, records: bytes) -> None:
        self.sock.setblocking(True)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.sendall(records)
        self.sock.setblocking(False)

    def close(self) -> None:
        self.sock.close()

    def _rekey(self) -> None:
        self._aead = AESGCM(_expand(self._secret, b"key", 16))
        self._iv = _expand(self._secret, b"iv", 12)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    full = b"tls13 " + label
    info = struct.pack("!HB", length, len(full)) + full + b"\0"
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)
