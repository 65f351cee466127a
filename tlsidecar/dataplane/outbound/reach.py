"""Reaching an upstream: choose an address, resolve it, dial it and, where it speaks TLS, shake hands.

TCP connections, the HTTP pool and health checks all come this way. An :class:`~.attempt.Attempt` is one address; a
:class:`Reach` tries the listener's addresses in turn, each once, and accounts for what happens:

    choose ─▶ dial ──refused, unreachable, late──▶ choose the next one, or missed
                └─▶ handshake (originate) ──failed──▶ missed
                      └─▶ reached

A remote that fails its handshake is not passed over for the next address: it answered, and whether it is who it should
be is the same question at each.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from tlsidecar.dataplane.handshake import Handshake, Peer
from tlsidecar.dataplane.outbound.attempt import Attempt, AttemptOwner, Missed
from tlsidecar.dataplane.outbound.outbound import Outbound, Terms
from tlsidecar.dataplane.outbound.upstreams import Upstream
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Address

# Of the ways in which a handshake with an upstream fails; the others are counted as one.
_COUNTED_AS_THEY_ARE = (Reason.REFUSED_BY_PEER, Reason.UPSTREAM_HANDSHAKE_TIMEOUT)


def attempt_on(terms: Terms, contexts: Contexts, address: Address, owner: AttemptOwner) -> Attempt:
    """What is to be started: with words first, where the listener has such."""
    if terms.outbound.words is None:
        return Attempt(terms, contexts, address, owner)
    from tlsidecar.dataplane.outbound.starttls_attempt import StarttlsAttempt  # for those who have such words

    return StarttlsAttempt(terms, contexts, address, owner)


class Reached(NamedTuple):
    """A socket to an upstream, connected and not watched; ``peer`` is who proved to be there, when originating.

    Whoever gets it counts among ``upstream.active`` until it says otherwise.
    """

    upstream: Upstream
    sock: socket.socket
    peer: Peer | None
    handshake_s: float
    generation: int
    greeting: bytes = b""  # the local service's, where ``starttls`` had it read


class Reach:
    """One try to reach the listener's upstreams: ``reached`` or ``missed`` is called once, perhaps before
    :meth:`start` returns. ``trying`` is told of each address, when it is dialled and when it is shaken hands with."""

    __slots__ = (
        "_attempt",
        "_contexts",
        "_greeted",
        "_missed",
        "_outbound",
        "_reached",
        "_terms",
        "_tried",
        "_trying",
        "upstream",
    )

    def __init__(
        self,
        outbound: Outbound,
        contexts: Contexts,
        reached: Callable[[Reached], None],
        missed: Callable[[Missed], None],
        *,
        trying: Callable[[Upstream, bool], None] | None = None,
        alpn: tuple[bytes, ...] | None = None,
        header: bytes = b"",
        greeted: Callable[[bytes], None] | None = None,
    ) -> None:
        """``alpn`` is what the handshake offers, instead of what the listener's connections mostly do. ``header`` and
        ``greeted`` are for ``starttls``: what a local service is sent before all else, and who takes a remote's
        greeting and then calls :meth:`go_on`."""
        terms = outbound.terms
        if header or alpn is not None:
            handshakes = terms.handshakes if alpn is None else replace(terms.handshakes, alpn=alpn)
            terms = terms._replace(header=header, handshakes=handshakes)
        self._terms = terms
        self._greeted = greeted
        self._outbound = outbound
        self._contexts = contexts
        self._reached = reached
        self._missed = missed
        self._trying = trying
        self._tried: list[Upstream] = []
        self._attempt: Attempt | None = None
        self.upstream: Upstream | None = None

    def __repr__(self) -> str:
        return f"<Reach {self._attempt}>"

    def start(self) -> None:
        upstream = self.upstream = self._outbound.upstreams.choose(self._tried)
        self._tried.append(upstream)
        upstream.active += 1
        if self._trying is not None:
            self._trying(upstream, False)
        attempt = self._attempt = attempt_on(self._terms, self._contexts, upstream.address, self)
        attempt.start()

    def cancel(self) -> None:
        """Give up; nobody is called any more."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        if attempt.cancel():
            self._outbound.tally.handshake_dropped()
        self._release()

    def attempt_greeted(self, greeting: bytes) -> None:
        assert self._greeted is not None
        self._greeted(greeting)

    def go_on(self, request: bytes) -> None:
        assert self._attempt is not None
        self._attempt.go_on(request)

    def attempt_shakes_hands(self) -> None:
        self._outbound.tally.handshake_began()
        if self._trying is not None:
            assert self.upstream is not None
            self._trying(self.upstream, True)

    def attempt_reached(self, sock: socket.socket, handshake: Handshake | None, greeting: bytes) -> None:
        upstream = self.upstream
        assert upstream is not None
        self._attempt = None
        upstream.succeeded()
        upstream.opened += 1
        peer = None
        handshake_s = 0.0
        if handshake is not None:
            tally = self._outbound.tally
            tally.handshake_over(None, handshake.seconds)
            upstream.shook_hands("", handshake.seconds)
            peer = Peer(handshake, tally.parties.met(handshake.judge.identity, handshake.seconds))
            handshake_s = handshake.seconds
        self._reached(Reached(upstream, sock, peer, handshake_s, self._contexts.generation, greeting))

    def attempt_missed(self, missed: Missed) -> None:
        upstream = self.upstream
        assert upstream is not None
        self._attempt = None
        self._release()
        tally = self._outbound.tally
        handshake = missed.handshake
        if handshake is not None:
            tally.handshake_over(missed.reason, handshake.seconds)
            tally.upstream_failed(missed.reason if missed.reason in _COUNTED_AS_THEY_ARE else Reason.UPSTREAM_TLS)
            upstream.shook_hands(missed.reason.value, handshake.seconds)
            if missed.reason is not Reason.UPSTREAM_TLS:  # it left, and another address may not
                upstream.refused(missed.detail or missed.reason.sentence)
                self._missed(missed)
                return
        else:
            tally.upstream_failed(missed.reason)
        if missed.reason is not Reason.FD_EXHAUSTED:  # that is our trouble, not the upstream's
            upstream.failed(missed.detail)
        if len(self._tried) < len(self._outbound.upstreams.all):
            self.start()
        else:
            self._missed(missed)

    def _release(self) -> None:
        assert self.upstream is not None
        self.upstream.active -= 1
