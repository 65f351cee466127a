"""The trial handshake: in memory, as real as one on the network.

Both ends show a certificate and ask for one, in each TLS version that is spoken: so that what is too long, too new or
does not fit together is found before it is put to use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from OpenSSL import SSL, crypto

from certs.certificate import show_certificate, show_chain
from certs.errors import MaterialError, MaterialReason
from certs.hostile import describe_error
from certs.identity import Role
from certs.material import Material

MAX_FLIGHTS = 20  # a TLS 1.2 handshake takes five
_CHUNK_BYTES = 64 * 1024
_VERSIONS = {"TLS 1.3": SSL.TLS1_3_VERSION, "TLS 1.2": SSL.TLS1_2_VERSION}
_NOT_SPOKEN = ("unsupported protocol", "alert protocol version", "protocol version")


def prove_handshake(material: Material, role: Role, now: datetime | None = None) -> None:
    """Shakes hands with ourselves, the material at the ``role`` end and a peer at the other that verifies it against
    the material's trust bundle, as of ``now`` (default: the system's clock).

    Raises :class:`MaterialError` (``handshake_failed``).
    """
    try:
        context = _context(material)
        partner = lambda: _verifying_context(material, now)  # noqa: E731
        prove_context(context, material, server_side=role is Role.SERVER, partner=partner)
    except SSL.Error as error:
        raise _failed(role, describe_error(error)) from None


def prove_context(
    context: SSL.Context, material: Material, *, server_side: bool, partner: Callable[[], SSL.Context] | None = None
) -> None:
    """:func:`handshakes`, one after the other."""
    for _ in handshakes(context, material, server_side=server_side, partner=partner):
        pass


def handshakes(
    context: SSL.Context, material: Material, *, server_side: bool, partner: Callable[[], SSL.Context] | None = None
) -> Iterator[None]:
    """Shakes hands with ``context`` at our end and what ``partner`` makes at the other; yields after each handshake,
    which takes some 2 ms, for who has other things to do meanwhile.

    By default the other end takes whatever it is shown, since whether our chain leads to our trust is the preflight's
    to say. What it shows is our own leaf, and is taken, too. Raises :class:`MaterialError` (``handshake_failed``)."""
    role = Role.SERVER if server_side else Role.CLIENT
    failures: list[str] = []
    for name, version in _VERSIONS.items():
        theirs = partner() if partner is not None else _taking_context(material)
        theirs.set_max_proto_version(version)
        try:
            shown = _shown(context, theirs, server_side=server_side)
        except SSL.Error as error:
            failures.append(f"{name}: {describe_error(error)}")
        else:
            if shown != material.leaf.der:
                raise _failed(role, f"{name}: the certificate shown was not the new one")
        yield
    # One of the two versions may be switched off; then it fails by that, and by nothing else.
    if len(failures) == len(_VERSIONS) or any(not failure.endswith(_NOT_SPOKEN) for failure in failures):
        raise _failed(role, "; ".join(failures))


def _failed(role: Role, detail: str) -> MaterialError:
    return MaterialError(MaterialReason.HANDSHAKE_FAILED, f"as a {role.value}: {detail}")


def _shown(context: SSL.Context, partner: SSL.Context, *, server_side: bool) -> bytes:
    ours, theirs = SSL.Connection(context), SSL.Connection(partner)
    ours.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _take)
    client, server = (theirs, ours) if server_side else (ours, theirs)
    client.set_connect_state()
    server.set_accept_state()
    _shake_hands(client, server)
    leaf = theirs.get_peer_certificate()
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf) if leaf is not None else b""


def _take(_connection: SSL.Connection, _certificate: crypto.X509, _error: int, _depth: int, _passed: int) -> bool:
    return True


def _context(material: Material) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_session_id(b"tlsidecar-proof")
    show_certificate(context, material.leaf)
    show_chain(context, material.shown_chain)
    context.use_privatekey(material.key.reveal())
    context.check_privatekey()
    return context


def _taking_context(material: Material) -> SSL.Context:
    context = _context(material)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _take)
    return context


def _verifying_context(material: Material, now: datetime | None) -> SSL.Context:
    context = _context(material)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    if now is not None:
        store.set_time(now)
    for authority in material.trust:
        store.add_cert(authority.openssl())
    return context


def _shake_hands(client: SSL.Connection, server: SSL.Connection) -> None:
    ends = [client, server]
    pending = [True, True]
    for _ in range(MAX_FLIGHTS):
        for index, end in enumerate(ends):
            if pending[index]:
                try:
                    end.do_handshake()
                    pending[index] = False
                except SSL.WantReadError:
                    pass
            _carry(end, ends[1 - index])
        if not any(pending):
            return
    raise MaterialError(MaterialReason.HANDSHAKE_FAILED, "the handshake did not end")


def _carry(source: SSL.Connection, target: SSL.Connection) -> None:
    while True:
        try:
            target.bio_write(source.bio_read(_CHUNK_BYTES))
        except SSL.WantReadError:
            return
