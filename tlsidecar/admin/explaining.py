"""A peer's certificates on all listeners that it may come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from OpenSSL import SSL

from certs.errors import CertificateInvalid
from certs.identity import Identity, Role
from tlsidecar.admin.certificate_views import certificate_record
from tlsidecar.api.explanations import Explanation, is_allowed
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.explain.judging import Asked, CannotAsk, judge
from tlsidecar.settings import ListenerSettings, Mode

ContextsOf = Callable[[str], Contexts | None]
"""What new connections under the identity of ours of this name are served with; None before the first generation."""
Denial = Callable[[Identity], str]


def explained(
    chain: Sequence[bytes],
    listeners: Sequence[ListenerSettings],
    contexts_of: ContextsOf,
    asked: Asked | None = None,
    denial: Denial | None = None,
) -> Explanation[str]:
    """What these listeners make of ``chain`` (DER, leaf first): of one that chooses among several identities of ours
    each, for each has its own trust. Raises :class:`CannotAsk`."""
    judgements = []
    for listener in listeners:
        for name in listener.identities:
            contexts = contexts_of(name)
            if contexts is None:
                raise CannotAsk("there is no certificate of our own yet, and no trust to judge by")
            try:
                judgements.append(judge(listener, contexts, chain, asked, denial=_for(listener, denial)))
            except SSL.Error as error:
                raise CannotAsk(f"our own material makes no context: {error}") from None
    return Explanation(
        allowed=is_allowed(judgements),
        identity=name_of(chain),
        chain=tuple(map(certificate_record, chain)),
        judgements=tuple(judgements),
        note="",
    )


def unexplained(note: str, identity: str = "", chain: Sequence[bytes] = ()) -> Explanation[str]:
    """For a peer that nothing can be said of, and why."""
    return Explanation(
        allowed=False, identity=identity, chain=tuple(map(certificate_record, chain)), judgements=(), note=note
    )


def asked_about(
    listeners: Sequence[ListenerSettings], name: str, chain: Sequence[bytes], asked: Asked | None
) -> list[ListenerSettings]:
    """The listener of this name; without one, all that such a certificate may come to: those that it may come in by,
    when it is a client's, else those that go out to it. Raises :class:`CannotAsk`."""
    if name:
        found = [each for each in listeners if each.name == name]
        if not found:
            names = ", ".join(each.name for each in listeners)
            raise CannotAsk(f"no listener is called {name!a}; known: {names}")
        return found
    mode = Mode.TERMINATE if _is_for_clients(chain) else Mode.ORIGINATE
    found = [each for each in listeners if each.mode is mode] or list(listeners)
    if asked is not None:
        found = [each for each in found if each.is_http and each.mode is Mode.TERMINATE]
        if not found:
            raise CannotAsk("no listener judges requests: leave path and method out")
    return found


def name_of(chain: Sequence[bytes]) -> str:
    """Who the leaf says it is; empty when that cannot be read."""
    identity = _identity(chain)
    return identity.name if identity is not None else ""


def _is_for_clients(chain: Sequence[bytes]) -> bool:
    identity = _identity(chain)
    return identity is None or not identity.purposes or Role.CLIENT.purpose in identity.purposes


def _identity(chain: Sequence[bytes]) -> Identity | None:
    try:
        return Identity.from_der(chain[0])
    except (CertificateInvalid, IndexError):
        return None


def _for(listener: ListenerSettings, denial: Denial | None) -> Denial | None:
    """Denials are of whoever comes in."""
    return denial if listener.mode is Mode.TERMINATE else None
