"""Which identity a server name chooses: RFC 9525's wildcards, the very name first, the first identity else."""

from __future__ import annotations

import pytest
from unit.certs import forge

from tlsidecar.dataplane.choice import Choice, Current
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.settings import Tls

ROOT = forge.authority()


def current(name: str, *dns: str) -> Current:
    material = forge.material(forge.leaf(ROOT, dns=list(dns), uris=["spiffe://td/x"]), trust=[ROOT])
    return Current(Contexts(1, material, Tls(), identity=name))


CHOICE = Choice(
    [
        current("first", "www.example", "*.apps.example"),
        current("second", "special.apps.example", "Mixed.Example", "*.example"),
        current("nameless"),
        current("third", "www.example", "*.deep.apps.example", "xn--bcher-kva.example"),
    ]
)


@pytest.mark.parametrize(
    ("server_name", "chosen"),
    [
        ("", "first"),
        ("nobody.test", "first"),
        ("www.example", "first"),
        ("WWW.EXAMPLE", "first"),
        ("www.example.", "first"),
        ("mixed.example", "second"),
        ("a.apps.example", "first"),
        ("special.apps.example", "second"),  # the very name, though an earlier identity has a wildcard for it
        ("a.deep.apps.example", "third"),
        ("a.b.apps.example", "first"),  # a wildcard stands for one label: this is nobody's
        ("*.deep.apps.example", "third"),
        ("xn--bcher-kva.example", "third"),
        ("deep.apps.example", "first"),
        ("apps.example", "first"),
        ("127.0.0.1", "first"),
        ("\\xff.example", "first"),
        ("..example", "first"),
    ],
)
def test_a_server_name_chooses(server_name: str, chosen: str) -> None:
    assert CHOICE.of(server_name).identity == chosen


def test_a_new_generation_is_chosen_from_its_own_names() -> None:
    one, other = current("one", "one.test"), current("other", "other.test")
    choice = Choice([one, other])
    other.contexts = current("other", "moved.test").contexts
    assert choice.of("moved.test").identity == "other"
    assert choice.of("other.test").identity == "one"


def test_a_wildcard_for_a_whole_top_level_domain_is_nobodys() -> None:
    choice = Choice([current("one", "one.test"), current("other", "*.test")])
    assert choice.of("other.test").identity == "one"
