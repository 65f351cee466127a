"""The groups as OpenSSL is told them: hybrid ones first, the keys of two in a hello."""

from __future__ import annotations

import pytest
from OpenSSL import SSL
from unit.certs import forge

from tlsidecar.dataplane.offers import groups_text, offer_in_trial, restrict
from tlsidecar.settings import TLS_GROUPS, Tls


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (Tls().groups, "*X25519MLKEM768/*X25519:secp256r1:secp384r1"),
        (("P-256", "X25519"), "secp256r1:*X25519"),
        (("P-384", "P-521"), "*secp384r1:secp521r1"),
        (("X25519", "SecP384r1MLKEM1024", "X25519MLKEM768"), "*SecP384r1MLKEM1024:X25519MLKEM768/*X25519"),
        (("X25519MLKEM768",), "*X25519MLKEM768"),
    ],
)
def test_the_list(groups: tuple[str, ...], text: str) -> None:
    assert groups_text(groups) == text


def test_openssl_knows_each_that_may_be_asked_for() -> None:
    leaf = forge.leaf().read
    for group in TLS_GROUPS:
        offer_in_trial(SSL.Context(SSL.TLS_METHOD), Tls("1.3", (group,)))
        restrict(SSL.Context(SSL.TLS_METHOD), Tls("1.3", (group,)), leaf)
