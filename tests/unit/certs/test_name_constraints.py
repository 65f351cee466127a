"""What a CA may vouch for, kind of name by kind of name (RFC 5280 section 4.2.1.10)."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from cryptography import x509
from support import odd

from certs.certificate import Certificate
from certs.general_names import DNS, EMAIL, IP, URI, alternative_names
from certs.name_constraints import NameConstraints, constraints_defect

PERMITTED, EXCLUDED = 0xA0, 0xA1
Subtrees = Iterable[tuple[int, int, bytes]]


def authority(*subtrees: tuple[int, int, bytes]) -> Certificate:
    lists = [
        odd.tlv(side, b"".join(odd.tlv(0x30, odd.tlv(tag, base)) for kind, tag, base in subtrees if kind == side))
        for side in (PERMITTED, EXCLUDED)
        if any(kind == side for kind, _, _ in subtrees)
    ]
    constraints = odd.extension("2.5.29.30", odd.tlv(0x30, b"".join(lists)), critical=True)
    return Certificate(odd.authority(extensions=(constraints,)).der)


def names(*each: tuple[int, bytes]) -> Certificate:
    encoded = odd.extension("2.5.29.17", odd.tlv(0x30, b"".join(odd.tlv(tag, value) for tag, value in each)))
    return Certificate(odd.leaf(odd.authority(), names=(), extensions=(encoded,)).der)


def problem(constraints: Subtrees, *each: tuple[int, bytes]) -> str:
    return NameConstraints(authority(*constraints)).problem(alternative_names(names(*each)))


WITHIN: list[tuple[int, bytes, bytes, bool]] = [
    (DNS, b"x.example", b"x.example", True),
    (DNS, b"x.example", b"a.b.X.example", True),
    (DNS, b"x.example", b"ax.example", False),
    (DNS, b"x.example", b"example", False),
    (DNS, b"x.example", b"*.x.example", True),
    (DNS, b"", b"a.example", True),
    (EMAIL, b"x.example", b"me@X.example", True),
    (EMAIL, b"x.example", b"me@a.x.example", False),
    (EMAIL, b".x.example", b"me@a.b.x.example", True),
    (EMAIL, b".x.example", b"me@x.example", False),
    (EMAIL, b"me@x.example", b"me@X.example", True),
    (EMAIL, b"me@x.example", b"Me@x.example", False),
    (EMAIL, b"x.example", b'"x.example"@y.example', False),
    (URI, b"x.example", b"https://me@X.example:1/a?b", True),
    (URI, b"x.example", b"https://a.x.example/", False),
    (URI, b".x.example", b"https://a.x.example/", True),
    (URI, b".x.example", b"https://x.example/", False),
    (URI, b"x.example", b"https://x.example:80@y.example/", False),
    (URI, b"x.example", b"https://y.example/?https://x.example/", False),
    (URI, b"trust_domain", b"spiffe://trust_domain/a", True),
]


@pytest.mark.parametrize(("kind", "base", "name", "within"), WITHIN)
def test_a_name_within_or_not(kind: int, base: bytes, name: bytes, within: bool) -> None:
    assert bool(problem([(PERMITTED, kind, base)], (kind, name))) == (not within)
    assert bool(problem([(EXCLUDED, kind, base)], (kind, name))) == within
    both = problem([(PERMITTED, kind, base), (EXCLUDED, kind, base)], (kind, name))
    assert both.endswith("is excluded" if within else "is not permitted")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (URI, b"urn:a:b"),
        (URI, b"https://192.0.2.1/"),
        (URI, b"https://[::1]/"),
        (URI, b"/relative"),
        (EMAIL, b"a@b@x.example"),
        (EMAIL, b"me@[192.0.2.1]x"),
        (DNS, b".x.example"),
        (DNS, b"x.example."),
        (DNS, b"x.example\0"),
    ],
)
def test_a_name_that_cannot_be_compared_is_let_pass_by_neither_list(kind: int, name: bytes) -> None:
    base = b"x.example"
    assert "compared with the constraints" in problem([(PERMITTED, kind, base)], (kind, name))
    assert "compared with the constraints" in problem([(EXCLUDED, kind, base)], (kind, name))


def test_other_kinds_of_names_are_free() -> None:
    bound = [(PERMITTED, DNS, b"x.example"), (EXCLUDED, IP, b"\x0a\0\0\0\xff\0\0\0")]
    assert problem(bound, (EMAIL, b"me@y.example"), (URI, b"urn:a:b"), (0x88, b"\x2a")) == ""


def test_the_first_that_is_outside_is_named() -> None:
    told = problem([(PERMITTED, DNS, b"x.example")], (DNS, b"a.x.example"), (DNS, b"y.example"), (DNS, b"z.example"))
    assert told == "'y.example' is not permitted"


def test_a_wildcard_that_stands_for_an_excluded_name() -> None:
    bound = [(EXCLUDED, DNS, b"B.x.example")]
    assert "is excluded" in problem(bound, (DNS, b"*.X.example"))
    assert problem(bound, (DNS, b"*.c.x.example")) == ""


@pytest.mark.parametrize(
    ("kind", "base", "good"),
    [
        (DNS, b"x.example", True),
        (DNS, b"", True),
        (DNS, b".x.example", False),
        (DNS, b"*.x.example", False),
        (EMAIL, b"x.example", True),
        (EMAIL, b".x.example", True),
        (EMAIL, b"me@x.example", True),
        (EMAIL, b"a@b@x.example", False),
        (EMAIL, b"", False),
        (URI, b"x.example", True),
        (URI, b".x.example", True),
        (URI, b"trust_domain", True),
        (URI, b"https://x.example", False),
        (URI, b"x.example/a", False),
        (URI, b"192.0.2.1", False),
        (URI, b"", False),
        (IP, b"\x0a\0\0\0\xff\0\0\0", True),
        (IP, b"\0" * 8, True),
        (IP, b"\0" * 32, True),
        (IP, b"\x0a\0\0\0", False),
        (IP, b"\x0a\0\0\0\xff\0\xff\0", False),
        (IP, b"", False),
    ],
)
def test_how_a_base_is_written(kind: int, base: bytes, good: bool) -> None:
    """What OpenSSL takes for a base that no name equals would exclude nothing."""
    told = constraints_defect(authority((EXCLUDED, kind, base)))
    assert told == "" if good else told.endswith("(RFC 5280 section 4.2.1.10)")


def test_many_names_under_many_constraints_cost_no_more_than_both_together() -> None:
    """Each with each, these are a million: five seconds of the event loop."""
    bound = [(PERMITTED, DNS, b"x.example"), *((EXCLUDED, DNS, b"e%d.x.example" % each) for each in range(1000))]
    constraints = NameConstraints(authority(*bound))
    shown = names(*((DNS, b"n%d.x.example" % each) for each in range(1000)))
    begin = time.process_time()
    assert constraints.problem(alternative_names(shown)) == ""
    assert time.process_time() - begin < 1.0


def test_no_constraints() -> None:
    plain = Certificate(odd.authority().der)
    assert constraints_defect(plain) == ""
    leaf = Certificate(odd.leaf(odd.authority(), names=(x509.DNSName("a.example"),)).der)
    assert NameConstraints(plain).problem(alternative_names(leaf)) == ""
