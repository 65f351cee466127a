"""A chain of certificates, and perhaps a request, tried on a listener as it is in force."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from certs.identity import Identity, Role
from certs.rules import Rule
from tlsidecar.api.explanations import ConfigLine, Judgement, RuleTried
from tlsidecar.dataplane import trial
from tlsidecar.dataplane.http import paths
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http.routes import RouteTable, route_text
from tlsidecar.dataplane.policy import Policy
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.explain.allowing import config_line, exact_rule, with_rule
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import ListenerSettings, Mode

# What is decided by rules: another rule would decide otherwise.
_OF_RULES = (Reason.NOT_ALLOWED, Reason.NOT_EXPECTED, Reason.ROUTE_DENIED)

_PATH = re.compile(r"/[!-~]{0,8191}")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")

# More lines than this are no answer to copy, and each takes a trial on the loop that serves.
_MOST_LINES = 8

_ANY_PEER = "what is asked about is the certificate: who shows it has to hold its key as well"
_ROUTES_DECIDE = "its routes decide each request: ask about one by its path and method"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is asked about, as a client would send it."""

    method: str
    path: str

    @classmethod
    def of(cls, method: str, path: str) -> Asked | None:
        """None where neither is given; a path alone is a GET. Raises :class:`CannotAsk`."""
        if not path:
            if method:
                raise CannotAsk("a method is asked about together with a path")
            return None
        if not _PATH.fullmatch(path):
            raise CannotAsk("a path starts with '/' and is ASCII without spaces: percent-encode the rest")
        if method and not _METHOD.fullmatch(method):
            raise CannotAsk("a method is one word, as in GET or DELETE (RFC 9110 section 9.1)")
        return cls(method or "GET", path)


class CannotAsk(ValueError):
    """The question does not fit the listener; the text says why."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a listener decides; ``route`` is the place of the route that decides on the request."""

    identity: Identity | None
    stage: Stage
    reason: Reason | None
    detail: str
    rule: str
    path: str = ""
    route: int | None = None
    status: int = 0


@dataclass(frozen=True, slots=True)
class _Question:
    """A peer that shows ``chain`` (DER, leaf first), and perhaps a request of its, before ``contexts``."""

    contexts: Contexts
    chain: Sequence[bytes]
    request: Asked | None

    def put_to(self, listener: ListenerSettings, denial: Callable[[Identity], str] | None = None) -> _Outcome:
        """What the listener makes of it, by the code that decides where there is traffic."""
        role = Role.CLIENT if listener.mode is Mode.TERMINATE else Role.SERVER
        verdict = trial.tried(self.chain, Policy.of(listener), self.contexts, role, denial=denial)
        if self.request is None:
            return _Outcome(verdict.identity, verdict.stage, verdict.reason, verdict.detail, verdict.rule)
        # The route is named even for those who do not come so far.
        table = RouteTable(listener.routes, listener.allow)
        guard = table.guard(verdict.identity)
        method, target = self.request.method.encode("ascii"), self.request.path.encode("ascii")
        normal, bad = target, None
        try:
            normal = paths.normalise_target(target, encoded_slashes=table.allow_encoded_slashes)
        except MessageRefused as refused:
            bad = refused
        path = normal.partition(b"?")[0].decode("ascii")
        route = guard.deciding(method, normal) if bad is None else None
        outcome = _Outcome(verdict.identity, verdict.stage, verdict.reason, verdict.detail, verdict.rule, path, route)
        if verdict.reason is not None:
            return outcome
        try:
            if listener.routes:
                guard.judge(method, target)
            elif bad is not None:
                raise bad
        except MessageRefused as refused:
            return replace(
                outcome,
                stage=refused.stage,
                reason=refused.reason,
                detail=refused.detail,
                rule=refused.rule or outcome.rule,
                status=refused.status,
            )
        return outcome


def judge(
    listener: ListenerSettings,
    contexts: Contexts,
    chain: Sequence[bytes],
    asked: Asked | None = None,
    *,
    denial: Callable[[Identity], str] | None = None,
) -> Judgement[str]:
    """What ``listener`` makes of a peer that shows ``chain`` (DER, leaf first). Raises :class:`CannotAsk`, and
    :class:`OpenSSL.SSL.Error` where our own material makes no context."""
    if asked is not None and not (listener.is_http and listener.mode is Mode.TERMINATE):
        raise CannotAsk(f"{listener.name} judges no requests: leave path and method out")
    question = _Question(contexts, chain, asked)
    outcome = question.put_to(listener, denial)
    identity, reason = outcome.identity, outcome.reason
    lines: tuple[ConfigLine[str], ...] = ()
    if identity is not None and reason in _OF_RULES:
        lines = tuple(_lines(question, listener, identity, outcome))
    return Judgement(
        listener=listener.name,
        mode=listener.mode.value,
        allowed=reason is None,
        stage=outcome.stage.value if reason is not None else "",
        reason=reason.value if reason is not None else "",
        sentence=reason.sentence if reason is not None else "",
        detail=outcome.detail if reason is not None else "",
        verified=reason is None or outcome.stage in (Stage.AUTHORIZE, Stage.REQUEST),
        rule=outcome.rule,
        rules=tuple(_tried(listener, identity, outcome)) if identity is not None else (),
        method=asked.method if asked is not None else "",
        path=outcome.path,
        route=route_text(listener.routes[outcome.route]) if outcome.route is not None else "",
        status=outcome.status,
        lines=lines,
        note=_note(listener, asked, outcome, lines),
        own_identity=contexts.identity,
    )


def _tried(listener: ListenerSettings, identity: Identity, outcome: _Outcome) -> Iterator[RuleTried[str]]:
    """The rules of the route that decides, or else all that let a peer through the handshake."""
    policy = Policy.of(listener)
    for place, text in _rules(listener, outcome.route, whole=not outcome.path):
        why = policy.mismatch(Rule.parse(text), identity)
        yield RuleTried(text, place, not why, why)


def _rules(listener: ListenerSettings, route: int | None, *, whole: bool) -> Iterator[tuple[str, str]]:
    if listener.mode is Mode.ORIGINATE:
        yield from (("expect", text) for text in listener.expect)
        return
    if route is None:
        yield from (("allow", text) for text in listener.allow)
    for place, each in enumerate(listener.routes):
        if place == route or (whole and route is None):
            yield from ((f"route[{route_text(each)}].allow", text) for text in each.allow)


def _lines(
    question: _Question, listener: ListenerSettings, identity: Identity, outcome: _Outcome
) -> Iterator[ConfigLine[str]]:
    """The lines that let the peer in, tried before they are told; nothing where they would not do."""
    rule = exact_rule(identity)
    places: list[int | None] = []
    while outcome.reason in _OF_RULES and len(places) < _MOST_LINES:
        place = _place_to_change(listener, rule, outcome)
        if place in places:
            return
        places.append(place)
        listener = with_rule(listener, place, rule)
        outcome = question.put_to(listener)
    if outcome.reason is None:
        yield from (config_line(listener, place, rule) for place in places)


def _place_to_change(listener: ListenerSettings, rule: Rule, outcome: _Outcome) -> int | None:
    """The route that turns it away, where one does: its rules are for less than the listener's."""
    if outcome.reason is Reason.ROUTE_DENIED:
        named = (place for place, each in enumerate(listener.routes) if route_text(each) == outcome.rule)
        return next((place for place in named if rule.text not in listener.routes[place].allow), outcome.route)
    return outcome.route


def _note(listener: ListenerSettings, asked: Asked | None, outcome: _Outcome, lines: Sequence[ConfigLine[str]]) -> str:
    if outcome.reason is None:
        return _ROUTES_DECIDE if listener.routes and asked is None else _ANY_PEER
    if outcome.reason in _OF_RULES:
        return "" if lines else "no rule alone would let it in"
    if outcome.reason is Reason.IDENTITY_DENIED:
        return "tlsidecar undeny ends it before its time"
    if outcome.stage in (Stage.HANDSHAKE, Stage.VERIFY):
        return "no rule lets in a certificate that does not verify"
    return ""
