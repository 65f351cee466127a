"""How the names in a certificate are written (RFC 5280 section 4.2.1.6): by tables of what is one and what is not."""

from __future__ import annotations

import pytest

from certs import der
from certs.general_names import DNS, EMAIL, IP, URI, is_uri_host, name_problem, uri_host

GOOD: dict[int, tuple[bytes, ...]] = {
    DNS: (b"example.com", b"a", b"*.example.com", b"xn--bcher-kva.example", b"1.example", b"a" * 63 + b".example"),
    EMAIL: (
        b"me@example.com",
        b"me@host",
        b"first.last+tag@example.com",
        b"o'neil=x@example.com",
        b'"a b"@example.com',
        b'"a@b"@example.com',
        b"me@[192.0.2.1]",
    ),
    URI: (
        b"https://example.com/x",
        b"spiffe://trust_domain/x",
        b"urn:uuid:1",
        b"urn:HOST NAME:OPC UA",
        b"tag:a.example,2026:b",
        b"http://[::1]/",
    ),
    IP: (b"\x7f\0\0\1", bytes(16)),
}
BAD: dict[int, tuple[bytes, ...]] = {
    DNS: (
        b"",
        b".a",
        b"a.",
        b"a..b",
        b"a_b",
        b"a.*.b",
        b"*",
        b"ba*.b",
        b"-a.b",
        b"a b",
        b"a" * 64,
        b"\xe4.b",
        b"a\0.b",
    ),
    EMAIL: (
        b"",
        b"me",
        b"@example.com",
        b"me@",
        b"a@b@example.com",
        b"me@a_b.example",
        b"Me <me@example.com>",
        b"me@example.com (me)",
        b"a b@example.com",
        b"m\xe9@example.com",
        b"me@ex\xe4mple.com",
        b"me@example.com\0.evil",
        b'"a"b@example.com',
        b"me@[]",
        b"me@.example.com",
    ),
    URI: (b"", b"/a/b", b"example.com", b"//example.com/", b"https:", b":x", b"1http://x", b"ht tp://x", b"\xe4:x"),
    IP: (b"", b"\x7f", bytes(5), bytes(8), bytes(32)),
}
HOSTS = {
    "https://x.example/": "x.example",
    "https://x.example": "x.example",
    "HTTPS://X.example:443?q#f": "X.example",
    "https://x.example?a@b": "x.example",
    "https://x.example#a@b": "x.example",
    "https://x.example:80@evil.example/": "evil.example",
    "https://a@b@evil.example": "evil.example",
    "spiffe://trust_domain/x": "trust_domain",
    "https://192.0.2.1/": "",
    "https://[::1]/": "",
    "https://[x.example]/": "",
    "https:///x": "",
    "https://x..example/": "",
    "https:x.example": "",
    "urn:x.example": "",
    "x.example": "",
}


def named(kind: int, value: bytes) -> der.Element:
    return der.read(der.encode(kind, value))


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in GOOD.items() for value in values])
def test_a_name(kind: int, value: bytes) -> None:
    assert name_problem(named(kind, value)) == ""


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in BAD.items() for value in values])
def test_what_is_none(kind: int, value: bytes) -> None:
    problem = name_problem(named(kind, value))
    assert " is n" in problem
    assert problem.isascii()
    assert problem.isprintable()


def test_kinds_that_have_no_text_are_openssls_to_judge() -> None:
    assert name_problem(named(0xA4, b"\xff")) == ""
    assert name_problem(named(0x88, b"\x2a")) == ""


@pytest.mark.parametrize(("text", "host"), HOSTS.items(), ids=HOSTS)
def test_the_host_in_a_uri(text: str, host: str) -> None:
    assert uri_host(text) == host


def test_a_host_too_long() -> None:
    longest = ".".join(["a" * 49] * 5)
    assert is_uri_host(longest)
    assert not is_uri_host(f"{longest}.bcde")
