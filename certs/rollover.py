"""Changing the CA in three steps that cut nobody off.

``start``: old and new are trusted, the old one issues. ``switch``: the new one issues; safe once every sidecar trusts
it. ``finish``: only the new one is trusted; safe once nobody lives on a certificate of the old one. What is safe is
judged by pure functions from what the sidecars say of themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from certs.authority import Authority
from certs.authority_state import AuthorityState, Phase
from certs.certificate import Certificate
from certs.errors import AuthorityError, UnsafeStep
from certs.probe import ChainLink, LivePeer, Served
from certs.revocation import CRL_LIFETIME, write_crls_of
from certs.text import safe_text

MAX_NAMED = 20  # who stands in the way, in one message


@dataclass(frozen=True, slots=True)
class Root:
    """What tells a root apart in somebody's chain."""

    sha256: str
    subject: str

    @classmethod
    def of(cls, certificate: Certificate) -> Root:
        return cls(certificate.sha256, certificate.subject.text)

    def ends(self, chain: tuple[ChainLink, ...]) -> bool:
        """Whether the chain leads to this root, which is itself in the chain or only named by its last certificate."""
        return any(link.sha256 == self.sha256 for link in chain) or (bool(chain) and chain[-1].issuer == self.subject)


@dataclass(frozen=True, slots=True)
class SidecarView:
    """What one sidecar says of itself."""

    served: Served
    peers: tuple[LivePeer, ...] = ()


def concerned(authority: Authority, served: Served) -> list[Served]:
    """Of a sidecar's identities, those that trust this CA or come from it; the first where none does, to be told of."""
    roots = [Root.of(authority.root(generation)) for generation in authority.state().trusted]
    found = [
        each
        for each in (served, *served.others)
        if any(root.sha256 in each.trust or root.ends(each.chain) for root in roots)
    ]
    return found or [served]


def switch_obstacles(new: Root, sidecars: Mapping[str, SidecarView]) -> list[str]:
    """Who would be cut off if the new CA issued from now on."""
    return [
        f"{name} does not trust the new CA yet: give it the new trust bundle and reload it"
        for name, view in sidecars.items()
        if new.sha256 not in view.served.trust
    ]


def finish_obstacles(old: Root, new: Root, sidecars: Mapping[str, SidecarView]) -> list[str]:
    """Who would be cut off if the old CA were not trusted from now on."""
    obstacles = switch_obstacles(new, sidecars)
    for name, view in sidecars.items():
        if old.ends(view.served.chain):
            obstacles.append(f"{name} itself serves a certificate of the old CA ({view.served.serial}): rotate it")
        for peer in view.peers:
            if old.ends(peer.chain):
                who = safe_text(peer.identity)
                obstacles.append(f"{who} is connected to {name} ({peer.listener}) with a certificate of the old CA")
    return obstacles


def start(authority: Authority, requester: str) -> AuthorityState:
    """Makes the new CA and trusts it beside the old. Raises :class:`AuthorityError`."""
    with authority.changing() as state:
        if state.phase is not Phase.STEADY:
            raise AuthorityError(f"a rollover is under way already ({state.phase.value}): {_next_step(state)}")
        grown = authority.add_generation(state)
        changed = replace(grown, phase=Phase.STARTED, trusted=(state.active, state.next_generation))
        _record(authority, "start", changed, requester)
        authority.write_state(changed)
        if authority.crls():
            write_crls_of(authority, changed, CRL_LIFETIME)
        return changed


def switch(authority: Authority, sidecars: Mapping[str, SidecarView], requester: str) -> AuthorityState:
    """Has the new CA issue. Raises :class:`UnsafeStep` with everyone who would be cut off, or
    :class:`AuthorityError`."""
    with authority.changing() as state:
        if state.phase is not Phase.STARTED:
            raise AuthorityError(f"switch comes after start ({state.phase.value} now): {_next_step(state)}")
        _refuse("switch", switch_obstacles(Root.of(authority.root(state.new)), sidecars))
        changed = replace(state, phase=Phase.SWITCHED, active=state.new)
        _record(authority, "switch", changed, requester)
        authority.write_state(changed)
        return changed


def finish(authority: Authority, sidecars: Mapping[str, SidecarView], requester: str) -> AuthorityState:
    """Trusts only the new CA. Raises :class:`UnsafeStep` with everyone who would be cut off, or
    :class:`AuthorityError`."""
    with authority.changing() as state:
        if state.phase is not Phase.SWITCHED:
            raise AuthorityError(f"finish comes after switch ({state.phase.value} now): {_next_step(state)}")
        old, new = Root.of(authority.root(state.old)), Root.of(authority.root(state.new))
        _refuse("finish", finish_obstacles(old, new, sidecars))
        changed = replace(state, phase=Phase.STEADY, trusted=(state.new,))
        _record(authority, "finish", changed, requester)
        if authority.crls():  # before the trust bundle shrinks: a list of a CA that is not trusted would be refused
            write_crls_of(authority, changed, CRL_LIFETIME)
        authority.write_state(changed)
        return changed


def _refuse(step: str, obstacles: list[str]) -> None:
    if not obstacles:
        return
    named = obstacles[:MAX_NAMED]
    if len(obstacles) > MAX_NAMED:
        named.append(f"and {len(obstacles) - MAX_NAMED} more")
    raise UnsafeStep(f"{step} is not safe yet:\n" + "\n".join(f"  {obstacle}" for obstacle in named))


def _record(authority: Authority, step: str, state: AuthorityState, requester: str) -> None:
    authority.journal.append(
        "rollover",
        authority.clock.now(),
        step=step,
        active=state.active,
        trusted=state.trusted,
        requester=requester,
    )


def _next_step(state: AuthorityState) -> str:
    following = {Phase.STEADY: "start", Phase.STARTED: "switch", Phase.SWITCHED: "finish"}
    return f"the next step is {following[state.phase]}"
