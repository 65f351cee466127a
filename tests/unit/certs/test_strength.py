"""Which keys and signatures are taken, by real certificates of each kind."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from unit.certs import forge

from certs.strength import TAKEN, key_weakness, kind_of_key, signature_weakness


@pytest.mark.parametrize(
    ("key", "weakness"),
    [
        (forge.rsa_key(2048), ""),
        (forge.rsa_key(1024), "RSA 1024: at least 2048 bits are needed"),
        (ec.generate_private_key(ec.SECP256R1()), ""),
        (ec.generate_private_key(ec.SECP384R1()), ""),
        (ec.generate_private_key(ec.SECP521R1()), ""),
        (ec.generate_private_key(ec.SECP256K1()), f"a key on the curve secp256k1: {TAKEN}"),
        (forge.ed25519_key(), ""),
    ],
)
def test_keys(key: object, weakness: str) -> None:
    assert key_weakness(forge.leaf(forge.authority("Root"), key=key).read) == weakness


@pytest.mark.parametrize("algorithm", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_signatures_that_are_taken(algorithm: hashes.HashAlgorithm) -> None:
    """test_preflight.py has one with SHA-1, which only a program makes any more."""
    assert signature_weakness(forge.leaf(forge.authority("Root"), hash_algorithm=algorithm).read) == ""


def test_a_key_that_is_not_taken_is_told_by_its_kind() -> None:
    assert kind_of_key(None) == ""
    assert kind_of_key(ed448.Ed448PrivateKey.generate()) == "an Ed448 key"
    assert kind_of_key(ec.generate_private_key(ec.SECP256K1())) == "a key on the curve secp256k1"
