"""Access rules: what they let in, what they keep out, and what they say when they do not parse."""

from __future__ import annotations

import dataclasses
import re
import string

import pytest
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.certs import forge

from certs.errors import RuleError
from certs.identity import Identity
from certs.rules import Rule, first_match, hidden_rules, parse_rules
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


WORDS = st.sampled_from(["ns", "Ns", "shop", "sa", "web", "pay"])
SEGMENTS = st.lists(WORDS, min_size=1, max_size=4)
LABELS = st.lists(st.sampled_from(["a", "ops", "Ops", "internal", "*", "x_y"]), min_size=1, max_size=4).map(".".join)
IDENTITIES = st.builds(
    lambda domain, segments, dns, ips, name, units: dataclasses.replace(
        OTHER,
        spiffe=SpiffeId(domain, "/" + "/".join(segments)) if segments else None,
        uris=(f"spiffe://{domain}/{'/'.join(segments)}",) if segments else ("https://Example.org/A",),
        dns=tuple(dns),
        ips=tuple(ips),
        common_name=name,
        organizational_units=tuple(units),
    ),
    st.sampled_from(["prod.example", "dev.example"]),
    st.one_of(st.just([]), SEGMENTS),
    st.lists(LABELS, max_size=2),
    st.lists(st.sampled_from(["10.0.0.7", "2001:db8::7"]), max_size=1),
    st.sampled_from(["", "Web", "web"]),
    st.lists(st.sampled_from(["sre", "SRE"]), max_size=1),
)
RULES = st.one_of(
    st.builds(
        lambda domain, segments, rest: f"spiffe://{domain}/{'/'.join([*segments, *rest])}",
        st.sampled_from(["prod.example", "dev.example"]),
        st.lists(st.one_of(WORDS, st.just("*")), min_size=1, max_size=4),
        st.sampled_from([[], ["**"]]),
    ),
    st.sampled_from(["dns:ops.internal", "dns:*.ops.internal", "dns:*.internal", "dns:a.ops.internal"]),
    st.sampled_from(["any", "ip:10.0.0.7", "cn:Web", "ou:sre", "uri:https://example.org/A", f"sha256:{OTHER.sha256}"]),
)


def expected(text: str, identity: Identity) -> bool:
    """Whether a rule lets an identity in, written a second time and otherwise, for the comparison."""
    kind, _, value = text.partition(":")
    if kind == "spiffe":
        domain, _, path = value[2:].partition("/")
        pattern = "".join(
            "/.+" if each == "**" else "/[^/]+" if each == "*" else f"/{each}" for each in path.split("/")
        )
        spiffe = identity.spiffe
        return (
            spiffe is not None
            and spiffe.trust_domain == domain
            and re.fullmatch(pattern, "".join(f"/{each}" for each in spiffe.segments)) is not None
        )
    if kind == "dns":
        pattern = re.escape(value).replace(r"\*", r"(\*|[a-z0-9_]+)")
        return any(re.fullmatch(pattern, name.lower()) for name in identity.dns)
    held = {
        "any": [""],
        "ip": identity.ips,
        "cn": [identity.common_name],
        "ou": identity.organizational_units,
        "uri": identity.uris,
        "sha256": [identity.sha256],
    }
    return value in held[kind]


@settings(max_examples=400)
@given(RULES, IDENTITIES)
def test_a_reason_is_given_exactly_when_a_rule_does_not_match(text: str, identity: Identity) -> None:
    rule = Rule.parse(text)
    assert (rule.mismatch(identity) == "") is rule.matches(identity) is expected(text, identity)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("spiffe://dev.example/**", "another trust domain: prod.example"),
        ("spiffe://prod.example/ns/shop", "2 segments too many"),
        ("spiffe://prod.example/ns/shop/sa", "one segment too many"),
        ("spiffe://prod.example/ns/shop/sa/web/v2", "one segment too few"),
        ("spiffe://prod.example/ns/shop/sa/web/**", "one segment too few: '**' is at least one"),
        ("spiffe://prod.example/ns/pay/*/*", "segment 2 is shop, not pay"),
        ("spiffe://prod.example/ns/Shop/*/*", "segment 2 is shop, not Shop, and case counts"),
        ("dns:*.internal", "the wildcard covers one label, and Web.ops.internal has 2 before internal"),
        (
            "dns:*.web.ops.internal",
            "the wildcard covers one label before web.ops.internal, not web.ops.internal itself",
        ),
        ("dns:*.example.org", "none of its DNS names is below example.org: Web.ops.internal"),
        ("dns:ops.internal", "its DNS names are others: Web.ops.internal"),
        ("ip:10.0.0.8", "another IP address: 10.0.0.7, 2001:db8::7"),
        ("cn:web", "the same but for case, which counts: Web"),
        ("ou:dba", "another OU: sre, web team"),
        ("uri:spiffe://prod.example/ns", "another URI: spiffe://prod.example/ns/shop/sa/web"),
        (f"sha256:{'0' * 64}", "another certificate"),
        (f"spki-sha256:{'0' * 64}", "another key"),
    ],
)
def test_the_reason_says_what_is_different(text: str, reason: str) -> None:
    assert Rule.parse(text).mismatch(WEB) == reason


def test_what_is_no_svid_says_so_whatever_the_rule() -> None:
    assert Rule.parse("any").mismatch(BROKEN_SVID).startswith("it claims to be an X.509-SVID and is none: ")
    assert "CN is never taken" in Rule.parse("dns:web.internal").mismatch(dataclasses.replace(OTHER, dns=()))


SHADOWS = [
    "any", "ou:sre", "cn:Web", "dns:*.ops.internal", "dns:web.ops.internal", "dns:other.internal", "ip:10.0.0.7",
    "spiffe://prod.example/**", "spiffe://prod.example/ns/**", "spiffe://prod.example/ns/*/sa/web",
    "spiffe://prod.example/*/*/sa/*", "spiffe://prod.example/ns/shop/sa/web", "uri:https://Example.org/A",
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "rule", "hidden"),
    [
        ("any", "ou:sre", True),
        ("any", "spiffe://prod.example/ns/**", True),
        ("ou:sre", "ou:sre", True),
        ("ou:sre", "ou:SRE", False),
        ("ou:sre", "cn:sre", False),
        ("ou:sre", "any", False),
        ("dns:*.ops.internal", "dns:a.ops.internal", True),
        ("dns:*.ops.internal", "dns:A.OPS.internal", True),
        ("dns:*.ops.internal", "dns:a.b.ops.internal", False),
        ("dns:*.ops.internal", "dns:ops.internal", False),
        ("dns:a.ops.internal", "dns:*.ops.internal", False),
        ("ip:::1", "ip:[0:0:0:0:0:0:0:1]", True),
        ("ip:10.0.0.1", "ip:10.0.0.2", False),
        (f"sha256:{'ab' * 32}", f"sha256:{':'.join(['AB'] * 32)}", True),
        (f"sha256:{'ab' * 32}", f"spki-sha256:{'ab' * 32}", False),
        ("spiffe://a.example/ns/*/sa/web", "spiffe://a.example/ns/shop/sa/web", True),
        ("spiffe://a.example/ns/*/sa/web", "spiffe://b.example/ns/shop/sa/web", False),
        ("spiffe://a.example/ns/shop/sa/web", "spiffe://a.example/ns/*/sa/web", False),
        ("spiffe://a.example/ns/**", "spiffe://a.example/ns/shop", True),
        ("spiffe://a.example/ns/**", "spiffe://a.example/ns/*/**", True),
        ("spiffe://a.example/ns/**", "spiffe://a.example/ns/**", True),
        ("spiffe://a.example/ns/**", "spiffe://a.example/ns", False),
        ("spiffe://a.example/ns/*", "spiffe://a.example/ns/**", False),
        ("spiffe://a.example/**", "spiffe://a.example/ns/**", True),
        ("spiffe://a.example/ns/*/**", "spiffe://a.example/ns/**", False),
        ("uri:urn:a", "uri:urn:a", True),
    ],
)
def test_a_rule_that_one_before_it_hides(before: str, rule: str, hidden: bool) -> None:
    found = [(str(mine), str(other)) for mine, other in hidden_rules(parse_rules(["cn:someone", before, rule]))]
    assert found == ([(rule, before)] if hidden else [])


@given(st.lists(st.sampled_from(SHADOWS), min_size=2, max_size=4))
def test_nobody_is_let_in_by_a_hidden_rule(texts: list[str]) -> None:
    rules = parse_rules(texts)
    hidden = [id(rule) for rule, _ in hidden_rules(rules)]
    for shown in (WEB, OTHER):
        deciding = first_match(rules, shown)
        assert deciding is None or id(deciding) not in hidden
