"""Whether a candidate may serve: judged by the preflight, then proved by a handshake in memory for each listener."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from OpenSSL import SSL

from certs.errors import MaterialError, MaterialReason
from certs.material import Material
from certs.preflight import preflight
from certs.rules import hidden_rules, parse_rules
from tlsidecar.control.pace import Pace
from tlsidecar.control.sources import roles_of
from tlsidecar.dataplane.http.routes import hidden_routes, route_text
from tlsidecar.dataplane.tls import Contexts, ProofError, trial_handshakes
from tlsidecar.settings import ListenerSettings, Mode, Settings


def judge_material(settings: Settings, name: str, material: Material, now: datetime) -> tuple[str, ...]:
    """Warnings about material of the identity called ``name`` that may be served. Raises :class:`MaterialError` about
    one that may not."""
    identity = settings.identity_called(name)
    skew = timedelta(seconds=identity.clock_skew_s)
    warnings = preflight(material, roles_of(settings, name), now, skew, soft_crl=identity.crl_policy == "soft")
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


def build_contexts(settings: Settings, name: str, material: Material, number: int) -> Contexts:
    """The contexts of a new generation, each proved by a handshake. Raises :class:`MaterialError`."""
    contexts = _unproved(settings, name, material, number)
    for _ in _proved(settings, name, contexts):
        pass
    return contexts


async def build_contexts_beside_traffic(
    settings: Settings, name: str, material: Material, number: int, pace: Pace
) -> Contexts:
    """:func:`build_contexts`, where connections are served by the same loop. Raises :class:`MaterialError`."""
    await pace.step()
    contexts = _unproved(settings, name, material, number)
    for _ in _proved(settings, name, contexts):
        await pace.step()
    return contexts


def _unproved(settings: Settings, name: str, material: Material, number: int) -> Contexts:
    soft_crl = settings.identity_called(name).crl_policy == "soft"
    return Contexts(number, material, settings.tls, soft_crl=soft_crl, identity=name)


def _proved(settings: Settings, name: str, contexts: Contexts) -> Iterator[None]:
    """Makes the context of each listener and proves it, in steps; what several have in common, once."""
    proved: set[SSL.Context] = set()
    for listener in settings.listeners_of(name):
        server_side = listener.mode is Mode.TERMINATE
        try:
            context = contexts.make(listener)
            if context in proved:
                continue
            proved.add(context)
            yield
            yield from trial_handshakes(context, contexts.material, server_side=server_side)
        except ProofError as error:
            raise MaterialError(MaterialReason.HANDSHAKE_FAILED, str(error)) from None
        except SSL.Error as error:
            raise MaterialError(MaterialReason.HANDSHAKE_FAILED, f"OpenSSL refuses the material: {error}") from None
