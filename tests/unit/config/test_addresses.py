"""Addresses: what is read, what is refused, which are on this machine, which collide."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.config.addresses import collide, is_loopback, parse_listen_address, parse_upstream_address
from tlsidecar.config.problems import InvalidValue
from tlsidecar.settings import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:8080", Address("::1", 8080)),
        ("[2001:DB8::1]:443", Address("2001:db8::1", 443)),
        ("localhost:80", Address("localhost", 80)),
        ("Payments.Internal:8443", Address("payments.internal", 8443)),
        ("payments.internal.:8443", Address("payments.internal.", 8443)),
        ("my_service:80", Address("my_service", 80)),
        ("unix:/run/app.sock", Address(path="/run/app.sock")),
        ("unix:app.sock", Address(path="app.sock")),
    ],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_upstream_address(text) == address


@pytest.mark.parametrize(
    ("text", "message", "suggestion"),
    [
        (":8443", "no host", 'write "127.0.0.1:8443"'),
        ("*:8443", "no host", 'write "127.0.0.1:8443"'),
        ("8443", "no host", 'write "127.0.0.1:8443"'),
        (8443, "no host", 'write "127.0.0.1:8443"'),
        ("127.0.0.1", "no port", 'write "127.0.0.1:PORT"'),
        ("127.0.0.1:", "no port", 'write "127.0.0.1:PORT"'),
        ("[::1]", "no port", r'write "[::1]:PORT"'),
        ("::1", "no port", 'write "[::1]:PORT"'),
        ("127.0.0.1:http", "the port is no number", '"host:port"'),
        ("127.0.0.1:65536", "not between", ""),
        ("127.0.0.1:٨٠", "the port is no number", ""),
        ("127.0.0.1:80/x", "has a path", 'write "127.0.0.1:80"'),
        ("127.0.0.1: 80", "has space", 'write "127.0.0.1:80"'),
        ("127.0.0.1:80\n", "has space", 'write "127.0.0.1:80"'),
        ("::1:8080", "brackets", '"[::1]:8080"'),
        ("a:b:80", "neither a host name nor", '"host:port"'),
        ("[::g]:80", "not an IPv6", ""),
        ("[127.0.0.1]:80", "not an IPv6", ""),
        ("/run/app.sock", "is a path", '"unix:/run/app.sock"'),
        ("unix:", "no path", ""),
        ("unix:@abstract", "abstract", '"unix:/path"'),
        ("unix:\0abstract", "abstract", '"unix:/path"'),
        ("unix:/a\nb", "control characters", ""),
        ("127.1:80", "neither an IPv4", ""),
        ("2130706433:80", "neither an IPv4", ""),
        ("0x7f000001:80", "neither an IPv4", ""),
        ("127.0.0.01:80", "neither an IPv4", ""),
        ("bücher.example:80", "not ASCII", "xn--"),
        ("a..b:80", "not a host name", ""),
        ("-a:80", "not a host name", ""),
        ("a b:80", "not a host name", ""),
        ("http://a:80", "is a URL", 'write "a:80", and protocol = "http"'),
        ("http://a", "is a URL", 'write "a:80", and'),
        ("HTTPS://user:word@a/p?q#f", "is a URL", 'write "a:443", and'),
        ("http://[::1]:8080/", "is a URL", 'write "[::1]:8080", and'),
        ("http://[::1]", "is a URL", 'write "[::1]:80", and'),
        ("grpc://a", "is a URL", 'write "a:PORT"'),
        ("tcp://a:5", "is a URL", 'write "a:5"'),
        (80800, "an address is needed", '"host:port"'),
        (True, "an address is needed", '"host:port"'),
        (None, "an address is needed", '"host:port"'),
    ],
)
def test_what_is_no_address_is_refused(text: object, message: str, suggestion: str) -> None:
    with pytest.raises(InvalidValue, match=message) as caught:
        parse_upstream_address(text)
    assert suggestion in caught.value.suggestion


@given(st.from_regex(r"[a-z]{0,5}(://|:|@|/|)\[?[a-z0-9.:%]{0,9}\]?:?[0-9a-z]{0,6}/?[ ]?", fullmatch=True))
def test_what_is_suggested_works(text: str) -> None:
    """Whoever writes what a refusal says to write is not refused again for its form."""
    tried = []
    while text not in tried:
        tried.append(text)
        try:
            parse_upstream_address(text)
        except InvalidValue as error:
            written = re.match(r'write "([^"]*)"', error.suggestion)
            if written is None or written[1] == "host:port":
                return
            text = written[1].replace("PORT", "80")
        else:
            return
    raise AssertionError(f"refused again and again: {tried}")


def test_only_what_is_listened_on_may_leave_the_port_to_the_kernel() -> None:
    assert parse_listen_address("127.0.0.1:0") == Address("127.0.0.1", 0)
    with pytest.raises(InvalidValue, match="between 1 and"):
        parse_upstream_address("127.0.0.1:0")


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_and_what_is_read_is_written_back(text: str) -> None:
    try:
        address = parse_listen_address(text)
    except InvalidValue:
        return
    assert parse_listen_address(str(address)) == address
    assert bool(address.host) != bool(address.path)


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("localhost:1", True),
        ("unix:/run/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("[::ffff:10.0.0.1]:1", False),
        ("localhost.example:1", False),
    ],
)
def test_what_is_on_this_machine(text: str, here: bool) -> None:
    assert is_loopback(parse_listen_address(text)) is here


@pytest.mark.parametrize(
    ("one", "other", "result"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("localhost:80", "127.0.0.1:80", True),
        ("localhost:80", "[::1]:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "0.0.0.0:80", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("a.example:80", "a.example:80", True),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "127.0.0.1:80", False),
    ],
)
def test_which_cannot_both_be_bound(one: str, other: str, result: bool) -> None:
    assert collide(parse_listen_address(one), parse_listen_address(other)) is result
    assert collide(parse_listen_address(other), parse_listen_address(one)) is result
