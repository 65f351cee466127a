"""Whom a context accepts does not depend on whether the issuer we share with our peers is an anchor of its own, but for
a peer that does not send that issuer's certificate."""

from __future__ import annotations

import contextlib
import socket
from datetime import UTC, datetime

import pytest
from cryptography import x509
from OpenSSL import SSL
from unit.certs import forge
from unit.certs.forge import DAY, Made

from certs.errors import MaterialError, MaterialReason
from certs.handshake import taking_context
from certs.material import Material
from tlsidecar.dataplane import tls
from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.stream import DONE, WANT_READ, Leaf
from tlsidecar.settings import Tls

NOW = datetime.now(UTC).replace(microsecond=0)  # OpenSSL looks at the real clock
LONG = {"starts": NOW - 10 * DAY, "ends": NOW + 10 * DAY}
SHORT = {"starts": NOW - DAY, "ends": NOW + DAY}


class Judge:
    """Takes OpenSSL's word."""

    def verify(self, error: int, depth: int, leaf: Leaf) -> int:
        return error


def handshake(material: Material, peer: Made, *chain: Made) -> tuple[bool, int]:
    """Whether a client with this chain is let in, and how many certificates its verified chain had."""
    context = tls.Contexts(1, material, Tls("1.3")).server()
    client = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client.use_certificate(peer.certificate)
    client.use_privatekey(peer.key)  # type: ignore[arg-type]
    for each in chain:
        client.add_extra_chain_cert(each.certificate)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        stream = Stream(context, near, Judge(), server_side=True)
        remote = SSL.Connection(client, far)
        remote.set_connect_state()
        answer = WANT_READ
        while answer == WANT_READ:
            with contextlib.suppress(SSL.WantReadError):
                remote.do_handshake()
            answer = stream.handshake()
        verified = stream.connection.get_verified_chain() if answer == DONE else None
        stream.release()
        return answer == DONE, len(verified or ())


def client(issuer: Made, **changes: object) -> Made:
    return forge.leaf(issuer, **({**SHORT} | changes))


ROOT = forge.authority(**LONG)  # type: ignore[arg-type]
ISSUER = forge.authority("Issuing", ROOT, path_length=0, **LONG)  # type: ignore[arg-type]
UNDER_IT = forge.authority("Under it", ISSUER, **LONG)  # type: ignore[arg-type]
SISTER = forge.authority("Sister", ROOT, path_length=0, **LONG)  # type: ignore[arg-type]
ELSEWHERE = forge.authority("Test Root", **LONG)  # type: ignore[arg-type]
NAMESAKE = forge.authority("Issuing", ELSEWHERE, path_length=0, **LONG)  # type: ignore[arg-type]

PEERS = {
    "of our issuer": (True, [client(ISSUER), ISSUER]),
    "of our issuer, which it does not send": (False, [client(ISSUER)]),
    "of our issuer, with the root": (True, [client(ISSUER), ISSUER, ROOT]),
    "of a sister": (True, [client(SISTER), SISTER]),
    "of a sister that it does not send": (False, [client(SISTER)]),
    "of the root": (True, [client(ROOT)]),
    "of a CA under our issuer, which may have none": (False, [client(UNDER_IT), UNDER_IT, ISSUER]),
    "of a namesake under a root of the same name": (False, [client(NAMESAKE), NAMESAKE]),
    "of a namesake, with our issuer": (False, [client(NAMESAKE), ISSUER]),
    "expired": (False, [client(ISSUER, ends=NOW - DAY / 2), ISSUER]),
    "for servers only": (False, [client(ISSUER, usages=[forge.SERVER]), ISSUER]),
}


@pytest.fixture(params=[True, False], ids=["vouched", "not vouched"])
def vouched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(tls, "vouched_issuer", lambda _material: None)
    return bool(request.param)


@pytest.mark.parametrize("name", PEERS)
def test_the_same_peers_are_let_in(vouched: bool, name: str) -> None:
    material = forge.material(client(ISSUER), ISSUER, trust=[ROOT])
    let_in, chain = PEERS[name]
    if name == "of our issuer, which it does not send":
        let_in = vouched  # the gap in its chain is one that we can fill
    assert handshake(material, *chain)[0] is let_in


def test_the_issuer_we_share_is_verified_once_for_all(vouched: bool) -> None:
    material = forge.material(client(ISSUER), ISSUER, trust=[ROOT])
    assert handshake(material, client(ISSUER), ISSUER) == (True, 2 if vouched else 3)
    assert handshake(material, client(SISTER), SISTER) == (True, 3)


def test_it_goes_with_its_generation() -> None:
    """Material that trusts another root lets none of the old issuer's peers in."""
    old = forge.material(client(ISSUER), ISSUER, trust=[ROOT])
    new_issuer = forge.authority("Issuing", ELSEWHERE, path_length=0, **LONG)  # type: ignore[arg-type]
    new = forge.material(client(new_issuer), new_issuer, trust=[ELSEWHERE])
    assert handshake(old, client(ISSUER), ISSUER)[0]
    assert not handshake(new, client(ISSUER), ISSUER)[0]
    assert handshake(new, client(new_issuer), new_issuer)[0]


def test_the_proof_finds_a_list_of_authorities_that_no_handshake_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    root = forge.authority(**LONG)
    many = [forge.authority(f"Certification Authority {number:038}") for number in range(1000)]
    material = forge.material(forge.leaf(root, **SHORT), trust=[root, *many])
    theirs = taking_context(material)
    for least in ("1.2", "1.3"):
        contexts = tls.Contexts(1, material, Tls(least))
        list(tls.trial_handshakes(contexts.server(), material, server_side=True, theirs=theirs))
        list(tls.trial_handshakes(contexts.client(), material, server_side=False, theirs=theirs))
    monkeypatch.setattr(tls, "MAX_AUTHORITY_NAMES_BYTES", 1 << 30)
    for least in ("1.2", "1.3"):
        context = tls.Contexts(1, material, Tls(least)).server()
        with pytest.raises(tls.ProofError):
            list(tls.trial_handshakes(context, material, server_side=True, theirs=theirs))


def test_a_list_that_openssl_cannot_read_is_refused_by_name() -> None:
    """An entry of another issuer's, in a list that does not say it is indirect: to our parser that is nothing odd."""
    root = forge.authority("Root", **LONG)
    foreign = x509.CertificateIssuer([x509.DirectoryName(root.certificate.subject)])
    crl = forge.revocations(root, 7, of_entries=[foreign])
    material = forge.material(client(root), root, trust=[root], crls=(crl,))
    with pytest.raises(MaterialError, match="OpenSSL cannot read the CRL of CN=Root") as refused:
        tls.Contexts(1, material, Tls()).server()
    assert refused.value.reason is MaterialReason.CRL_INVALID
