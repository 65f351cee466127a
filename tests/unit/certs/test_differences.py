"""What a rotation changed, and what it did not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.certs import forge
from unit.certs.forge import DAY, NOW, Made

from certs.differences import Difference, differences
from certs.material import Material

ROOT, OTHER = forge.authority(), forge.authority("Other Root")
KEY = forge.new_key()


def material(issuer: Made = ROOT, trust: list[Made] | None = None, **changes: object) -> Material:
    made = forge.leaf(issuer, **({"key": KEY, "starts": NOW, "ends": NOW + DAY} | changes))
    return forge.material(made, trust=trust or [ROOT])


BEFORE = material()


@pytest.mark.parametrize(
    ("after", "what", "was", "now"),
    [
        (material(dns=("web.internal", "shop.internal")), "names", "web.internal", "web.internal, shop.internal"),
        (material(uris=("https://a/b",), dns=()), "names", "web.internal", "https://a/b"),
        (material(OTHER), "issuer", "CN=Test Root", "CN=Other Root"),
        (material(ends=NOW + DAY / 2), "lifetime", "1d", "12h"),
        (material(subject=[(forge.NameOID.COMMON_NAME, "web")]), "subject", "", "CN=web"),
    ],
)
def test_one_difference_is_told_alone(after: Material, what: str, was: str, now: str) -> None:
    assert differences(BEFORE, after) == (Difference(what, was, now),)


def test_a_new_key_shows_by_its_digest() -> None:
    (found,) = differences(BEFORE, material(key=forge.new_key()))
    assert found.what == "key"
    assert found.before.startswith("EC P-256 ")
    assert found.before != found.after
    assert differences(BEFORE, material(key=forge.rsa_key(2048)))[0].after.startswith("RSA 2048 ")


def test_a_renewal_of_the_same_is_no_difference() -> None:
    later = material(starts=NOW + DAY / 2, ends=NOW + DAY * 3 / 2)
    assert later.leaf != BEFORE.leaf
    assert differences(BEFORE, later) == ()


def test_trust_is_told_of() -> None:
    (found,) = differences(BEFORE, replace(BEFORE, trust=material(trust=[ROOT, OTHER]).trust))
    assert found.what == "trust"
    assert "Other Root" in found.after
    assert "Other Root" not in found.before


def test_all_are_told_in_the_order_in_which_they_matter() -> None:
    after = material(OTHER, [OTHER], dns=("x.test",), key=forge.new_key(), ends=NOW + 2 * DAY)
    assert [each.what for each in differences(BEFORE, after)] == ["names", "issuer", "key", "lifetime", "trust"]
