"""Messages of a SPIFFE agent: good ones, odd ones, and ones that are none."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import example, given
from hypothesis import strategies as st
from unit.certs import forge

from certs.certificate import Certificate
from certs.chain import spki
from certs.errors import MaterialError, MaterialReason
from certs.material import Material
from certs.workload_api import SvidResponse

WEB, OTHER = "spiffe://prod.example/ns/shop/sa/web", "spiffe://prod.example/ns/shop/sa/other"
ROOT = forge.authority()
FOREIGN = forge.authority("Partner Root")


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def item(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def svid(spiffe_id: str, hint: str = "", *, chain: bytes | None = None, bundle: bytes | None = None) -> bytes:
    leaf = LEAVES[spiffe_id]
    key = leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[union-attr]
    parts = [item(1, spiffe_id.encode()), item(2, leaf.der if chain is None else chain), item(3, key)]
    parts.append(item(4, ROOT.der if bundle is None else bundle))
    return item(1, b"".join([*parts, *([item(5, hint.encode())] if hint else [])]))


LEAVES = {each: forge.leaf(ROOT, forge.Wish(dns=(), uris=(each,))) for each in (WEB, OTHER)}
FEDERATED = item(3, item(1, b"spiffe://partner.example") + item(2, FOREIGN.der))


def material_of(message: bytes) -> Material:
    response = SvidResponse.parse(message)
    return response.material(response.choose(), "agent")


def refused(message: bytes) -> str:
    with pytest.raises(MaterialError) as failure:
        material_of(message)
    assert failure.value.reason is MaterialReason.AGENT_FAILED
    return failure.value.detail


def test_an_identity_becomes_material() -> None:
    response = SvidResponse.parse(svid(WEB) + FEDERATED)
    material = response.material(response.choose(), "SPIFFE agent")
    assert material.leaf == Certificate.of(LEAVES[WEB].certificate)
    assert material.trust == (Certificate.of(ROOT.certificate),)
    assert material.federated == {"partner.example": (Certificate.of(FOREIGN.certificate),)}
    assert material.key.spki == spki(LEAVES[WEB].certificate.public_key())
    assert material.source == "SPIFFE agent"


def test_the_first_is_the_default_and_others_are_asked_for() -> None:
    response = SvidResponse.parse(svid(WEB, "internal") + svid(OTHER, "external"))
    assert response.choose().spiffe_id == WEB
    assert response.choose(OTHER).spiffe_id == OTHER
    assert response.choose(hint="external").spiffe_id == OTHER
    with pytest.raises(MaterialError, match=r"no identity with the hint 'x', but .*/web \(internal\), .*other"):
        response.choose(hint="x")
    assert "key=" not in repr(response)


def test_a_bundle_of_our_own_domain_is_not_foreign() -> None:
    own = item(3, item(1, b"prod.example") + item(2, FOREIGN.der))
    response = SvidResponse.parse(svid(WEB) + own)
    assert response.material(response.choose(), "").federated == {}


def test_a_foreign_bundle_that_cannot_be_read_lets_nobody_of_it_in() -> None:
    response = SvidResponse.parse(svid(WEB) + item(3, item(1, b"partner.example") + item(2, FOREIGN.der[:-3])))
    material = response.material(response.choose(), "")
    assert material.federated == {"partner.example": ()}
    assert "partner.example" in material.notes[0]


def test_revocation_lists_come_with_it_whole_or_not_at_all() -> None:
    lists = [forge.revocations(ROOT, 7, 9), forge.revocations(FOREIGN)]
    crls = b"".join(item(2, each.der) for each in lists)
    assert [len(each) for each in material_of(svid(WEB) + crls + FEDERATED).crls] == [2, 0]
    for damaged in (b"", lists[0].der[:-1], lists[0].der + lists[1].der, ROOT.der):
        assert WEB in refused(svid(WEB) + item(2, damaged))


def test_fields_of_a_newer_agent_are_passed_over() -> None:
    newer = (
        varint(9 << 3)
        + varint(300)
        + item(10, b"x")
        + varint(11 << 3 | 5)
        + b"abcd"
        + varint(12 << 3 | 1)
        + b"abcdefgh"
    )
    assert SvidResponse.parse(newer + svid(WEB) + newer).choose().spiffe_id == WEB


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"", "no identity for us"),
        (b"\x0a", "a number that does not end"),
        (b"\x0a\x05ab", "longer than its message"),
        (b"\xff" * 20, "does not end"),
        (b"\x00\x01", "without a number"),
        (b"\x0b", "wire type 3"),
        (item(1, item(1, b"http://x")), "spiffe://"),
        (item(1, item(1, b"\xff\xfe")), "cannot be read"),
        (svid(WEB) + item(3, item(1, b"Not A Domain")), "trust domain"),
    ],
)
def test_what_is_no_message_is_told(message: bytes, said: str) -> None:
    assert said in refused(message)


def test_parts_that_do_not_belong_together_are_told() -> None:
    assert "the SVID is empty" in refused(svid(WEB, chain=b""))
    assert "the SVID cannot be read: cut short" in refused(svid(WEB, chain=LEAVES[WEB].der[:-1]))
    assert "the SVID cannot be read" in refused(svid(WEB, chain=b"\x30"))
    assert "the trust bundle is empty" in refused(svid(WEB, bundle=b""))
    assert f"says that it is {OTHER}" in refused(svid(WEB, chain=LEAVES[OTHER].der))


@given(st.binary(max_size=200))
@example(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")
def test_any_bytes_are_material_or_refused(message: bytes) -> None:
    refused(message)


WHOLE = svid(WEB) + FEDERATED


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_material_or_refused(position: int, flip: int) -> None:
    changed = bytearray(WHOLE)
    changed[position] ^= flip
    try:
        material_of(bytes(changed))
    except MaterialError as error:
        assert error.reason in (MaterialReason.AGENT_FAILED, MaterialReason.WEAK_KEY)  # noqa: PT017 - or none
