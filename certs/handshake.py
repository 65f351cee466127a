"""A trial handshake in memory: proof that OpenSSL serves the material and accepts it against its own trust bundle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from certs.errors import MaterialError, MaterialReason
from certs.identity import Role
from certs.material import Material

MAX_FLIGHTS = 20  # a TLS 1.3 handshake takes three
_CHUNK_BYTES = 64 * 1024


def prove_handshake(material: Material, role: Role, now: datetime | None = None) -> None:
    """Shakes hands with ourselves, the material at the ``role`` end and a peer at the other that verifies it against
    the material's trust bundle, as of ``now`` (default: the system's clock).

    Raises :class:`MaterialError` (``handshake_failed``).
    """
    verifier = _verifying_context(material, now)
    try:
        presenter = _presenting_context(material)
        if role is Role.SERVER:
            client, server = SSL.Connection(verifier), SSL.Connection(presenter)
        else:
            _add_throwaway_certificate(verifier)
            client, server = SSL.Connection(presenter), SSL.Connection(verifier)
        client.set_connect_state()
        server.set_accept_state()
        _shake_hands(client, server)
    except SSL.Error as error:
        raise MaterialError(MaterialReason.HANDSHAKE_FAILED, f"as a {role.value}: {describe_error(error)}") from None


def describe_error(error: Exception) -> str:
    """OpenSSL's own words for a pyOpenSSL error, without its library and function names."""
    if error.args and isinstance(error.args[0], list):
        return "; ".join(entry[-1] for entry in error.args[0] if entry[-1]) or type(error).__name__
    return str(error) or type(error).__name__


def _presenting_context(material: Material) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(material.leaf)
    for certificate in material.chain:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(material.key.reveal())
    context.check_privatekey()
    return context


def _verifying_context(material: Material, now: datetime | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    if now is not None:
        store.set_time(now)
    for authority in material.trust:
        store.add_cert(crypto.X509.from_cryptography(authority))
    return context


def _add_throwaway_certificate(context: SSL.Context) -> None:
    """A server needs a certificate to talk at all; nobody looks at this one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "trial handshake")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    context.use_certificate(certificate)
    context.use_privatekey(key)


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
