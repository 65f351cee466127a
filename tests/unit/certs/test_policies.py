"""Whether the policies in a chain hold, where a CA requires that one does (RFC 5280 section 6.1)."""

from __future__ import annotations

import pytest
from OpenSSL import crypto
from support import odd

from certs.certificate import Certificate
from certs.chain import rejection
from certs.policies import policies_defect, policy_problem, restricts_policies

STRICT = crypto.X509StoreFlags.PARTIAL_CHAIN | crypto.X509StoreFlags.X509_STRICT
MISSING = "requires a certificate policy"


def policies(*content: str, oid: str = "2.5.29.32", critical: bool = False) -> bytes:
    return odd.extension(oid, odd.tlv(0x30, bytes.fromhex("".join(content))), critical=critical)


def mapped(*pairs: tuple[str, str]) -> bytes:
    return policies(*(odd.tlv(0x30, bytes.fromhex(a + b)).hex() for a, b in pairs), oid="2.5.29.33", critical=True)


def named(*each: str) -> bytes:
    return policies(*(odd.tlv(0x30, bytes.fromhex(policy)).hex() for policy in each))


def constrained(*content: str) -> bytes:
    return policies(*content, oid="2.5.29.36", critical=True)


ONE, TWO, THREE, ANY_POLICY = "06032a0304", "06032a0305", "06032a0306", "0604551d2000"
EXPLICIT, EXPLICIT_LATER = constrained("800100"), constrained("800101")
EXPLICIT_AND_NO_MAPPING = constrained("800100", "810100")


def no_any(after: int = 0) -> bytes:
    return odd.extension("2.5.29.54", bytes((2, 1, after)), critical=True)


Made = tuple[bytes, ...]
# The extensions of each CA from the top, and last the leaf's.
HOLD: dict[str, tuple[Made, ...]] = {
    "none at all": ((), ()),
    "one that nobody asks for": ((named(ONE),), ()),
    "required, and there": ((EXPLICIT, named(ONE)), (named(ONE),)),
    "required, and there beside another": ((EXPLICIT, named(ONE)), (named(TWO, ONE),)),
    "required, and any is allowed": ((EXPLICIT, named(ANY_POLICY)), (named(ONE),)),
    "required, and the leaf has any": ((EXPLICIT, named(ONE)), (named(ANY_POLICY),)),
    "required from further down on, where nothing is": ((constrained("800102"),), ()),
    "any, for one more certificate": ((EXPLICIT, named(ONE), no_any(1)), (named(ANY_POLICY),)),
    "mapped": ((EXPLICIT, named(ONE), mapped((ONE, TWO))), (named(TWO),)),
    "mapped to two": ((EXPLICIT, named(ONE), mapped((ONE, TWO), (ONE, THREE))), (named(THREE),)),
    "mapped under any": ((EXPLICIT, named(ANY_POLICY), mapped((ONE, TWO))), (named(TWO),)),
    "mapped twice": (
        (EXPLICIT, named(ONE), mapped((ONE, TWO))),
        (named(TWO), mapped((TWO, THREE))),
        (named(THREE),),
    ),
    "no mapping, and none needed": ((EXPLICIT_AND_NO_MAPPING, named(ONE)), (named(ONE),)),
    "the leaf's own, with one": ((named(ONE),), (named(ONE), EXPLICIT)),
    "the leaf's own, of others below": ((), (EXPLICIT_LATER,)),
}
FAIL: dict[str, tuple[Made, ...]] = {
    "required, and not there": ((EXPLICIT, named(ONE)), ()),
    "required, and another there": ((EXPLICIT, named(ONE)), (named(TWO),)),
    "required, where the CA has none": ((EXPLICIT,), (named(ONE),)),
    "required further down, and not there": ((EXPLICIT_LATER,), ()),
    "any counts no more": ((EXPLICIT, named(ONE), no_any()), (named(ANY_POLICY),)),
    "any counts no more, one further down": ((EXPLICIT, named(ONE), no_any(1)), (named(ONE),), (named(ANY_POLICY),)),
    "mapped away": ((EXPLICIT, named(ONE), mapped((ONE, TWO))), (named(ONE),)),
    "mappings count no more": (
        (EXPLICIT_AND_NO_MAPPING, named(ONE)),
        (named(ONE), mapped((ONE, TWO))),
        (named(TWO),),
    ),
    "lost between": ((EXPLICIT, named(ONE)), (), (named(ONE),)),
    "the leaf's own, with none": ((), (EXPLICIT,)),
    "malformed in the leaf": ((EXPLICIT, named(ONE)), (policies("0601"),)),
}
DEFECTS: dict[str, tuple[bytes, int]] = {
    "constraints of nothing": (constrained(), 11),
    "constraints of something else": (constrained("820100"), 11),
    "constraints below nought": (constrained("8001ff"), 11),
    "constraints that are not critical": (policies("800100", oid="2.5.29.36"), 11),
    "any inhibited, but not critical": (odd.extension("2.5.29.54", b"\x02\x01\0"), 14),
    "any inhibited by no number": (odd.extension("2.5.29.54", b"\x05\0", critical=True), 14),
    "any mapped to one": (mapped((ANY_POLICY, ONE)), 5),
    "one mapped to any": (mapped((ONE, ANY_POLICY)), 5),
    "a mapping of one": (policies("3005", ONE, oid="2.5.29.33"), 5),
    "policies that are none": (policies("0500"), 4),
}


def path(extensions: tuple[Made, ...]) -> list[Certificate]:
    """Leaf first, the anchor last."""
    made = [odd.authority(odd.name((odd.UTF8, b"Root")))]
    *of_authorities, of_leaf = extensions
    for number, each in enumerate(of_authorities):
        subject = odd.name((odd.UTF8, b"Middle %d" % number))
        made.append(odd.authority(subject, issuer=made[-1], extensions=each))
    made.append(odd.leaf(made[-1], odd.name((odd.UTF8, b"client")), extensions=of_leaf))
    return [Certificate(each.der) for each in reversed(made)]


@pytest.mark.parametrize("extensions", HOLD.values(), ids=HOLD)
def test_they_hold(extensions: tuple[Made, ...]) -> None:
    assert policy_problem(path(extensions)[:-1]) == ""


@pytest.mark.parametrize("extensions", FAIL.values(), ids=FAIL)
def test_they_do_not(extensions: tuple[Made, ...]) -> None:
    """Left to itself OpenSSL takes the extensions for understood, and looks at none of them."""
    leaf, *between, root = path(extensions)
    assert rejection(leaf, between, [root], None, STRICT) is None
    told = policy_problem([leaf, *between])
    assert MISSING in told or "malformed" in told
    assert "(RFC 5280 section" in told


@pytest.mark.parametrize(("extension", "section"), DEFECTS.values(), ids=DEFECTS)
def test_how_they_are_written(extension: bytes, section: int) -> None:
    authority = Certificate(odd.authority(extensions=(extension,)).der)
    assert policies_defect(authority).endswith(f"(RFC 5280 section 4.2.1.{section})")


def test_a_self_issued_ca_counts_for_nothing() -> None:
    """It changes the key alone: what begins after one certificate begins after the next one."""
    root = odd.authority(odd.name((odd.UTF8, b"Root")))
    first = odd.authority(
        odd.name((odd.UTF8, b"First")), issuer=root, extensions=(EXPLICIT_LATER, named(ONE), no_any())
    )
    itself = odd.authority(odd.name((odd.UTF8, b"First")), issuer=first, extensions=(named(ANY_POLICY),))
    for of_leaf, holds in ((named(ONE), True), (named(TWO), False)):
        leaf = odd.leaf(itself, odd.name((odd.UTF8, b"client")), extensions=(of_leaf,))
        told = policy_problem([Certificate(each.der) for each in (leaf, itself, first)])
        assert told == "" if holds else MISSING in told


def test_who_has_a_say() -> None:
    for extension in (EXPLICIT, no_any(), mapped((ONE, TWO))):
        assert restricts_policies(Certificate(odd.authority(extensions=(extension,)).der))
    assert not restricts_policies(Certificate(odd.authority(extensions=(named(ONE),)).der))
    assert policies_defect(Certificate(odd.authority(extensions=(named(ONE), no_any())).der)) == ""
