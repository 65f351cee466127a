"""Whether a candidate may serve: judged by the preflight, then proved by a handshake in memory for each listener. In
steps, which whoever serves connections on the same loop sets apart (:mod:`tlsidecar.pace`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from OpenSSL import SSL

from certs.errors import MaterialError, MaterialReason
from certs.handshake import taking_context
from certs.material import Material
from certs.preflight import preflight_in_steps
from certs.rules import hidden_rules, parse_rules
from certs.steps import Steps
from tlsidecar.control.sources import roles_of
from tlsidecar.dataplane.http.routes import hidden_routes, route_text
from tlsidecar.dataplane.offers import offer_in_trial
from tlsidecar.dataplane.tls import Contexts, ProofError, trial_handshakes
from tlsidecar.settings import ListenerSettings, Mode, Settings


def judge_material(settings: Settings, name: str, material: Material, now: datetime) -> Steps[tuple[str, ...]]:
    """Warnings about material of the identity called ``name`` that may be served. Raises :class:`MaterialError` about
    one that may not."""
    identity = settings.identity_called(name)
    roles, skew = roles_of(settings, name), timedelta(seconds=identity.clock_skew_s)
    warnings = yield from preflight_in_steps(material, roles, now, skew, soft_crl=identity.crl_policy == "soft")
    return (*warnings, *never_shown(settings, name, material), *never_deciding(settings, name))


def never_deciding(settings: Settings, name: str) -> Iterator[str]:
    """Rules of the listeners whose first identity is called ``name`` that can never decide, since those before them
    always do."""
    for listener in settings.listeners_of(name):
        if name == listener.identities[0]:
            yield from _never_deciding(listener)


@lru_cache(maxsize=64)  # asked with each new material, of rules that stay
def _never_deciding(listener: ListenerSettings) -> tuple[str, ...]:
    place = f"listener[{listener.name}]"
    found = [*_hidden(f"{place}.allow", listener.allow), *_hidden(f"{place}.expect", listener.expect)]
    for route in listener.routes:
        found += _hidden(f"{place}.route ({route_text(route)}).allow", route.allow)
    for route, before in hidden_routes(listener.routes):
        found.append(
            f"{place}.route ({route_text(route)}) never decides: ({route_text(before)}) before it matches first"
        )
    return tuple(found)


def _hidden(place: str, texts: Sequence[str]) -> Iterator[str]:
    for rule, before in hidden_rules(parse_rules(texts)):
        yield f'{place}: "{rule}" never decides: "{before}" before it lets in all whom it would'


def never_shown(settings: Settings, name: str, material: Material) -> Iterator[str]:
    """What is no error, and surely not meant."""
    if not settings.listeners_of(name):
        yield "no listener names this identity: nobody is shown its certificate"
    for listener in settings.listeners_of(name):
        if name != listener.identities[0] and not material.identity.dns:
            yield f"the certificate has no DNS name: no client of the listener {listener.name} can ask for it by SNI"


def build_contexts(settings: Settings, name: str, material: Material, number: int) -> Steps[Contexts]:
    """The contexts of a new generation: one for each listener, but what several have in common once, and each proved by
    handshakes. Raises :class:`MaterialError`."""
    soft_crl = settings.identity_called(name).crl_policy == "soft"
    contexts = Contexts(number, material, settings.tls, soft_crl=soft_crl, identity=name)
    proved: set[SSL.Context] = set()
    theirs: SSL.Context | None = None
    for listener in settings.listeners_of(name):
        server_side = listener.mode is Mode.TERMINATE
        try:
            context = yield from contexts.make_in_steps(listener)
            if context in proved:
                continue
            proved.add(context)
            yield
            if theirs is None:
                theirs = taking_context(material)
                offer_in_trial(theirs, settings.tls)
                yield
            yield from trial_handshakes(context, material, server_side=server_side, theirs=theirs)
            yield
        except ProofError as error:
            raise MaterialError(MaterialReason.HANDSHAKE_FAILED, str(error)) from None
        except SSL.Error as error:
            raise MaterialError(MaterialReason.HANDSHAKE_FAILED, f"OpenSSL refuses the material: {error}") from None
    return contexts
