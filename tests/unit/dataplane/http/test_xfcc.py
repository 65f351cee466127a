"""X-Forwarded-Client-Cert, read back by a reader that shares nothing with our writer."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http.identities import identity
from unit.dataplane.http.xfcc_reader import parse, unhex

from tlsidecar.dataplane.http import xfcc

_HOSTILE = st.text(
    st.one_of(st.sampled_from("\\\",;= \r\n\0\t\x7f'%é☃"), st.characters(codec="utf-8"), st.sampled_from("ab0F")),
    max_size=20,
)


@given(
    subject=_HOSTILE,
    uris=st.lists(_HOSTILE, max_size=2).map(tuple),
    dns=st.lists(_HOSTILE, max_size=2).map(tuple),
    by=st.lists(_HOSTILE, max_size=1),
    pem=st.sampled_from(["", "-----BEGIN CERTIFICATE-----\nAA+/==\n-----END CERTIFICATE-----\n"]),
)
def test_whatever_a_certificate_says_is_read_back_as_what_it_said(
    subject: str, uris: tuple[str, ...], dns: tuple[str, ...], by: list[str], pem: str
) -> None:
    who = identity(subject=subject, uris=uris, dns=dns)
    raw = xfcc.element(who, by=by, certificate_pem=pem, chain_pem=pem)
    assert raw.isascii()
    text = raw.decode()
    assert text.isprintable(), "a control byte got through"
    assert xfcc.is_well_formed(raw)
    keys = (
        ["By"] * len(by)
        + ["Hash"]
        + ["Cert", "Chain"] * bool(pem)
        + ["Subject"]
        + ["URI"] * len(uris)
        + ["DNS"] * len(dns)
    )
    for unescape_all in (False, True):
        (pairs,) = parse(text, unescape_all=unescape_all)
        assert [key for key, _ in pairs] == keys
        said = dict(pairs)
        assert said["Hash"] == "00ff"
        assert unquote(said.get("Cert", "")) == pem
    (pairs,) = parse(text)
    values = [value for key, value in pairs if key in ("URI", "DNS", "By")]
    for value, meant in zip(values, [*by, *uris, *dns], strict=True):
        assert unhex(value) == meant


@given(first=_HOSTILE, second=_HOSTILE)
def test_two_identities_never_look_the_same(first: str, second: str) -> None:
    written = [xfcc.element(identity(uris=(text,), dns=(text,))) for text in (first, second)]
    assert (written[0] == written[1]) is (first == second)


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        ("CN=a", "CN=a"),
        ("CN=a b,O=c", "CN=a b,O=c"),
        (r"CN=a\,b", r"CN=a\,b"),
        (r"CN=a\"b", r"CN=a\22b"),
        (r"CN=a\\b", r"CN=a\5Cb"),
        ('CN=a"', r"CN=a\22"),
        ("CN=a\\", r"CN=a\5C"),
        (r"CN=\0", r"CN=\5C0"),
        (r"CN=\x\q", r"CN=\5Cx\5Cq"),
        (r"CN=\=\+", r"CN=\=\+"),
        ("CN=é", r"CN=\C3\A9"),
        (r"CN=\0D\0A", r"CN=\0D\0A"),
        ("CN=\r\nX: y", r"CN=\0D\0AX: y"),
        ("CN=\0", r"CN=\00"),
    ],
)
def test_subjects(subject: str, written: str) -> None:
    assert xfcc.distinguished_name(subject) == written


@pytest.mark.parametrize(
    ("value", "well_formed"),
    [
        (b"By=a;Hash=b", True), (b'Subject="CN=a,O=b";URI=c,By=d', True), (b"URI=", True), (b"By=a, By=b", True),
        (b'Subject="a\\"b"', True), (b"", False), (b"a", False), (b'Subject="a', False), (b'Subject="a"b', False),
        (b'Subject="a\\"', False), (b"By=a;", False), (b"By=a,", False), (b",By=a", False), (b"=a", False),
        (b"By=a b", False),
        (b'By=a"b', False), (b"By=a\\", False), (b"B y=a", False),
        # Two backslashes before a quote: its end to some readers, and not to those that know only the escaped quote.
        (b'Subject="a\\\\"', False), (b'Subject="a\\\\\\""', False), (b'Subject="a\\x"', False),
        (b'Subject="\\"', False), (b'Subject="a\\\\b"', False), (b'Subject="CN=a\\,b"', True),
        (b'Subject="CN=a\\5C"', True), (b'By="a\\5"', False),
    ],
)  # fmt: skip
def test_what_is_whole(value: bytes, well_formed: bool) -> None:
    assert xfcc.is_well_formed(value) is well_formed


@given(value=st.text('By=a;,"\\ 5', max_size=24))
def test_what_passes_for_whole_can_be_read_and_leaves_no_quote_open(value: str) -> None:
    if not xfcc.is_well_formed(value.encode()):
        return
    for unescape_all in (False, True):
        elements = parse(value.replace(", ", ","), unescape_all=unescape_all)
        appended = parse(value.replace(", ", ",") + ",Hash=00ff", unescape_all=unescape_all)
        assert appended == [*elements, [("Hash", "00ff")]]
