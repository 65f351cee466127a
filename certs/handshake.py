"""The trial handshake: in memory, as real as one on the network.

Both ends show a certificate and ask for one, in each TLS version that is spoken: so that what is too long, too new or
does not fit together is found before it is put to use.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from OpenSSL import SSL, crypto

from certs.certificate import show_certificate, show_chain
from certs.errors import MaterialError, MaterialReason
from certs.hostile import describe_error
from certs.identity import Role
from certs.material import Material
from certs.steps import Steps, at_once

MAX_FLIGHTS = 40  # of both ends: TLS 1.3 takes four, TLS 1.2 five
_CHUNK_BYTES = 64 * 1024
_SHOWN_ONE = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
_NOT_SPOKEN = ("unsupported protocol", "alert protocol version", "protocol version")


class _Version(NamedTuple):
    """``left_out``: the option by which the other end does not speak a newer one. ``alone``: the flights, numbered from
    0, that are not made in one step with the one before: those in which somebody signs or verifies after the first."""

    left_out: int
    alone: tuple[int, ...]


_VERSIONS = {"TLS 1.3": _Version(0, (1, 2, 3)), "TLS 1.2": _Version(SSL.OP_NO_TLSv1_3, (2, 3))}


def prove_handshake(material: Material, role: Role, now: datetime | None = None) -> None:
    """Shakes hands with ourselves, the material at the ``role`` end and a peer at the other that verifies it against
    the material's trust bundle, as of ``now`` (default: the system's clock).

    Raises :class:`MaterialError` (``handshake_failed``).
    """
    try:
        context, theirs = _context(material), _verifying_context(material, now)
        at_once(handshakes(context, material, server_side=role is Role.SERVER, theirs=theirs))
    except SSL.Error as error:
        raise _failed(role, describe_error(error)) from None


def handshakes(context: SSL.Context, material: Material, *, server_side: bool, theirs: SSL.Context) -> Steps[None]:
    """Shakes hands with ``context`` at our end and ``theirs``, such as a :func:`taking_context`, at the other. Each
    flight is a step, of some 0.4 ms where keys are on curves; a flight that takes no time goes with the one before.

    Raises :class:`MaterialError` (``handshake_failed``)."""
    role = Role.SERVER if server_side else Role.CLIENT
    failures: list[str] = []
    for number, (name, version) in enumerate(_VERSIONS.items()):
        if number:
            yield
        try:
            shown = yield from _shown(context, theirs, version, server_side=server_side)
        except SSL.Error as error:
            failures.append(f"{name}: {describe_error(error)}")
        else:
            if shown != material.leaf.der:
                raise _failed(role, f"{name}: the certificate shown was not the new one")
    # One of the two versions may be switched off; then it fails by that, and by nothing else.
    if len(failures) == len(_VERSIONS) or any(not failure.endswith(_NOT_SPOKEN) for failure in failures):
        raise _failed(role, "; ".join(failures))


def taking_context(material: Material) -> SSL.Context:
    """For the other end of :func:`handshakes`, however many: it takes whatever it is shown, since whether our chain
    leads to our trust is the preflight's to say. What it shows is our own leaf, and is taken, too. Raises
    :class:`OpenSSL.SSL.Error`."""
    return _context(material)


def _failed(role: Role, detail: str) -> MaterialError:
    return MaterialError(MaterialReason.HANDSHAKE_FAILED, f"as a {role.value}: {detail}")


def _shown(context: SSL.Context, partner: SSL.Context, version: _Version, *, server_side: bool) -> Steps[bytes]:
    ours, theirs = SSL.Connection(context), SSL.Connection(partner)
    ours.set_verify(_SHOWN_ONE, _take)
    if not server_side and theirs.get_verify_mode() == SSL.VERIFY_NONE:  # only who is asked shows one
        theirs.set_verify(_SHOWN_ONE, _take)
    theirs.set_options(version.left_out)
    client, server = (theirs, ours) if server_side else (ours, theirs)
    client.set_connect_state()
    server.set_accept_state()
    yield from _shake_hands(client, server, version.alone)
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


def _verifying_context(material: Material, now: datetime | None) -> SSL.Context:
    context = _context(material)
    context.set_verify(_SHOWN_ONE)
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    if now is not None:
        store.set_time(now)
    for authority in material.trust:
        store.add_cert(authority.openssl())
    return context


def _shake_hands(client: SSL.Connection, server: SSL.Connection, alone: Sequence[int]) -> Steps[None]:
    ends = [client, server]
    pending = [True, True]
    for flight in range(MAX_FLIGHTS):
        if not any(pending):
            return
        at = flight % 2
        if pending[at]:
            if flight in alone:
                yield
            try:
                ends[at].do_handshake()
                pending[at] = False
            except SSL.WantReadError:
                pass
            _carry(ends[at], ends[1 - at])
    raise MaterialError(MaterialReason.HANDSHAKE_FAILED, "the handshake did not end")


def _carry(source: SSL.Connection, target: SSL.Connection) -> None:
    while True:
        try:
            target.bio_write(source.bio_read(_CHUNK_BYTES))
        except SSL.WantReadError:
            return
