"""Material: what it shows, what it hides, and how it crosses to another process."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, x25519
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.certs import forge

from certs.errors import MaterialError, MaterialReason
from certs.identity import Identity
from certs.material import Material, PrivateKey

ROOT = forge.authority()
MIDDLE = forge.authority("Middle", ROOT)
LEAF = forge.leaf(MIDDLE, uris=["spiffe://td/web"])
OTHER_DOMAIN = forge.authority("Other domain")
MATERIAL = forge.material(
    LEAF,
    MIDDLE,
    trust=[ROOT],
    crls=(forge.revocations(MIDDLE, 5),),
    source="files: a, b",
    notes=("a warning",),
    federated={"other.example": (OTHER_DOMAIN.read,), "empty.example": ()},
)


def test_what_comes_again_to_another_process_is_the_same_object_there() -> None:
    first = Material.from_bytes(MATERIAL.to_bytes())
    renewed = forge.material(forge.leaf(MIDDLE), MIDDLE, trust=[ROOT], federated=MATERIAL.federated)
    second = Material.from_bytes(renewed.to_bytes())
    assert second.leaf != first.leaf
    pairs = zip((*second.chain, *second.authorities), (*first.chain, *first.authorities), strict=True)
    assert all(one is other for one, other in pairs)


@pytest.mark.parametrize(
    "made", [LEAF, forge.leaf(ROOT, key=forge.rsa_key(2048)), forge.leaf(ROOT, key=forge.ed25519_key())]
)
def test_it_crosses_to_another_process_unchanged(made: forge.Made) -> None:
    material = forge.material(made, MIDDLE, trust=[ROOT], crls=MATERIAL.crls, federated=MATERIAL.federated)
    copied = Material.from_bytes(material.to_bytes())
    assert copied.digest == material.digest
    assert copied.key.to_der() == material.key.to_der()
    assert copied.identity == material.identity


def test_source_and_notes_cross_too() -> None:
    copied = Material.from_bytes(MATERIAL.to_bytes())
    assert (copied.source, copied.notes, copied.federated) == (MATERIAL.source, MATERIAL.notes, MATERIAL.federated)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damage_on_the_way_is_noticed_or_harmless(data: st.DataObject) -> None:
    whole = MATERIAL.to_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        position = data.draw(st.integers(0, len(whole) - 1))
        damaged = whole[:position] + bytes([data.draw(st.integers(0, 255))]) + whole[position + 1 :]
    try:
        copied = Material.from_bytes(damaged)
    except MaterialError as error:
        assert error.reason is MaterialReason.HANDOVER_INVALID  # noqa: PT017 - damage may also go unnoticed
        return
    assert isinstance(copied, Material)


def test_the_digest_tells_every_public_part_apart() -> None:
    variants = [
        MATERIAL,
        forge.material(LEAF, trust=[ROOT]),
        forge.material(LEAF, MIDDLE, trust=[ROOT]),
        forge.material(LEAF, trust=[MIDDLE, ROOT]),
        forge.material(LEAF, trust=[ROOT, MIDDLE]),
        forge.material(LEAF, trust=[ROOT], crls=MATERIAL.crls),
        forge.material(LEAF, trust=[ROOT], federated={"a": (OTHER_DOMAIN.read,)}),
        forge.material(LEAF, trust=[ROOT], federated={"b": (OTHER_DOMAIN.read,)}),
        forge.material(forge.leaf(MIDDLE, key=LEAF.key), trust=[ROOT]),
    ]
    assert len({material.digest for material in variants}) == len(variants)
    assert forge.material(LEAF, trust=[ROOT], source="x", notes=("y",)).digest == variants[1].digest


def test_the_key_does_not_show_itself() -> None:
    shown = _traceback_with_locals(MATERIAL, MATERIAL.key)
    assert "PrivateKey(redacted)" in shown
    secret = LEAF.key.private_numbers().private_value  # type: ignore[union-attr]
    for text in (repr(MATERIAL), str(MATERIAL.key), f"{MATERIAL.key!r}", repr(MATERIAL.__dict__), shown):
        assert str(secret) not in text
        assert f"{secret:x}" not in text
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(MATERIAL.key)


def _traceback_with_locals(material: Material, key: PrivateKey) -> str:
    try:
        raise RuntimeError(material, key)
    except RuntimeError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def test_each_trust_domain_vouches_for_its_own() -> None:
    def peer(**changes: object) -> Identity:
        return forge.leaf(ROOT, **changes).identity

    assert MATERIAL.anchors_for(peer(uris=["spiffe://other.example/a"])) == (OTHER_DOMAIN.read,)
    assert MATERIAL.anchors_for(peer(uris=["spiffe://empty.example/a"])) == ()
    assert MATERIAL.anchors_for(peer(uris=["spiffe://td/a"])) == MATERIAL.trust
    assert MATERIAL.anchors_for(peer(uris=["spiffe://third.example/a"])) == ()
    assert MATERIAL.anchors_for(peer(dns=["other.example"])) == MATERIAL.trust
    alone = forge.material(LEAF, trust=[ROOT])
    assert alone.anchors_for(peer(uris=["spiffe://other.example/a"])) == alone.trust


def test_the_repr_shows_the_state() -> None:
    assert repr(MATERIAL) == f"Material(serial={LEAF.identity.serial}, chain=1, trust=1, crls=1)"


def test_keys_that_cannot_sign_in_tls_are_refused() -> None:
    for key in (x25519.X25519PrivateKey.generate(), dsa.generate_private_key(1024)):
        with pytest.raises(MaterialError) as raised:
            PrivateKey(key)
        assert raised.value.reason is MaterialReason.UNSUPPORTED_KEY
