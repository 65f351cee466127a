"""The words for what OpenSSL finds wrong with a chain, and how much of one is kept."""

from __future__ import annotations

import pytest
from OpenSSL._util import ffi, lib

from tlsidecar.dataplane.policy import KEPT_CHAIN_BYTES, kept_chain, openssl_sentence

# OpenSSL finds these only where it is asked to look, and we do not ask: names of hosts, purposes of a caller's own,
# proxy certificates, Suite B, DANE, OCSP, certificate transparency, raw public keys; or as a note beside another.
NOT_ASKED = {*range(27, 32), 38, 39, 50, *range(56, 66), *range(69, 76), *range(95, 101)}


def known_to_openssl() -> list[int]:
    texts = {number: ffi.string(lib.X509_verify_cert_error_string(number)) for number in range(1, 200)}
    return [number for number, text in texts.items() if b"unknown certificate verification error" not in text]


@pytest.mark.parametrize("number", sorted(set(known_to_openssl()) - NOT_ASKED))
def test_each_error_that_can_come_has_a_sentence(number: int) -> None:
    assert str(number) not in openssl_sentence(number).split()


def test_another_is_told_by_its_number() -> None:
    assert openssl_sentence(999) == "OpenSSL verification error 999"


def test_so_much_is_kept_of_a_chain() -> None:
    third = bytes(KEPT_CHAIN_BYTES // 3)
    assert kept_chain([third] * 5) == (third,) * 3
    assert kept_chain([third, bytes(KEPT_CHAIN_BYTES), third]) == (third,)
    assert kept_chain([bytes(KEPT_CHAIN_BYTES + 1)]) == ()
