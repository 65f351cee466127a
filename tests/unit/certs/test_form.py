"""RFC 5280's rules on how certificates are made, each with its section, OpenSSL's verdict beside ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from OpenSSL import crypto
from support import odd

from certs.certificate import Certificate
from certs.chain import rejection
from certs.form import authority_defect, chain_defect, leaf_defect, unusable
from certs.identity import Role

CLIENT = {"clientAuth": Role.CLIENT.purpose}
STRICT = crypto.X509StoreFlags.PARTIAL_CHAIN | crypto.X509StoreFlags.X509_STRICT
BASIC, USAGE, SUBJECT_KEY = x509.OID_BASIC_CONSTRAINTS, x509.OID_KEY_USAGE, x509.OID_SUBJECT_KEY_IDENTIFIER
AUTHORITY_KEY = x509.OID_AUTHORITY_KEY_IDENTIFIER
CONSTRAINTS = "2.5.29.30"


def basic(content: str, *, critical: bool) -> bytes:
    return odd.extension("2.5.29.19", bytes.fromhex(content), critical=critical)


def constraints(kind: int, tag: int, base: bytes, *, critical: bool = True) -> bytes:
    subtrees = odd.tlv(kind, odd.tlv(0x30, odd.tlv(tag, base)))
    return odd.extension(CONSTRAINTS, odd.tlv(0x30, subtrees), critical=critical)


PERMITTED, EXCLUDED, EMAIL, DNS, IP = 0xA0, 0xA1, 0x81, 0x82, 0x87

AUTHORITIES: dict[str, tuple[Callable[[], odd.Odd], str]] = {
    "good": (odd.authority, ""),
    "no subject": (lambda: odd.authority(odd.name()), "4.1.2.6"),
    "no basic constraints": (lambda: odd.authority(without=(BASIC,)), "4.2.1.9"),
    "basic constraints: no CA": (
        lambda: odd.authority(without=(BASIC,), extensions=(basic("3000", critical=True),)),
        "4.2.1.9",
    ),
    "basic constraints not critical": (
        lambda: odd.authority(without=(BASIC,), extensions=(basic("30030101ff", critical=False),)),
        "4.2.1.9",
    ),
    "no key usage": (lambda: odd.authority(without=(USAGE,)), "4.2.1.3"),
    "no keyCertSign": (
        lambda: odd.authority(without=(USAGE,), extensions=(odd.extension("2.5.29.15", b"\x03\x02\x07\x80"),)),
        "4.2.1.3",
    ),
    "signed by another, and not saying by whom": (
        lambda: odd.authority(issuer=odd.authority(), without=(AUTHORITY_KEY,)),
        "4.2.1.1",
    ),
    "no subject key identifier": (lambda: odd.authority(without=(SUBJECT_KEY,)), "4.2.1.2"),
    "policy constraints not critical": (
        lambda: odd.authority(extensions=(odd.extension("2.5.29.36", b"\x30\x03\x80\x01\0"),)),
        "4.2.1.11",
    ),
    "policy constraints critical": (
        lambda: odd.authority(extensions=(odd.extension("2.5.29.36", b"\x30\x03\x80\x01\0", critical=True),)),
        "",
    ),
    "name constraints not critical": (
        lambda: odd.authority(extensions=(constraints(EXCLUDED, DNS, b"x.example", critical=False),)),
        "4.2.1.10",
    ),
    "name constraints of nothing": (
        lambda: odd.authority(extensions=(odd.extension(CONSTRAINTS, b"\x30\0", critical=True),)),
        "4.2.1.10",
    ),
    "a constraint to a wildcard": (
        lambda: odd.authority(extensions=(constraints(EXCLUDED, DNS, b"*.x.example"),)),
        "4.2.1.10",
    ),
    "a constraint with a leading dot": (
        lambda: odd.authority(extensions=(constraints(EXCLUDED, DNS, b".x.example"),)),
        "4.2.1.10",
    ),
    "a constraint to two e-mail addresses": (
        lambda: odd.authority(extensions=(constraints(EXCLUDED, EMAIL, b"a@b@x.example"),)),
        "4.2.1.10",
    ),
    "a constraint to hosts for e-mail": (
        lambda: odd.authority(extensions=(constraints(EXCLUDED, EMAIL, b".x.example"),)),
        "",
    ),
    "a constraint to half an address": (
        lambda: odd.authority(extensions=(constraints(EXCLUDED, IP, b"\x0a\0\0\0"),)),
        "4.2.1.10",
    ),
    "a constraint to a mask with a hole": (
        lambda: odd.authority(extensions=(constraints(EXCLUDED, IP, b"\x0a\0\0\0\xff\0\xff\0"),)),
        "4.2.1.10",
    ),
    "a constraint to a network": (
        lambda: odd.authority(extensions=(constraints(EXCLUDED, IP, b"\x0a\0\0\0\xff\0\0\0"),)),
        "",
    ),
}


@pytest.mark.parametrize(("make", "section"), AUTHORITIES.values(), ids=AUTHORITIES)
def test_a_ca(make: Callable[[], odd.Odd], section: str) -> None:
    made = make()
    problem = authority_defect(Certificate(made.der))
    assert problem.endswith(f"(RFC 5280 section {section})") if section else not problem
    assert bool(_chain(odd.leaf(made), made)) == bool(section)


UNUSABLE: dict[str, Callable[[], odd.Odd]] = {
    **{what: make for what, (make, _) in AUTHORITIES.items()},
    "an unknown critical extension": lambda: odd.authority(extensions=(odd.extension("1.2.3.4", b"", critical=True),)),
    "critical key identifiers": lambda: odd.authority(
        extensions=(odd.extension("2.5.29.35", bytes.fromhex("3006800401020304"), critical=True),)
    ),
    "an extension twice": lambda: odd.authority(extensions=(basic("30030101ff", critical=True),)),
    "a malformed name": lambda: odd.authority(extensions=(odd.extension("2.5.29.17", b"\x30\x02\x82\x05"),)),
    "malformed constraints": lambda: odd.authority(extensions=(odd.extension(CONSTRAINTS, b"\xff", critical=True),)),
    "an unknown extension": lambda: odd.authority(extensions=(odd.extension("1.2.3.4", b""),)),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_nobody_is_let_in_by_a_ca_only_if_it_is_warned_of(what: str) -> None:
    """OpenSSL has the last word on who is let in: whatever CA it refuses has been told of when it was loaded."""
    made = UNUSABLE[what]()
    authority = Certificate(made.der)
    error = rejection(Certificate(odd.leaf(made).der), [], [authority], None, STRICT)
    told = authority_defect(authority) or unusable(authority, CLIENT)
    assert told or error is None


def test_a_ca_for_other_purposes_is_told_of() -> None:
    signing = odd.extension("2.5.29.37", bytes.fromhex("300a06082b06010505070303"))
    authority = Certificate(odd.authority(extensions=(signing,)).der)
    assert "no clientAuth" in unusable(authority, CLIENT)


LEAVES: dict[str, tuple[dict[str, object], str]] = {
    "good": ({}, ""),
    "a wildcard": ({"names": (x509.DNSName("*.x.example"),)}, ""),
    "a path length": (
        {"without": (BASIC,), "extensions": (basic("3003020100", critical=True),)},
        "4.2.1.9",
    ),
    "name constraints": ({"extensions": (constraints(EXCLUDED, DNS, b"x.example"),)}, "4.2.1.10"),
    "no subject, and a name that is not critical": ({"subject": odd.name()}, "4.2.1.6"),
    "an underscore": ({"names": (x509.DNSName("a_b.example"),)}, "4.2.1.6"),
    "a leading dot": ({"names": (x509.DNSName(".a.example"),)}, "4.2.1.6"),
    "a trailing dot": ({"names": (x509.DNSName("a.example."),)}, "4.2.1.6"),
    "two dots": ({"names": (x509.DNSName("a..example"),)}, "4.2.1.6"),
    "a blank": ({"names": (x509.DNSName(" "),)}, "4.2.1.6"),
    "a star within": ({"names": (x509.DNSName("a.*.example"),)}, "4.2.1.6"),
    "an e-mail address": ({"names": (x509.RFC822Name("me@x.example"),)}, ""),
    "what is no e-mail address": ({"names": (x509.RFC822Name._init_without_validation("a@b@x.example"),)}, "4.2.1.6"),
    "a URI": ({"names": (x509.UniformResourceIdentifier("urn:a:b"),)}, ""),
    "a URI without a scheme": ({"names": (x509.UniformResourceIdentifier("/a/b"),)}, "4.2.1.6"),
    "half an address": ({"names": (), "extensions": (odd.extension("2.5.29.17", b"\x30\x04\x87\2\0\1"),)}, "4.2.1.6"),
    "a label too long": ({"names": (x509.DNSName("a" * 64 + ".example"),)}, "4.2.1.6"),
}


@pytest.mark.parametrize(("changes", "section"), LEAVES.values(), ids=LEAVES)
def test_a_leaf(changes: dict[str, object], section: str) -> None:
    ca = odd.authority()
    changes = {"subject": odd.name((odd.UTF8, b"client")), **changes}
    problem = leaf_defect(Certificate(odd.leaf(ca, **changes).der))  # type: ignore[arg-type]
    assert problem.endswith(f"(RFC 5280 section {section})") if section else not problem


def mail(address: str) -> dict[str, object]:
    return {"names": (x509.DNSName("a.example"), x509.RFC822Name(address))}


def host(name: str) -> dict[str, object]:
    return {"names": (x509.DNSName(name),)}


@pytest.mark.parametrize(
    ("kind", "tag", "base", "names", "passes"),
    [
        (EXCLUDED, DNS, "b.x.example", host("*.x.example"), False),
        (EXCLUDED, DNS, "b.x.example", host("*.B.x.example"), False),
        (EXCLUDED, DNS, "c.b.x.example", host("*.x.example"), True),
        (EXCLUDED, DNS, "x.example", host("*.y.example"), True),
        (EXCLUDED, DNS, "x.example", host("ax.example"), True),
        (EXCLUDED, DNS, "", host("a.example"), False),
        (PERMITTED, DNS, "x.example", host("*.x.example"), True),
        (PERMITTED, DNS, "X.example", host("x.EXAMPLE"), True),
        (PERMITTED, DNS, "b.x.example", host("*.x.example"), False),
        (PERMITTED, EMAIL, "x.example", mail("me@x.example"), True),
        (PERMITTED, EMAIL, "x.example", mail("me@a.x.example"), False),
        (PERMITTED, EMAIL, ".x.example", mail("me@a.X.example"), True),
        (PERMITTED, EMAIL, ".x.example", mail("me@x.example"), False),
        (PERMITTED, EMAIL, "me@x.example", mail("me@X.example"), True),
        (PERMITTED, EMAIL, "me@x.example", mail("Me@x.example"), False),
        (EXCLUDED, EMAIL, "x.example", mail("me@x.example"), False),
        (EXCLUDED, EMAIL, "x.example", host("x.example"), True),
    ],
)
def test_a_constraint(kind: int, tag: int, base: str, names: dict[str, object], passes: bool) -> None:
    ca = odd.authority(extensions=(constraints(kind, tag, base.encode()),))
    assert (_chain(odd.leaf(ca, **names), ca) == "") == passes  # type: ignore[arg-type]


def test_each_but_the_anchor_says_who_signed_it() -> None:
    ca = odd.authority()
    identifier = "2.5.29.35"
    named = odd.extension(identifier, b"\x30\x03\x82\x01\x05")  # a serial alone
    for leaf in (
        odd.leaf(ca, without=(x509.OID_AUTHORITY_KEY_IDENTIFIER,)),
        odd.leaf(ca, without=(x509.OID_AUTHORITY_KEY_IDENTIFIER,), extensions=(named,)),
    ):
        assert "4.2.1.1)" in _chain(leaf, ca)
    assert _chain(odd.leaf(ca), ca) == ""


def test_a_name_of_a_ca_between_is_bound_unless_it_is_self_issued() -> None:
    """OpenSSL looks at these, but not at what a wildcard stands for."""
    wildcard = odd.extension("2.5.29.17", odd.tlv(0x30, odd.tlv(DNS, b"*.x.example")))
    bound = odd.authority(extensions=(constraints(EXCLUDED, DNS, b"b.x.example"),))
    middle = odd.authority(odd.name((odd.UTF8, b"Middle")), issuer=bound, extensions=(wildcard,))
    assert "'*.x.example' is excluded, by CN=Some CA" in _chain(odd.leaf(middle), middle, bound)
    itself = odd.authority(issuer=bound, extensions=(wildcard,))
    assert _chain(odd.leaf(itself), itself, bound) == ""
    malformed = odd.extension("2.5.29.17", b"\x30\x02\x82\x05")
    middle = odd.authority(odd.name((odd.UTF8, b"Middle")), issuer=bound, extensions=(malformed,))
    assert "malformed" in _chain(odd.leaf(middle), middle, bound)


def _chain(leaf: odd.Odd, *above: odd.Odd) -> str:
    return chain_defect(Certificate(leaf.der), [Certificate(each.der) for each in above])
