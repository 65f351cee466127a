"""Access rules: what they let in, what they keep out, and what they say when they do not parse."""

from __future__ import annotations

import dataclasses
import string

import pytest
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.certs import forge

from certs.errors import RuleError
from certs.identity import Identity
from certs.rules import Rule, first_match, parse_rules
from certs.spiffe import SpiffeId

CN, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME
ROOT = forge.authority()
WEB = forge.leaf(
    ROOT,
    uris=["spiffe://prod.example/ns/shop/sa/web"],
    dns=["Web.ops.internal"],
    ips=["10.0.0.7", "2001:db8::7"],
    subject=[(OU, "sre"), (OU, "web team"), (CN, "Web")],
).identity
OTHER = forge.leaf(
    ROOT, uris=["https://Example.org/A"], dns=["other.internal"], subject=[(CN, "web.internal")]
).identity
BROKEN_SVID = forge.leaf(ROOT, uris=["spiffe://prod.example/ns/../sa/web"], dns=["web.ops.internal"]).identity


@pytest.mark.parametrize(
    "text",
    [
        "any",
        "spiffe://prod.example/ns/shop/sa/web",
        "spiffe://prod.example/ns/*/sa/web",
        "spiffe://prod.example/*/*/*/*",
        "spiffe://prod.example/**",
        "spiffe://prod.example/ns/**",
        "spiffe://prod.example/ns/shop/sa/**",
        "uri:spiffe://prod.example/ns/shop/sa/web",
        "dns:web.ops.internal",
        "dns:WEB.OPS.INTERNAL",
        "dns:*.ops.internal",
        "ip:10.0.0.7",
        "ip:2001:DB8:0:0::7",
        "ip:[2001:db8::7]",
        "cn:Web",
        "ou:sre",
        "ou:web team",
        f"sha256:{WEB.sha256}",
        f"sha256:{':'.join(WEB.sha256[i : i + 2] for i in range(0, 64, 2)).upper()}",
        f"spki-sha256:{WEB.spki_sha256}",
    ],
)
def test_a_rule_that_lets_it_in(text: str) -> None:
    rule = Rule.parse(f"  {text} ")
    assert rule.matches(WEB)
    assert str(rule) == text
    assert not rule.matches(BROKEN_SVID)
    if text != "any":
        assert not rule.matches(OTHER)


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://prod.example/ns/shop/sa",
        "spiffe://prod.example/ns/shop/sa/web/**",
        "spiffe://prod.example/ns/shop/sa/web/x",
        "spiffe://prod.example/ns/*/web",
        "spiffe://prod.example/ns/shop/sa/Web",
        "spiffe://prod.example.org/**",
        "spiffe://prod/**",
        "uri:spiffe://prod.example/ns/shop/sa/Web",
        "uri:spiffe://prod.example/ns/shop/sa",
        "dns:ops.internal",
        "dns:*.internal",
        "dns:*.web.ops.internal",
        "ip:10.0.0.8",
        "cn:web",
        "cn:Web.ops.internal",
        "ou:SRE",
        "ou:web",
        f"sha256:{WEB.spki_sha256}",
        f"spki-sha256:{WEB.sha256}",
    ],
)
def test_a_rule_that_keeps_it_out(text: str) -> None:
    assert not Rule.parse(text).matches(WEB)


def test_a_common_name_is_never_a_dns_name() -> None:
    assert OTHER.common_name == "web.internal"
    assert not Rule.parse("dns:web.internal").matches(OTHER)
    assert not Rule.parse("dns:*.internal").matches(
        forge.leaf(ROOT, dns=[], ips=["::1"], subject=[(CN, "a.internal")]).identity
    )


@pytest.mark.parametrize("name", ["a/b.ops.internal", ".ops.internal", "a b.ops.internal", "\x00.ops.internal"])
def test_a_wildcard_takes_only_a_label(name: str) -> None:
    assert not Rule.parse("dns:*.ops.internal").matches(forge.leaf(ROOT, dns=[name]).identity)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("", '"any"'),
        ("*", '"any"'),
        ("Any", '"any"'),
        ("web.internal", '"dns:web.internal"'),
        ("*.internal.example", '"dns:*.internal.example"'),
        ("10.0.0.1", '"ip:10.0.0.1"'),
        ("2001:db8::1", '"ip:2001:db8::1"'),
        ("CN=backup", '"cn:backup"'),
        ("DNS:a.b", '"dns:a.b"'),
        ("dsn:a.b", '"dns:a.b"'),
        ("san:a.b", '"dns:a.b"'),
        ("fingerprint:00", '"sha256:00"'),
        ("spiffe:td/x", '"spiffe://td/x"'),
        ("spiffe://TD/x", '"spiffe://td/x"'),
        ("spiffe://td", '"spiffe://td/**"'),
        ("spiffe://td/", '"spiffe://td/**"'),
        ("spiffe://td/x/", '"spiffe://td/x"'),
        ("spiffe://td/**/x", "'*'"),
        ("spiffe://td/web-*", ""),
        ("spiffe://td/../x", ""),
        ("spiffe://td:8443/x", ""),
        ("https://example.org/x", '"uri:https://example.org/x"'),
        ("uri:https://example.org/*", "spiffe://"),
        ("uri:nothing", "scheme"),
        ("dns:a.b.", '"dns:a.b"'),
        ("dns:a.*.b", "example.org"),
        ("dns:10.0.0.1", '"ip:10.0.0.1"'),
        ("dns:ä.example", "xn--"),
        ("ip:10.0.0.0/8", "each address"),
        ("ip:web", ""),
        ("cn:", "cn:VALUE"),
        ("cn: x", '"cn:x"'),
        ("sha256:beef", ""),
        ("ou:\x1b[31m", ""),
        ("whatever", "spiffe://"),
        ("x" * 5000, ""),
    ],
)
def test_what_does_not_parse_says_what_was_meant(text: str, suggestion: str) -> None:
    with pytest.raises(RuleError) as raised:
        Rule.parse(text)
    assert suggestion in raised.value.suggestion
    assert bool(suggestion) == bool(raised.value.suggestion)
    assert "\x1b" not in str(raised.value)


def test_the_first_rule_that_matches_decides() -> None:
    rules = parse_rules(["cn:nobody", "ou:sre", "any"])
    decided = first_match(rules, WEB)
    assert decided is rules[1]
    assert first_match(rules[:1], WEB) is None
    assert first_match([], WEB) is None


SEGMENT = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=8).filter(
    lambda text: text not in (".", "..")
)
PATH = st.lists(SEGMENT, min_size=1, max_size=5)


def _identity(path: list[str]) -> Identity:
    """Identities that differ in their SPIFFE ID alone, without making a certificate for each."""
    return dataclasses.replace(WEB, spiffe=SpiffeId.parse("spiffe://td/" + "/".join(path)))


def _oracle(pattern: list[str], path: list[str]) -> bool:
    """The rule's meaning said another way: recursively."""
    if pattern == ["**"]:
        return len(path) >= 1
    if not pattern or not path:
        return not pattern and not path
    return pattern[0] in ("*", path[0]) and _oracle(pattern[1:], path[1:])


@given(
    pattern=st.lists(st.one_of(SEGMENT, st.just("*"), st.sampled_from("ab")), min_size=1, max_size=4),
    rest=st.booleans(),
    path=st.one_of(PATH, st.lists(st.sampled_from("ab"), min_size=1, max_size=5)),
)
@settings(max_examples=500, deadline=None)
def test_spiffe_patterns_mean_what_the_oracle_says(pattern: list[str], rest: bool, path: list[str]) -> None:
    wanted = [*pattern, "**"] if rest else pattern
    rule = Rule.parse("spiffe://td/" + "/".join(wanted))
    assert rule.matches(_identity(path)) == _oracle(wanted, path)


@given(PATH)
@settings(deadline=None)
def test_an_exact_spiffe_rule_matches_itself_and_nothing_longer(path: list[str]) -> None:
    rule = Rule.parse("spiffe://td/" + "/".join(path))
    assert rule.matches(_identity(path))
    assert not rule.matches(_identity([*path, "x"]))
    assert len(path) == 1 or not rule.matches(_identity(path[:-1]))


@given(st.text(max_size=80))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    try:
        rule = Rule.parse(text)
    except RuleError:
        return
    assert str(rule) == text.strip()
    assert isinstance(rule.matches(WEB), bool)


@given(
    st.sampled_from(["spiffe://", "dns:", "ip:", "uri:", "sha256:", "cn:"]), st.text("abc.*/:-_% \n\x00[]", max_size=20)
)
@settings(max_examples=500, deadline=None)
def test_any_value_is_a_rule_or_an_error(kind: str, value: str) -> None:
    try:
        rule = Rule.parse(kind + value)
    except RuleError:
        return
    assert rule.matches(BROKEN_SVID) is False
