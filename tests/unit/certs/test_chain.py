"""Which certificates lead from a leaf up to a root."""

from __future__ import annotations

from datetime import datetime

import pytest
from unit.certs import forge

from certs.chain import between

ROOT = forge.authority("Root")
UPPER = forge.authority("Upper", ROOT)
LOWER = forge.authority("Lower", UPPER)
STRANGER = forge.authority("Upper")  # the name alone makes no issuer
LEAF = forge.leaf(LOWER)


@pytest.mark.parametrize(
    ("authorities", "expected"),
    [
        ((), ()),
        ((ROOT,), ()),
        ((LOWER,), (LOWER,)),
        ((ROOT, UPPER, LOWER), (LOWER, UPPER)),
        ((LOWER, ROOT), (LOWER,)),
        ((UPPER, ROOT), ()),
        ((STRANGER, LOWER, UPPER), (LOWER, UPPER)),
    ],
)
def test_in_order_without_the_root(authorities: tuple[forge.Made, ...], expected: tuple[forge.Made, ...]) -> None:
    found = between(LEAF.read, [each.read for each in authorities])
    assert found == tuple(each.read for each in expected)


def test_two_that_certified_each_other_end_it() -> None:
    one = forge.authority("One", forge.authority("Two"))
    leaf = forge.leaf(one)
    assert between(leaf.read, [one.read, one.read]) == (one.read,)


def test_the_newest_of_an_intermediate_that_was_renewed() -> None:
    key = forge.new_key()
    older = forge.authority("Middle", ROOT, key=key)
    newer = forge.authority("Middle", ROOT, key=key, ends=forge.NOW + 90 * forge.DAY)
    leaf = forge.leaf(older)
    for authorities in ([older.read, newer.read], [newer.read, older.read]):
        assert between(leaf.read, authorities)[0] == newer.read


def test_a_root_shows_nothing_more() -> None:
    assert between(ROOT.read, [ROOT.read]) == ()


@pytest.mark.parametrize("ends", [forge.NOW + forge.DAY, forge.NOW + 90 * forge.DAY])
def test_what_the_old_root_signed_of_the_new_one_is_shown(ends: datetime) -> None:
    """Whoever trusts the old one alone has no other way up."""
    key = forge.new_key()
    new_with_old = forge.authority("Root", ROOT, key=key, ends=ends)
    new = forge.authority("Root", key=key)
    leaf = forge.leaf(new)
    for authorities in ([new_with_old], [ROOT, new_with_old], [ROOT, new, new_with_old], [new_with_old, new]):
        assert between(leaf.read, [each.read for each in authorities]) == (new_with_old.read,)
