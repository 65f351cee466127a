"""With federated bundles a peer is judged by its own trust domain's CAs and by no others, on both engines."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType

import pytest
from OpenSSL import SSL
from unit.certs import forge
from unit.certs.forge import DAY, Made

from certs.certificate import Certificate
from certs.identity import IdentityCache, Role
from certs.material import Material
from tlsidecar.dataplane import stream_fast, stream_portable, tls
from tlsidecar.dataplane.policy import PeerJudge, Policy
from tlsidecar.dataplane.stream import DONE, WANT_READ
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Address, ListenerSettings, Mode, Tls

NOW = datetime.now(UTC).replace(microsecond=0)  # OpenSSL looks at the real clock
LONG = {"starts": NOW - 10 * DAY, "ends": NOW + 10 * DAY}


def root(name: str) -> Made:
    return forge.authority(name, **LONG)  # type: ignore[arg-type]


def leaf(issuer: Made, uri: str = "", **changes: object) -> Made:
    names = {"dns": (), "uris": (uri,)} if uri else {"dns": ("plain.internal",)}
    return forge.leaf(issuer, **(names | {"starts": NOW - DAY, "ends": NOW + DAY} | changes))


OWN, PARTNER, OTHER = root("Own"), root("Partner"), root("Other")
BELOW = forge.authority("Partner Issuing", PARTNER, **LONG)  # type: ignore[arg-type]
MATERIAL = replace(
    forge.material(leaf(OWN, "spiffe://own.example/us"), trust=[OWN]),
    federated={
        "partner.example": (Certificate.of(PARTNER.certificate),),
        "empty.example": (),
    },
)

PEERS = {
    "our own domain, our own CA": (True, [leaf(OWN, "spiffe://own.example/a")]),
    "a federated domain, its CA": (True, [leaf(PARTNER, "spiffe://partner.example/a")]),
    "a federated domain, by an intermediate": (True, [leaf(BELOW, "spiffe://partner.example/a"), BELOW]),
    "a federated CA for our domain": (False, [leaf(PARTNER, "spiffe://own.example/a")]),
    "our CA for a federated domain": (False, [leaf(OWN, "spiffe://partner.example/a")]),
    "our CA for a domain that nobody knows": (False, [leaf(OWN, "spiffe://unknown.example/a")]),
    "a federated CA for a domain that nobody knows": (False, [leaf(PARTNER, "spiffe://unknown.example/a")]),
    "a domain whose bundle is empty": (False, [leaf(PARTNER, "spiffe://empty.example/a")]),
    "no SPIFFE ID, our CA": (True, [leaf(OWN)]),
    "no SPIFFE ID, a federated CA": (False, [leaf(PARTNER)]),
    "a CA that nobody trusts": (False, [leaf(OTHER, "spiffe://own.example/a")]),
}


def listener() -> ListenerSettings:
    here = Address("127.0.0.1", 1)
    return ListenerSettings("web", Mode.TERMINATE, here, (here,), allow=("any",))


def judged(
    engine: ModuleType, material: Material, peer: Made, *chain: Made, monkeypatch: pytest.MonkeyPatch
) -> PeerJudge:
    monkeypatch.setattr(tls, "install_verifier", engine.install_verifier)
    contexts = tls.Contexts(1, material, Tls("1.3"))
    judge = PeerJudge(
        Policy.of(listener()),
        Role.CLIENT,
        IdentityCache(),
        contexts.forms,
        soft_crl=False,
        may_vouch=contexts.may_vouch,
    )
    client = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client.use_certificate(peer.certificate)
    client.use_privatekey(peer.key)  # type: ignore[arg-type]
    for each in chain:
        client.add_extra_chain_cert(each.certificate)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        make = engine.FastStream if engine is stream_fast else engine.PortableStream
        stream = make(contexts.server(), near, judge, server_side=True)
        remote = SSL.Connection(client, far)
        remote.set_connect_state()
        answer = WANT_READ
        while answer == WANT_READ:
            with contextlib.suppress(SSL.WantReadError):
                remote.do_handshake()
            answer = stream.handshake()
        stream.release()
    assert (answer == DONE) == (judge.reason is None)
    return judge


@pytest.mark.parametrize("engine", [stream_fast, stream_portable], ids=["fast", "portable"])
@pytest.mark.parametrize("peer", PEERS)
def test_each_trust_domain_vouches_for_itself(engine: ModuleType, peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    is_let_in, chain = PEERS[peer]
    judge = judged(engine, MATERIAL, *chain, monkeypatch=monkeypatch)
    assert (judge.reason is None) is is_let_in
    if not is_let_in:
        assert judge.reason is Reason.UNKNOWN_CA


def test_who_may_not_vouch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, chain = PEERS["a federated CA for our domain"]
    assert (
        "may not vouch for its trust domain, own.example"
        in judged(stream_fast, MATERIAL, *chain, monkeypatch=monkeypatch).detail
    )


def test_the_answers_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = tls.Contexts(1, MATERIAL, Tls("1.3"))
    anchor = bytes.fromhex(Certificate.of(OWN.certificate).sha256)
    for number in range(50):
        assert not contexts.may_vouch(anchor, leaf(OWN, f"spiffe://d{number}.example/a").identity)
    assert len(contexts._anchors) <= len(MATERIAL.federated) + 1
