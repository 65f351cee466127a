"""Which leaf a TLS listener serves, read by a real handshake with it.

The handshake offers :data:`PROBE_PROTOCOL` by ALPN and shows the very leaf it expects. A sidecar that is asked so by
who holds its own key knows that it is being probed: it closes in order, records no refusal and connects to nothing. The
server name is one that the leaf is for: a listener may choose among several leaves by it. A listener whose protocol
begins with the server's greeting in the clear (SMTP, MySQL) has sent that before it sees who has come: it is skipped.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

from OpenSSL import SSL, crypto

from certs.certificate import Certificate, show_certificate, show_chain
from certs.errors import CertsError
from certs.hostile import describe_error
from certs.identity import serial_text
from certs.material import Material

PROBE_PROTOCOL = b"tlsidecar-probe"
# What a wildcard is asked for by.
PROBE_LABEL = "probe"
CONNECT_TIMEOUT_S = 5.0
PART_TIMEOUT_S = 1.0
_CHUNK_BYTES = 16 * 1024
_TLS_RECORDS = (21, 22)  # an alert, a handshake (RFC 8446 section 5.1)
_TLS_MAJOR = 3
_SMTP_GREETING = b"220 "
_MYSQL_HEADER_BYTES = 4  # three of length, one of sequence
_MOST_GREETING_BYTES = 512


class HandshakeRefused(CertsError):
    """No verified leaf was seen: nobody listens, or the handshake failed before."""


def served_serial(address: str, material: Material, timeout_s: float = CONNECT_TIMEOUT_S) -> str:
    """The serial, as lowercase hex, of the leaf served at ``address`` (``host:port`` or ``unix:/path``).

    Its chain is verified against the material's trust bundle; our own leaf is shown, whatever it is for. That the other
    side then turns us away is no failure: its leaf was proved before. Raises :class:`HandshakeRefused`.
    """
    seen: list[Certificate] = []

    def note_leaf(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
        if depth == 0 and ok:
            seen.append(Certificate(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)))
        return bool(ok)

    context = _client_context(material, note_leaf)
    failure = ""
    try:
        with _connect(address, timeout_s) as sock:
            connection = SSL.Connection(context)
            name = _server_name(material)
            if name:
                connection.set_tlsext_host_name(name.encode("idna"))
            _shake_hands(connection, sock)
            _part(connection, sock)
    except SSL.Error as error:
        failure = describe_error(error)
    except OSError as error:
        failure = error.strerror or str(error) or type(error).__name__
    if not seen:
        raise HandshakeRefused(f"{address}: {failure or 'no certificate was shown'}")
    return serial_text(seen[0].serial_number)


def _server_name(material: Material) -> str:
    """A DNS name that the leaf is for; empty where it has none."""
    names = material.identity.dns
    plain = next((name for name in names if not name.startswith("*")), "")
    return plain or (PROBE_LABEL + names[0][1:] if names else "")


def _client_context(
    material: Material, note_leaf: Callable[[SSL.Connection, crypto.X509, int, int, int], bool]
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_PEER, note_leaf)
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for authority in material.trust:
        store.add_cert(authority.openssl())
    show_certificate(context, material.leaf)
    show_chain(context, material.shown_chain)
    context.use_privatekey(material.key.reveal())
    context.set_alpn_protos([PROBE_PROTOCOL])
    return context


def _connect(address: str, timeout_s: float) -> socket.socket:
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        try:
            sock.connect(address.removeprefix("unix:"))
        except OSError:
            sock.close()
            raise
        return sock
    host, _, port = address.rpartition(":")
    return socket.create_connection((_reachable(host.strip("[]")), int(port)), timeout_s)


def _reachable(host: str) -> str:
    """A listener on every address is reached on the loopback one."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _shake_hands(connection: SSL.Connection, sock: socket.socket) -> None:
    connection.set_connect_state()
    begun = False
    while True:
        try:
            connection.do_handshake()
            return
        except SSL.WantReadError:
            pass
        finally:
            _flush(connection, sock)
        data = sock.recv(_CHUNK_BYTES)
        if not data:
            raise ConnectionResetError("the connection was closed during the handshake")
        if not begun:
            data, begun = _behind_greeting(data, sock), True
        connection.bio_write(data)


def _behind_greeting(data: bytes, sock: socket.socket) -> bytes:
    """What comes first, without the greeting of a protocol in which the server begins. Raises :class:`OSError`."""
    while len(data) < _MYSQL_HEADER_BYTES:
        data += _more(sock)
    if data[0] in _TLS_RECORDS and data[1] == _TLS_MAJOR:
        return data
    if data.startswith(_SMTP_GREETING):
        while (end := data.find(b"\n")) < 0:
            data += _more(sock)
        return data[end + 1 :] or _more(sock)
    whole = _MYSQL_HEADER_BYTES + int.from_bytes(data[:3], "little")
    if data[3] or whole > _MOST_GREETING_BYTES:
        return data  # whatever that is: it fails as TLS
    while len(data) <= whole:
        data += _more(sock)
    return data[whole:]


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(_CHUNK_BYTES)
    if not data:
        raise ConnectionResetError("the connection was closed during the handshake")
    return data


def _part(connection: SSL.Connection, sock: socket.socket) -> None:
    """Closes in order, and reads what still comes, so that the other side counts neither a truncation nor a reset."""
    connection.shutdown()
    _flush(connection, sock)
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(PART_TIMEOUT_S)
    while sock.recv(_CHUNK_BYTES):
        pass


def _flush(connection: SSL.Connection, sock: socket.socket) -> None:
    while True:
        try:
            sock.sendall(connection.bio_read(_CHUNK_BYTES))
        except SSL.WantReadError:
            return
