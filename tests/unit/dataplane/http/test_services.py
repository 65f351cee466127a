"""By what a client's rate is counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certs.identity import Identity
from tlsidecar.dataplane.http.services import rate_key

from .identities import identity

NAMELESS = replace(identity(subject="O=Acme"), common_name="", name="")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (replace(NAMELESS, ips=("192.0.2.1",)), replace(NAMELESS, ips=("192.0.2.2",))),
        (replace(NAMELESS, emails=("a@example.org",)), replace(NAMELESS, emails=("b@example.org",))),
        (replace(NAMELESS, uris=("urn:uuid:1",)), replace(NAMELESS, uris=("urn:uuid:2",))),
        (replace(NAMELESS, dns=("a.test", "b.test")), replace(NAMELESS, dns=("a.test",))),
        (identity(subject="CN=client,O=a"), identity(subject="CN=client,O=b")),
        (replace(NAMELESS, sha256="01"), replace(NAMELESS, sha256="02")),
    ],
    ids=["address", "mail", "urn", "second name", "subject", "nothing"],
)
def test_who_is_somebody_else_has_a_rate_of_its_own(one: Identity, other: Identity) -> None:
    same_name = replace(other, name=one.name)
    assert rate_key(one, "192.0.2.7") != rate_key(same_name, "192.0.2.7")


def test_a_renewed_certificate_keeps_its_rate_and_addresses_are_for_those_without() -> None:
    one = identity(dns=("a.test",))
    assert rate_key(one, "192.0.2.7") == rate_key(replace(one, sha256="ffff", serial="02"), "192.0.2.8")
    assert rate_key(None, "192.0.2.7") != rate_key(None, "192.0.2.8")
