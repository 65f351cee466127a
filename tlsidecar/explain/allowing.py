"""The rule that is for exactly one peer, and the line of the configuration that has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from certs.errors import RuleError
from certs.identity import Identity
from certs.rules import Rule
from tlsidecar.api.explanations import ConfigLine
from tlsidecar.settings import ListenerSettings, Mode
from tlsidecar.toml_text import toml


def exact_rule(identity: Identity) -> Rule:
    """The rule for this peer and for nobody else that the trust bundle vouches for: by its SPIFFE ID, by its only name,
    else by its certificate. A wildcard name is no name of one peer; what several names have in common may be somebody
    else's, too."""
    for text in _candidates(identity):
        try:
            rule = Rule.parse(text)
        except RuleError:
            continue  # a name that no rule can have
        if rule.matches(identity):
            return rule
    return Rule.parse(f"sha256:{identity.sha256}")


def _candidates(identity: Identity) -> Iterator[str]:
    if identity.spiffe is not None:
        yield identity.uris[0]
        return
    names = [f"uri:{each}" for each in identity.uris]
    names += [f"dns:{each.lower()}" for each in identity.dns]
    names += [f"ip:{each}" for each in identity.ips]
    if len(names) == 1 and not identity.emails and "*" not in names[0]:
        yield names[0]


def with_rule(listener: ListenerSettings, route: int | None, rule: Rule) -> ListenerSettings:
    """The listener with one rule more, in its own list or in that of the route at this place."""
    if route is None:
        if listener.mode is Mode.ORIGINATE:
            return replace(listener, expect=(*listener.expect, rule.text))
        return replace(listener, allow=(*listener.allow, rule.text))
    changed = replace(listener.routes[route], allow=(*listener.routes[route].allow, rule.text))
    routes = (*listener.routes[:route], changed, *listener.routes[route + 1 :])
    return replace(listener, routes=routes)


def config_line(listener: ListenerSettings, route: int | None, rule: Rule) -> ConfigLine[str]:
    """The line of ``listener``, as :func:`with_rule` made it, that has the new rule."""
    if route is None:
        place = f'[[listener]] name = "{listener.name}"'
        key, rules = ("allow", listener.allow) if listener.mode is Mode.TERMINATE else ("expect", listener.expect)
    else:
        there = listener.routes[route]
        place = f'[[listener]] name = "{listener.name}", [[listener.route]] path = {toml(there.path)}'
        if there.methods:
            place += f", methods = {toml(there.methods)}"
        key, rules = "allow", there.allow
    return ConfigLine(place, f"{key} = {toml(rules)}", rule.text)
