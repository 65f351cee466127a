"""Scopes of access rules: which of many covers another, without comparing it with each."""

from __future__ import annotations

import pytest

from certs.rule_scope import Scope, Scopes, Wildcard
from certs.rules import hidden_rules, parse_rules

ONE, REST = Wildcard.ONE, Wildcard.REST


@pytest.mark.parametrize(
    ("before", "scope", "covering"),
    [
        ([("a", "b")], ("a", "b"), 0),
        ([("a", "b")], ("a",), None),
        ([("a",)], ("a", "b"), None),
        ([("a", ONE)], ("a", "b"), 0),
        ([("a", ONE)], ("a", ONE), 0),
        ([("a", "b")], ("a", ONE), None),
        ([("a", REST)], ("a", "b", "c"), 0),
        ([("a", REST)], ("a",), None),  # at least one
        ([("a", REST)], ("a", REST), 0),
        ([("a", "b", REST)], ("a", REST), None),
        ([("a", ONE)], ("a", REST), None),
        ([(REST,)], ("a", ONE, REST), 0),
        ([("a", "x"), (ONE, "b"), ("a", "b")], ("a", "b"), 1),  # the first of those that do
        ([("a", "b"), ("a", "b")], ("a", "b"), 0),
    ],
)
def test_the_first_that_covers_it_is_found(before: list[Scope], scope: Scope, covering: int | None) -> None:
    scopes = Scopes()
    for number, each in enumerate(before):
        scopes.add(each, number)
    assert scopes.covering(scope) == covering


def test_a_look_up_passes_by_what_cannot_cover_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand rules are looked through once, with each new material: not each with each."""
    asked = 0

    class Counted(dict[object, Scopes]):
        def __contains__(self, key: object) -> bool:
            nonlocal asked
            asked += 1
            return super().__contains__(key)

    made = Scopes.__init__

    def counting(self: Scopes) -> None:
        made(self)
        self._below = Counted()  # type: ignore[assignment]

    monkeypatch.setattr(Scopes, "__init__", counting)
    rules = parse_rules([f"spiffe://prod.example/ns/team-{number}/sa/*" for number in range(1000)])
    assert list(hidden_rules(rules)) == []
    assert asked < 20 * len(rules)


def test_as_many_parts_as_a_rule_may_have() -> None:
    long = f"spiffe://prod.example/{'/'.join(['*'] * 900)}"
    (hidden,) = hidden_rules(parse_rules([long, long]))
    assert str(hidden[1]) == long
