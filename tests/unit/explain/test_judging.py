"""What is said of a certificate is what happens to it, and the line to copy lets in this peer and nobody else."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.certs import forge
from unit.certs.forge import DAY, Made

from certs.identity import Identity
from certs.rules import Rule, first_match
from tlsidecar.api.explanations import Judgement
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.explain import judging
from tlsidecar.explain.allowing import config_line, exact_rule, with_rule
from tlsidecar.explain.judging import Asked, CannotAsk, judge
from tlsidecar.settings import Address, ListenerSettings, Mode, Protocol, Route, Tls

NOW = datetime.now(UTC).replace(microsecond=0)  # OpenSSL looks at the real clock
ROOT = forge.authority(starts=NOW - 10 * DAY, ends=NOW + 10 * DAY)
STRANGER = forge.authority("Stranger", starts=NOW - 10 * DAY, ends=NOW + 10 * DAY)
HERE = Address("127.0.0.1", 1)


def leaf(issuer: Made = ROOT, **changes: object) -> Made:
    return forge.leaf(issuer, **({"starts": NOW - DAY, "ends": NOW + DAY, "dns": ("shop.test",)} | changes))


CONTEXTS = Contexts(1, forge.material(leaf(dns=("us.test",)), trust=[ROOT]), Tls())
SHOP = leaf(dns=(), uris=("spiffe://prod.example/ns/shop/sa/web",))
SRE = leaf(dns=("sre.test",), subject=[(NameOID.ORGANIZATIONAL_UNIT_NAME, "sre")])
DEV = leaf(dns=("dev.test",))

ROUTES = (
    Route("/admin/**", (), ("ou:sre",)),
    Route("/orders/*", ("DELETE", "PUT"), ("ou:sre", "dns:shop.test")),
)
WEB = ListenerSettings("web", Mode.TERMINATE, HERE, (HERE,), allow=("spiffe://prod.example/ns/*/sa/frontend", "ou:sre"))
HTTP = replace(WEB, protocol=Protocol.HTTP, routes=ROUTES, allow=("dns:*.test",))


def asked(listener: ListenerSettings, peer: Made, method: str = "", path: str = "") -> Judgement[str]:
    return judge(listener, CONTEXTS, [peer.der], Asked(method, path) if path else None)


def test_each_rule_says_why_it_does_not_match() -> None:
    told = asked(WEB, SHOP)
    assert (told.allowed, told.reason, told.stage, told.verified) == (False, "not_allowed", "authorize", True)
    assert [(each.rule, each.place, each.matches, each.why) for each in told.rules] == [
        ("spiffe://prod.example/ns/*/sa/frontend", "allow", False, "segment 4 is web, not frontend"),
        ("ou:sre", "allow", False, "the certificate has no OU"),
    ]
    (line,) = told.lines
    assert line.place == '[[listener]] name = "web"'
    assert tomllib.loads(line.line)["allow"] == [*WEB.allow, "spiffe://prod.example/ns/shop/sa/web"]


def test_whoever_is_let_in_is_told_by_which_rule() -> None:
    told = asked(WEB, SRE)
    assert (told.allowed, told.rule, told.reason, told.lines) == (True, "ou:sre", "", ())
    assert [each.matches for each in told.rules] == [False, True]


def test_no_rule_is_offered_for_what_does_not_verify() -> None:
    told = asked(WEB, leaf(STRANGER))
    assert (told.allowed, told.reason, told.stage, told.verified) == (False, "unknown_ca", "verify", False)
    assert told.lines == ()
    assert told.note == "no rule lets in a certificate that does not verify"
    assert all(each.why for each in told.rules)


@pytest.mark.parametrize(
    ("peer", "method", "path", "allowed", "route", "rules"),
    [
        (DEV, "GET", "/", True, "", ["dns:*.test"]),
        (DEV, "GET", "/admin/users", False, "any method /admin/**", ["ou:sre"]),
        (SRE, "GET", "/admin/users", True, "any method /admin/**", ["ou:sre"]),
        (DEV, "DELETE", "/orders/7", False, "DELETE,PUT /orders/*", ["ou:sre", "dns:shop.test"]),
        (DEV, "GET", "/orders/7", True, "", ["dns:*.test"]),
        (DEV, "GET", "/x/../admin/users", False, "any method /admin/**", ["ou:sre"]),
    ],
)
def test_the_route_that_decides_is_told(
    peer: Made, method: str, path: str, allowed: bool, route: str, rules: list[str]
) -> None:
    told = asked(HTTP, peer, method, path)
    assert (told.allowed, told.route, [each.rule for each in told.rules]) == (allowed, route, rules)
    assert told.status == (0 if allowed else 403)


def test_a_line_for_a_route_is_for_that_route() -> None:
    told = asked(HTTP, DEV, "DELETE", "/orders/7")
    (line,) = told.lines
    assert line.place == '[[listener]] name = "web", [[listener.route]] path = "/orders/*", methods = ["DELETE", "PUT"]'
    assert tomllib.loads(line.line)["allow"] == ["ou:sre", "dns:shop.test", "dns:dev.test"]


def test_a_path_that_two_would_read_differently_gets_no_line() -> None:
    told = asked(HTTP, SRE, "GET", "/admin%2Fusers")
    assert (told.allowed, told.reason, told.status, told.lines) == (False, "bad_path", 400, ())


def test_several_routes_may_have_to_change() -> None:
    """ "/Admin" is no match for the rule, but a service that does not mind case takes it for one."""
    routes = (Route("/admin", (), ("ou:sre",)), Route("/Admin", (), ("ou:sre",)))
    told = asked(replace(HTTP, routes=routes), DEV, "GET", "/Admin")
    assert not told.allowed
    changed = replace(HTTP, routes=tuple(replace(each, allow=("ou:sre", "dns:dev.test")) for each in routes))
    assert asked(changed, DEV, "GET", "/Admin").allowed
    assert len(told.lines) == 2


def test_more_lines_than_anybody_would_copy_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = (Route("/admin", (), ("ou:sre",)), Route("/Admin", (), ("ou:sre",)))
    monkeypatch.setattr(judging, "_MOST_LINES", 1)
    told = asked(replace(HTTP, routes=routes), DEV, "GET", "/Admin")
    assert (told.allowed, told.lines, told.note) == (False, (), "no rule alone would let it in")


def test_a_remote_is_judged_by_what_is_expected_of_it() -> None:
    remote = ListenerSettings("pay", Mode.ORIGINATE, HERE, (HERE,), expect=("dns:pay.eu.test",))
    told = asked(remote, DEV)
    assert (told.reason, told.rules[0].place) == ("not_expected", "expect")
    assert tomllib.loads(told.lines[0].line) == {"expect": ["dns:pay.eu.test", "dns:dev.test"]}
    assert asked(remote, leaf(dns=("*.eu.test",))).allowed  # a wildcard certificate names the host (RFC 9525)


def test_a_request_is_asked_of_http_alone() -> None:
    with pytest.raises(CannotAsk, match="web judges no requests"):
        asked(WEB, DEV, "GET", "/")


def test_who_is_denied_is_told_so() -> None:
    told = judge(WEB, CONTEXTS, [SRE.der], denial=lambda _: "kept out")
    assert (told.allowed, told.reason, told.detail, told.rule, told.lines) == (
        False,
        "identity_denied",
        "kept out",
        "ou:sre",
        (),
    )


@pytest.mark.parametrize(
    ("peer", "rule"),
    [
        (SHOP, "spiffe://prod.example/ns/shop/sa/web"),
        (leaf(dns=("Shop.Test",)), "dns:shop.test"),
        (leaf(dns=(), ips=("10.0.0.7",)), "ip:10.0.0.7"),
        (leaf(dns=(), uris=("https://example.org/a",)), "uri:https://example.org/a"),
        (leaf(dns=("*.test",)), "sha256"),
        (leaf(dns=("a.test", "b.test")), "sha256"),
        (leaf(dns=("a.test",), ips=("10.0.0.7",)), "sha256"),
        (leaf(dns=(), uris=('https://example.org/"]\n[evil',)), "sha256"),
    ],
)
def test_the_rule_is_the_narrowest_that_lasts(peer: Made, rule: str) -> None:
    found = exact_rule(peer.identity)
    assert found.text == (rule if rule != "sha256" else f"sha256:{peer.identity.sha256}")


NAMES = st.lists(st.sampled_from(["a.test", "b.test", "*.test", "B.test"]), max_size=2, unique=True)
PEOPLE = st.builds(
    lambda dns, ips, uris: replace(
        DEV.identity,
        dns=tuple(dns),
        ips=tuple(ips),
        uris=tuple(uris),
        sha256=f"{abs(hash((tuple(dns), tuple(ips), tuple(uris)))):064x}",
    ),
    NAMES,
    st.lists(st.sampled_from(["10.0.0.7", "10.0.0.8"]), max_size=1),
    st.lists(st.sampled_from(["https://example.org/a", "https://example.org/b"]), max_size=1),
)


@settings(max_examples=300)
@given(PEOPLE, PEOPLE)
def test_the_rule_is_for_nobody_else(one: Identity, other: Identity) -> None:
    rule = exact_rule(one)
    assert rule.matches(one)
    if rule.matches(other):
        names = (set(map(str.lower, one.dns)), set(one.ips), set(one.uris))
        others = (set(map(str.lower, other.dns)), set(other.ips), set(other.uris))
        # The same only name; whoever has it among more names was given it by the same CAs, and is this party, too.
        assert all(mine <= theirs for mine, theirs in zip(names, others, strict=True))


def test_the_line_is_what_is_tried() -> None:
    rule = Rule.parse("dns:dev.test")
    line = config_line(with_rule(HTTP, 0, rule), 0, rule)
    assert tomllib.loads(line.line)["allow"] == ["ou:sre", "dns:dev.test"]
    assert first_match([rule], DEV.identity) is rule
