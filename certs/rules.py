"""Access rules: which identities may talk, or whom we expect to talk to.

A rule is one text, ``kind:value``; any one of a list suffices. What a rule compares with was vouched for by the trust
bundle, but is still chosen by whoever asked for the certificate: matching is by whole values, never by parts of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address

from certs.errors import RuleError
from certs.identity import Identity
from certs.rule_scope import Scope, Scopes, Wildcard
from certs.spiffe import SCHEME, segment_problem, trust_domain_problem

DIGEST_HEX_DIGITS = 64
MAX_RULE_CHARACTERS = 4096

_DNS_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_URI_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)


# Tells why a rule does not match an identity, in words; empty when it does. What decides is what explains.
Mismatch = Callable[[Identity], str]

# What is said behind a rule's kind: whom it covers, and how it judges.
Parsed = tuple[Scope, Mismatch]

# Of what a certificate says, so much is repeated in a reason.
_SHOWN_NAMES = 3
_SHOWN_CHARACTERS = 80


class RuleKind(StrEnum):
    """What of an identity a rule looks at."""

    SPIFFE = "spiffe"
    URI = "uri"
    DNS = "dns"
    IP = "ip"
    CN = "cn"
    OU = "ou"
    SHA256 = "sha256"
    SPKI_SHA256 = "spki-sha256"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Rule:
    """One parsed rule; ``str`` gives its text back."""

    text: str
    kind: RuleKind
    scope: Scope = field(repr=False, compare=False)
    _mismatch: Mismatch = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Raises :class:`RuleError`, with a suggestion where there is a likely one."""
        text = text.strip()
        if not text:
            raise RuleError("an access rule is empty", 'write "any" to let in everyone the trust bundle vouches for')
        if len(text) > MAX_RULE_CHARACTERS:
            raise RuleError(f"an access rule is longer than {MAX_RULE_CHARACTERS} characters")
        if not text.isprintable():
            raise RuleError(f"{text!a} holds characters that cannot be printed")
        if text == RuleKind.ANY:
            return cls(text, RuleKind.ANY, (Wildcard.REST,), _match_any)
        if text.startswith(SCHEME):
            scope, mismatch = _spiffe_rule(text)
            return cls(text, RuleKind.SPIFFE, (RuleKind.SPIFFE, *scope), mismatch)
        name, colon, value = text.partition(":")
        parser = _PARSERS.get(name)
        if not colon or parser is None:
            raise RuleError(f"{text!r} is not an access rule", _suggest(text))
        if not value or value != value.strip():
            raise RuleError(f"{text!r} has no value, or spaces around it", f'write "{name}:{value.strip() or "VALUE"}"')
        kind = RuleKind(name)
        scope, mismatch = parser(value)
        return cls(text, kind, (kind, *scope), mismatch)

    def matches(self, identity: Identity) -> bool:
        """Whether the rule lets ``identity`` in. A leaf that claims to be an X.509-SVID and is not matches nothing."""
        return not self.mismatch(identity)

    def mismatch(self, identity: Identity) -> str:
        """Why the rule does not let ``identity`` in; empty when it does. Some of the text is the certificate's own:
        escape it before it is shown."""
        if identity.svid_error:
            return f"it claims to be an X.509-SVID and is none: {identity.svid_error}"
        return self._mismatch(identity)

    def __str__(self) -> str:
        return self.text


def parse_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Raises :class:`RuleError` at the first text that is not a rule."""
    return tuple(Rule.parse(text) for text in texts)


def first_match(rules: Iterable[Rule], identity: Identity) -> Rule | None:
    """The rule that decides: the first of ``rules`` that matches, or ``None``, which means no."""
    for rule in rules:
        if rule.matches(identity):
            return rule
    return None


def hidden_rules(rules: Sequence[Rule]) -> Iterator[tuple[Rule, Rule]]:
    """Each rule that never decides, and the first one before it that lets in all whom it would, as far as their texts
    tell."""
    before = Scopes()
    for number, rule in enumerate(rules):
        covering = before.covering(rule.scope)
        if covering is not None:
            yield rule, rules[covering]
        before.add(rule.scope, number)


def _match_any(identity: Identity) -> str:
    return ""


def _spiffe_rule(text: str) -> Parsed:
    trust_domain, _, path = text[len(SCHEME) :].partition("/")
    problem = trust_domain_problem(trust_domain)
    if problem:
        lowered = trust_domain.lower()
        better = "" if trust_domain_problem(lowered) else f'write "{SCHEME}{lowered}/{path or "**"}"'
        raise RuleError(f"{text!r}: {problem}", better)
    if not path:
        raise RuleError(f"{text!r} has no path", f'write "{SCHEME}{trust_domain}/**" for the whole trust domain')
    segments = path.split("/")
    takes_rest = segments[-1] == "**"
    if takes_rest:
        segments.pop()
    for segment in segments:
        if segment == "**":
            raise RuleError(f"{text!r}: '**' stands only at the end", "use '*' for one segment")
        if "*" in segment and segment != "*":
            raise RuleError(f"{text!r}: '*' stands for one whole segment, not for a part of one")
        problem = "" if segment == "*" else segment_problem(segment)
        if problem:
            raise RuleError(f"{text!r}: {problem}", f'write "{text.rstrip("/")}"' if path.endswith("/") else "")
    pattern = tuple(segments)

    def mismatch(identity: Identity) -> str:
        spiffe = identity.spiffe
        if spiffe is None:
            return "the certificate has no SPIFFE ID"
        if spiffe.trust_domain != trust_domain:
            return f"another trust domain: {_shown([spiffe.trust_domain])}"
        return _path_mismatch(pattern, takes_rest, spiffe.segments)

    parts = (Wildcard.ONE if segment == "*" else segment for segment in pattern)
    rest = (Wildcard.REST,) if takes_rest else ()
    return (trust_domain, *parts, *rest), mismatch


def _path_mismatch(pattern: Sequence[str], takes_rest: bool, shown: Sequence[str]) -> str:
    # The rest is at least one segment: /ns/** is what lies below /ns, not /ns itself.
    surplus = len(shown) - len(pattern) - takes_rest
    if surplus < 0 or (surplus and not takes_rest):
        number = abs(surplus)
        count = "one segment" if number == 1 else f"{number} segments"
        rest = ": '**' is at least one" if takes_rest and number == 1 else ""
        return f"{count} too {'many' if surplus > 0 else 'few'}{rest}"
    for number, (want, have) in enumerate(zip(pattern, shown, strict=False), 1):
        if want not in ("*", have):
            but_for_case = ", and case counts" if want.lower() == have.lower() else ""
            return f"segment {number} is {_shown([have])}, not {want}{but_for_case}"
    return ""


def _uri_rule(value: str) -> Parsed:
    if "*" in value:
        raise RuleError(f"'uri:{value}' has a '*', but URIs are compared whole", "only spiffe:// rules take wildcards")
    if not _URI_SCHEME.match(value):
        raise RuleError(f"'uri:{value}' is not an absolute URI", "write the URI with its scheme")
    return _whole_rule("URI", value, lambda identity: identity.uris)


def _dns_rule(value: str) -> Parsed:
    name = value.lower()
    if name.endswith("."):
        raise RuleError(f"'dns:{value}' ends with a dot, which certificates never do", f'write "dns:{value[:-1]}"')
    if _is_ip(name):
        raise RuleError(f"'dns:{value}' is an IP address", f'write "ip:{value}"')
    wildcard = name.startswith("*.")
    labels = name.removeprefix("*.").split(".")
    if "*" in name.removeprefix("*."):
        raise RuleError(f"'dns:{value}': '*' stands only for the whole first label", 'write "dns:*.example.org"')
    if any(not _DNS_LABEL.fullmatch(label) for label in labels):
        raise RuleError(f"'dns:{value}' is not a DNS name", "international names are written in their xn-- form")
    if wildcard:
        parent = ".".join(labels)
        return (parent, Wildcard.ONE), lambda identity: _wildcard_mismatch(parent, identity)

    def mismatch(identity: Identity) -> str:
        if any(shown.lower() == name for shown in identity.dns):
            return ""
        return _no_dns_name(identity, name) or f"its DNS names are others: {_shown(identity.dns)}"

    label, *above = labels
    return (".".join(above), label), mismatch


def _wildcard_mismatch(parent: str, identity: Identity) -> str:
    reason = ""
    for shown in identity.dns:
        label, _, rest = shown.lower().partition(".")
        if rest == parent and (label == "*" or _DNS_LABEL.fullmatch(label)):
            return ""
        if rest == parent:
            reason = reason or f"'*' is one host label, which the first of {_shown([shown])} is not"
        elif shown.lower() == parent:
            reason = reason or f"the wildcard covers one label before {parent}, not {parent} itself"
        elif rest.endswith(f".{parent}"):
            labels = shown.count(".") - parent.count(".")
            reason = reason or f"the wildcard covers one label, and {_shown([shown])} has {labels} before {parent}"
    return reason or _no_dns_name(identity, "") or f"none of its DNS names is below {parent}: {_shown(identity.dns)}"


def _no_dns_name(identity: Identity, wanted: str) -> str:
    if identity.dns:
        return ""
    if wanted and identity.common_name.lower() == wanted:
        return "the certificate has no DNS name: a CN is never taken for one"
    return "the certificate has no DNS name"


def _ip_rule(value: str) -> Parsed:
    try:
        address = str(ip_address(value.removeprefix("[").removesuffix("]")))
    except ValueError:
        better = "address ranges are not supported: name each address" if "/" in value else ""
        raise RuleError(f"'ip:{value}' is not an IP address", better) from None
    return _whole_rule("IP address", address, lambda identity: identity.ips)


def _common_name_rule(value: str) -> Parsed:
    return _whole_rule("CN", value, lambda identity: tuple(filter(None, (identity.common_name,))))


def _unit_rule(value: str) -> Parsed:
    return _whole_rule("OU", value, lambda identity: identity.organizational_units)


def _whole_rule(what: str, value: str, names_of: Callable[[Identity], Sequence[str]]) -> Parsed:
    def mismatch(identity: Identity) -> str:
        names = names_of(identity)
        if value in names:
            return ""
        if not names:
            return f"the certificate has no {what}"
        if any(value.lower() == name.lower() for name in names):
            return f"the same but for case, which counts: {_shown(names)}"
        return f"another {what}: {_shown(names)}"

    return (value,), mismatch


def _shown(names: Sequence[str]) -> str:
    """Names from a certificate, some of them, each cut where it is long."""
    cut = [name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…" for name in names[:_SHOWN_NAMES]]
    more = len(names) - len(cut)
    return ", ".join(cut) + (f" and {more} more" if more else "")


def _digest_rule(kind: RuleKind) -> Callable[[str], Parsed]:
    def parse(value: str) -> Parsed:
        digest = value.replace(":", "").lower()
        if len(digest) != DIGEST_HEX_DIGITS or not set(digest) <= set("0123456789abcdef"):
            raise RuleError(f"'{kind.value}:{value}' is not {DIGEST_HEX_DIGITS} hexadecimal digits")
        if kind is RuleKind.SHA256:
            return (digest,), lambda identity: "" if identity.sha256 == digest else "another certificate"
        return (digest,), lambda identity: "" if identity.spki_sha256 == digest else "another key"

    return parse


_PARSERS: dict[str, Callable[[str], Parsed]] = {
    RuleKind.URI: _uri_rule,
    RuleKind.DNS: _dns_rule,
    RuleKind.IP: _ip_rule,
    RuleKind.CN: _common_name_rule,
    RuleKind.OU: _unit_rule,
    RuleKind.SHA256: _digest_rule(RuleKind.SHA256),
    RuleKind.SPKI_SHA256: _digest_rule(RuleKind.SPKI_SHA256),
}

_OTHER_WORDS = {
    "*": "any",
    "all": "any",
    "san": "dns",
    "host": "dns",
    "hostname": "dns",
    "name": "cn",
    "common-name": "cn",
    "commonname": "cn",
    "org-unit": "ou",
    "fingerprint": "sha256",
    "thumbprint": "sha256",
    "pin": "spki-sha256",
    "spki": "spki-sha256",
    "address": "ip",
}


def _suggest(text: str) -> str:
    name, separator, value = text.partition(":")
    if not separator:
        name, separator, value = text.partition("=")
    name = name.strip().lower()
    value = value.strip()
    if name == "spiffe":
        return f'write "{SCHEME}{value.lstrip("/") or "TRUST-DOMAIN/PATH"}"'
    if _is_ip(text):
        return f'write "ip:{text}"'
    if not separator:
        if name in ("any", *_OTHER_WORDS) and _OTHER_WORDS.get(name, "any") == "any":
            return 'write "any"'
        if all(_DNS_LABEL.fullmatch(label) for label in name.removeprefix("*.").split(".")) and "." in name:
            return f'write "dns:{name}"'
        return f"a rule is one of {_kinds_text()}"
    kinds = [kind.value for kind in RuleKind]
    close = [name] if name in kinds else [_OTHER_WORDS[name]] if name in _OTHER_WORDS else []
    if not close:
        from difflib import get_close_matches  # only ever needed on the way out

        close = get_close_matches(name, kinds, n=1)
    if close:
        return 'write "any"' if close[0] == RuleKind.ANY else f'write "{close[0]}:{value}"'
    if value.startswith("//"):
        return f'write "uri:{text}"'
    return f"a rule is one of {_kinds_text()}"


def _kinds_text() -> str:
    return ", ".join(["spiffe://…", *(f"{name}:…" for name in _PARSERS), "any"])


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
