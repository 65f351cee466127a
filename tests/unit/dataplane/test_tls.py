"""What a context shows of us, at either end."""

from __future__ import annotations

import contextlib

import pytest
from OpenSSL import SSL, crypto
from unit.certs import forge
from unit.certs.forge import Made

from certs.material import Material
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.settings import Tls

ROOT = forge.authority("Root")
MIDDLE = forge.authority("Middle", ROOT)
BY_ROOT, BY_MIDDLE = forge.leaf(ROOT), forge.leaf(MIDDLE)


def shown(material: Material, *, server_side: bool) -> list[bytes]:
    """The certificates that our end sends, as DER."""
    contexts = Contexts(1, material, Tls("1.3"))
    ours = SSL.Connection(contexts.server() if server_side else contexts.client())
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(BY_ROOT.certificate)
    context.use_privatekey(BY_ROOT.key)  # type: ignore[arg-type]
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    theirs = SSL.Connection(context)
    ours.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    server, client = (ours, theirs) if server_side else (theirs, ours)
    server.set_accept_state()
    client.set_connect_state()
    waiting = [client, server]
    for _ in range(10):
        for end, other in ((client, server), (server, client)):
            if end in waiting:
                try:
                    end.do_handshake()
                    waiting.remove(end)
                except SSL.WantReadError:
                    pass
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(65536))
    assert not waiting
    chain = theirs.get_peer_cert_chain() or []
    first = [] if server_side else [theirs.get_peer_certificate()]  # which a server's view of the chain does not have
    return [crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in (*first, *chain) if each is not None]


@pytest.mark.parametrize("server_side", [True, False])
@pytest.mark.parametrize(
    ("leaf", "chain", "trust", "expected"),
    [
        pytest.param(BY_ROOT, (), (ROOT,), (BY_ROOT,), id="OpenSSL looks for nothing to show, so the root stays here"),
        pytest.param(BY_MIDDLE, (MIDDLE,), (ROOT,), (BY_MIDDLE, MIDDLE), id="the chain of the file"),
        pytest.param(BY_MIDDLE, (), (ROOT, MIDDLE), (BY_MIDDLE, MIDDLE), id="what only the trust bundle has of it"),
        pytest.param(BY_MIDDLE, (), (MIDDLE,), (BY_MIDDLE, MIDDLE), id="an intermediate that is the anchor"),
        pytest.param(BY_MIDDLE, (MIDDLE, ROOT), (ROOT,), (BY_MIDDLE, MIDDLE, ROOT), id="a root in the file, as asked"),
    ],
)
def test_what_is_shown(
    leaf: Made, chain: tuple[Made, ...], trust: tuple[Made, ...], expected: tuple[Made, ...], *, server_side: bool
) -> None:
    material = forge.material(leaf, *chain, trust=trust)
    assert shown(material, server_side=server_side) == [each.der for each in expected]
