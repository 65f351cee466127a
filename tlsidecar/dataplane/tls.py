"""TLS contexts: one set per generation of material, built whole, proved, and never changed after.

Changing a context that is in use is how proxies lose their key: a mismatched pair leaves it without one, and trust only
ever grows. So a new generation is new contexts, and a connection keeps the ones it was accepted under.
"""

from __future__ import annotations

from functools import cached_property

from OpenSSL import SSL, crypto

from certs.certificate import name_authorities, show_certificate, show_chain
from certs.errors import MaterialError, MaterialReason
from certs.form import ChainForms
from certs.handshake import handshakes
from certs.identity import Identity
from certs.material import Material
from certs.served import PROBE_PROTOCOL
from certs.steps import Steps, at_once
from certs.vouching import vouched_issuer
from tlsidecar.dataplane.engine import install_chooser, install_verifier, notice_requests, select_protocol
from tlsidecar.dataplane.offers import restrict
from tlsidecar.settings import DEFAULT_IDENTITY, ListenerSettings, Mode, Tls

# TLS 1.2: forward secrecy and AEAD only; 1.3 has nothing else (RFC 9325 section 4.2).
TLS12_CIPHERS = b"ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"

# AES-128 first, as browsers, Go and Envoy have it: a tenth more bulk per CPU than AES-256 (docs/performance.md), and
# both are far out of reach. A client that puts ChaCha20 first has no AES hardware, and gets what it asks for.
TLS13_CIPHERS = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_OP_PRIORITIZE_CHACHA = 1 << 21  # openssl/ssl.h

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

# SESS_CACHE_OFF with OP_NO_TICKET: no resumption. A resumed session would skip the check for revocation and the
# access rules' fresh look, and full handshakes without tickets are cheaper than full ones with them.
_OPTIONS = (
    SSL.OP_NO_TICKET
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | _OP_PRIORITIZE_CHACHA
    | getattr(SSL, "OP_NO_RENEGOTIATION", 0x40000000)
)

# The names of the CAs whose certificates we take, in a CertificateRequest. The list must not pass 64 KiB (RFC 8446
# section 4.2.4), Java takes no message over 32 KiB, and some small clients none that needs a second record (16 KiB).
# Longer than this it is left empty, which means "any" (RFC 5246 section 7.4.4): a shortened one would tell the clients
# of the CAs that were left out to show nothing.
MAX_AUTHORITY_NAMES_BYTES = 15 * 1024


class ProofError(Exception):
    """The trial handshake with a new context failed: the text says why."""


class Contexts:
    """The contexts of one generation of an identity, made when first asked for."""

    def __init__(
        self,
        generation: int,
        material: Material,
        tls: Tls,
        *,
        soft_crl: bool = False,
        identity: str = DEFAULT_IDENTITY,
    ) -> None:
        """``identity`` is the name of the identity whose material it is."""
        self.identity = identity
        self.generation = generation
        self.material = material
        self.soft_crl = soft_crl
        self._tls = tls
        self.forms = ChainForms()
        self._made: dict[tuple[bool, tuple[bytes, ...], bool], SSL.Context] = {}
        self._anchors: dict[str, frozenset[bytes]] = {}  # digests of the CAs good for a trust domain

    def __repr__(self) -> str:
        return f"<Contexts {self.identity} generation={self.generation} serial={self.material.identity.serial}>"

    @cached_property
    def dns_names(self) -> frozenset[str]:
        """The DNS names that the leaf is for, in lower case: a wildcard is one that stands for a label below a domain
        of at least two (RFC 9525 section 6.3)."""
        names = (name.lower() for name in self.material.identity.dns)
        return frozenset(name for name in names if not name.startswith("*.") or "." in name[2:])

    def may_vouch(self, anchor: bytes, peer: Identity) -> bool:
        """Whether a chain that ends in the CA with this digest (SHA-256 of its DER) may vouch for ``peer``: with
        federated bundles OpenSSL is given all of them, and each is good for its own trust domain only."""
        anchors = self._anchors.get(peer.spiffe.trust_domain if peer.spiffe is not None else "")
        if anchors is None:
            anchors = frozenset(bytes.fromhex(each.sha256) for each in self.material.anchors_for(peer))
            if peer.spiffe is None or peer.spiffe.trust_domain in self.material.federated:
                self._anchors[peer.spiffe.trust_domain if peer.spiffe is not None else ""] = anchors
        return anchor in anchors

    def server(self, alpn: tuple[bytes, ...] = (), *, chooses: bool = False) -> SSL.Context:
        """For accepting mutual TLS, agreeing on the first of ``alpn`` that the client offers; with ``chooses`` each
        stream's verifier is asked for another one by the client's server name. Raises :class:`OpenSSL.SSL.Error` when
        OpenSSL will not have the material."""
        return self._context(alpn, server_side=True, chooses=chooses)

    def client(self, alpn: tuple[bytes, ...] = ()) -> SSL.Context:
        """For originating mutual TLS, offering ``alpn``."""
        return self._context(alpn, server_side=False)

    def make(self, listener: ListenerSettings) -> SSL.Context:
        """The one that ``listener`` begins its handshakes with, where this is the identity it begins with, or else the
        one it goes on with. Raises :class:`OpenSSL.SSL.Error`."""
        if listener.mode is Mode.ORIGINATE:
            return self.client(listener.offered)
        return self.server(listener.offered, chooses=self._chooses(listener))

    def make_in_steps(self, listener: ListenerSettings) -> Steps[SSL.Context]:
        """:meth:`make`, for who has other things to do meanwhile."""
        server_side = listener.mode is Mode.TERMINATE
        key = (server_side, listener.offered, server_side and self._chooses(listener))
        made = self._made.get(key)
        return made if made is not None else (yield from self._made_in_steps(*key))

    def _chooses(self, listener: ListenerSettings) -> bool:
        return len(listener.identities) > 1 and self.identity == listener.identities[0]

    def _context(self, alpn: tuple[bytes, ...], *, server_side: bool, chooses: bool = False) -> SSL.Context:
        made = self._made.get((server_side, alpn, chooses))
        return made if made is not None else at_once(self._made_in_steps(server_side, alpn, chooses))

    def _made_in_steps(self, server_side: bool, alpn: tuple[bytes, ...], chooses: bool) -> Steps[SSL.Context]:
        made = yield from _build(self.material, alpn, self._tls, server_side=server_side)
        if chooses:
            install_chooser(made)
        self._made[server_side, alpn, chooses] = made
        return made


def trial_handshakes(
    context: SSL.Context, material: Material, *, server_side: bool, theirs: SSL.Context
) -> Steps[None]:
    """Shake hands in memory with a new context (:func:`certs.handshake.handshakes`). Raises :class:`ProofError`."""
    try:
        yield from handshakes(context, material, server_side=server_side, theirs=theirs)
    except MaterialError as error:
        raise ProofError(error.detail) from None


def _build(material: Material, alpn: tuple[bytes, ...], tls: Tls, *, server_side: bool) -> Steps[SSL.Context]:
    """Empty, with what it shows, and with whom it trusts: each is a step, of some 0.4 ms."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD if server_side else SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(_VERSIONS[tls.min_version])
    restrict(context, tls, material.leaf)
    context.set_cipher_list(TLS12_CIPHERS)
    context.set_tls13_ciphersuites(TLS13_CIPHERS)
    context.set_options(_OPTIONS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_id(b"tlsidecar")
    yield
    _load_pair(context, material)
    yield
    _load_trust(context, material)
    if server_side:
        if sum(len(authority.subject.der) + 2 for authority in material.authorities) <= MAX_AUTHORITY_NAMES_BYTES:
            name_authorities(context, material.authorities)
        install_verifier(context, SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    else:
        install_verifier(context, SSL.VERIFY_PEER)
        notice_requests(context)
    if server_side:
        select_protocol(context, (PROBE_PROTOCOL, *alpn))
    elif alpn:
        context.set_alpn_protos(list(alpn))
    return context


def _load_pair(context: SSL.Context, material: Material) -> None:
    show_certificate(context, material.leaf)
    show_chain(context, material.shown_chain)
    context.use_privatekey(material.key.reveal())
    context.check_privatekey()


def _load_trust(context: SSL.Context, material: Material) -> None:
    store = context.get_cert_store()
    assert store is not None
    for authority in material.authorities:
        store.add_cert(authority.openssl())
    vouched = vouched_issuer(material)
    if vouched is not None:
        store.add_cert(vouched.openssl())
    flags = crypto.X509StoreFlags.X509_STRICT | crypto.X509StoreFlags.PARTIAL_CHAIN
    for revocations in material.crls:
        try:
            revocations.add_to(store)
        except crypto.Error:
            detail = f"OpenSSL cannot read the CRL of {revocations.issuer}"
            raise MaterialError(MaterialReason.CRL_INVALID, detail) from None
    if material.crls:
        flags |= crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
    store.set_flags(flags)
