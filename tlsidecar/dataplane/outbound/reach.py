"""Reaching an upstream: choose an address, resolve it, dial it and, where it speaks TLS, shake hands.

TCP connections, the HTTP pool and health checks all come this way. An :class:`Attempt` is one address; a
:class:`Reach` tries the listener's addresses in turn, each once, and accounts for what happens:

    choose ─▶ dial ──refused, unreachable, late──▶ choose the next one, or missed
                └─▶ handshake (originate) ──failed──▶ missed
                      └─▶ reached

A remote that fails its handshake is not passed over for the next address: it answered, and whether it is who it should
be is the same question at each.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import NamedTuple, Protocol

from tlsidecar.dataplane.choice import Current
from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.handshake import Handshake, Peer
from tlsidecar.dataplane.outbound.dial import Dial
from tlsidecar.dataplane.outbound.network import Network
from tlsidecar.dataplane.outbound.upstreams import Upstream, Upstreams
from tlsidecar.dataplane.policy import Policy
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.starttls.negotiation import Ended, Negotiation
from tlsidecar.dataplane.starttls.script import Next
from tlsidecar.dataplane.starttls.smtp import domain
from tlsidecar.dataplane.starttls.words import WORDS, Known
from tlsidecar.dataplane.tally import Tally
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import HTTP_1_1, Address, Listener, Mode

# Of the ways in which a handshake with an upstream fails; the others are counted as one.
_COUNTED_AS_THEY_ARE = (Reason.REFUSED_BY_PEER, Reason.UPSTREAM_HANDSHAKE_TIMEOUT)


class Outbound:
    """How one listener goes out: to which addresses, whom it expects there, and for how long it tries."""

    def __init__(
        self, shared: Shared, network: Network, settings: Listener, policy: Policy, tally: Tally, current: Current
    ) -> None:
        """``current`` is the identity of ours that is shown there."""
        loop = shared.reactor.loop
        self.current = current
        self.shared = shared
        self.network = network
        self.settings = settings
        self.policy = policy
        self.tally = tally
        self.shakes_hands = settings.mode is Mode.ORIGINATE
        self.words = WORDS.get(settings.starttls)
        # What an upstream is used for by default; an HTTP/2 connection asks for its own.
        self.alpn = (HTTP_1_1,) if settings.is_http else settings.offered
        self.upstreams = Upstreams(loop, settings.upstreams, network.health)
        self.connect_deadlines = DeadlineQueue(loop, settings.limits.upstream_connect_timeout_s)
        self.handshake_deadlines = DeadlineQueue(loop, settings.limits.handshake_timeout_s)

    def __repr__(self) -> str:
        return f"<Outbound {self.settings.name} {self.upstreams.all}>"

    def server_name(self, address: Address) -> str:
        """The name asked of an upstream by SNI."""
        return self.settings.server_name or address.host

    def close(self) -> None:
        self.connect_deadlines.clear()
        self.handshake_deadlines.clear()


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


class Missed(NamedTuple):
    """Why no upstream was reached; ``handshake`` is the one that failed, for what it found out about the remote."""

    stage: Stage
    reason: Reason
    detail: str
    side: Side
    handshake: Handshake | None
    upstream: str = ""  # the address that was tried last
    said: bytes = b""  # by a service of ``starttls`` that will not serve


class AttemptOwner(Protocol):
    """Whose attempt it is; one of the last two is called once."""

    def attempt_greeted(self, greeting: bytes) -> None:
        """The remote's greeting is for the application to see, and :meth:`Attempt.go_on` for the owner to call."""

    def attempt_shakes_hands(self) -> None:
        """The address has answered, and the handshake begins."""

    def attempt_reached(self, sock: socket.socket, handshake: Handshake | None, greeting: bytes) -> None: ...

    def attempt_missed(self, missed: Missed) -> None:
        """Nothing of it is left open."""


class Attempt:
    """One address: its owner is told once how it went, perhaps before :meth:`start` returns."""

    __slots__ = (
        "_address",
        "_alpn",
        "_contexts",
        "_dial",
        "_greeted",
        "_handshake",
        "_handshake_deadlines",
        "_header",
        "_negotiated",
        "_outbound",
        "_owner",
    )

    def __init__(
        self,
        outbound: Outbound,
        contexts: Contexts,
        address: Address,
        owner: AttemptOwner,
        connect_deadlines: DeadlineQueue,
        handshake_deadlines: DeadlineQueue,
        *,
        alpn: tuple[bytes, ...] | None = None,
        header: bytes = b"",
    ) -> None:
        """``alpn`` is what the handshake offers, instead of what the listener's connections mostly do; ``header`` is
        said to a local service of ``starttls`` before all else."""
        self._header = header
        self._greeted: socket.socket | None = None  # while the owner is to say what the remote is told
        self._alpn = outbound.alpn if alpn is None else alpn
        self._outbound = outbound
        self._contexts = contexts
        self._address = address
        self._owner = owner
        self._handshake_deadlines = handshake_deadlines
        self._negotiated: tuple[Negotiation, socket.socket] | None = None
        self._handshake: Handshake | None = None
        self._dial: Dial | None = Dial(
            outbound.shared.reactor,
            outbound.network.resolver,
            connect_deadlines,
            address,
            self._connected,
            self._unreachable,
            outbound.network.connector,
        )

    def __repr__(self) -> str:
        state = "dialling" if self._dial is not None else "over"
        if self._negotiated is not None or self._greeted is not None or self._handshake is not None:
            state = "shaking hands"
        return f"<Attempt {self._address} {state}>"

    def start(self) -> None:
        assert self._dial is not None
        self._dial.start()

    def cancel(self) -> bool:
        """Give up; the owner is not called any more. Whether a handshake was under way."""
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._negotiated is not None:
            negotiation, sock = self._negotiated
            self._negotiated = None
            negotiation.cancel()
            sock.close()
        if self._greeted is not None:
            self._greeted.close()
            self._greeted = None
        handshake, self._handshake = self._handshake, None
        if handshake is None:
            return False
        handshake.cancel()
        handshake.stream.release()
        handshake.sock.close()
        return True

    def _unreachable(self, reason: Reason, detail: str) -> None:
        self._dial = None
        self._owner.attempt_missed(Missed(Stage.UPSTREAM, reason, detail, Side.LOCAL, None, str(self._address)))

    def _connected(self, sock: socket.socket) -> None:
        self._dial = None
        outbound, words = self._outbound, self._outbound.words
        make = None
        if words is not None:
            make = words.remote if outbound.shakes_hands else words.service
        if make is None:
            if outbound.shakes_hands:
                self._shake_hands(sock)
            else:
                self._owner.attempt_reached(sock, None, b"")
            return
        negotiation = Negotiation(
            outbound.shared.reactor,
            self._handshake_deadlines,
            sock,
            make(Known(domain(self._contexts.material.identity.dns), header=self._header)),
            lambda how: self._agreed(sock, how),
            aim="TLS was agreed on" if outbound.shakes_hands else "it had greeted",
        )
        self._negotiated = (negotiation, sock)
        negotiation.start()

    def _agreed(self, sock: socket.socket, how: Ended) -> None:
        """The other end has said, in its protocol's own words, whether it speaks TLS, or has greeted."""
        self._negotiated = None
        shakes_hands = self._outbound.shakes_hands
        if how.next is Next.TLS:
            self._shake_hands(sock)
            return
        if how.next is Next.PLAIN and shakes_hands:
            self._greeted = sock
            self._owner.attempt_greeted(how.message)
            return
        if how.next is Next.PLAIN:
            self._owner.attempt_reached(sock, None, how.message)
            return
        sock.close()
        if shakes_hands:
            reason = Reason.UPSTREAM_HANDSHAKE_TIMEOUT if how.late else Reason.UPSTREAM_TLS
        else:
            reason = Reason.UPSTREAM_TIMEOUT if how.late else Reason.UPSTREAM_BAD_RESPONSE
        detail = f"{self._address}: {how.detail}"
        said = b"" if shakes_hands else how.message
        self._owner.attempt_missed(Missed(Stage.UPSTREAM, reason, detail, Side.LOCAL, None, str(self._address), said))

    def go_on(self, request: bytes) -> None:
        """The application has answered the remote's greeting: ask for TLS, as it would."""
        sock, self._greeted = self._greeted, None
        assert sock is not None
        with contextlib.suppress(OSError):  # one that is gone fails the handshake
            sock.send(request)
        self._shake_hands(sock)

    def _shake_hands(self, sock: socket.socket) -> None:
        outbound = self._outbound
        shared = outbound.shared
        self._owner.attempt_shakes_hands()
        self._handshake = Handshake(
            shared.reactor,
            shared.turnstile,
            self._handshake_deadlines,
            self._contexts,
            self._alpn,
            sock,
            outbound.policy,
            shared.identities,
            self._shaken,
            server_side=False,
            server_name=outbound.server_name(self._address),
        )
        self._handshake.start()

    def _shaken(self, handshake: Handshake) -> None:
        self._handshake = None
        shared = self._outbound.shared
        if handshake.reason is None:
            shared.reactor.forget(handshake.sock.fileno())
            self._owner.attempt_reached(handshake.sock, handshake, b"")
            return
        handshake.stream.release()
        shared.lingerer.close(handshake.sock)
        # Of one that says nothing there is nothing to judge: it was not reached.
        late = handshake.reason is Reason.UPSTREAM_HANDSHAKE_TIMEOUT
        stage = Stage.UPSTREAM if late else handshake.stage
        self._owner.attempt_missed(
            Missed(stage, handshake.reason, handshake.detail, handshake.side, handshake, str(self._address))
        )


class Reach:
    """One try to reach the listener's upstreams: ``reached`` or ``missed`` is called once, perhaps before
    :meth:`start` returns. ``trying`` is told of each address, when it is dialled and when it is shaken hands with."""

    __slots__ = (
        "_alpn",
        "_attempt",
        "_contexts",
        "_greeted",
        "_header",
        "_missed",
        "_outbound",
        "_reached",
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
        """``header`` and ``greeted`` are for ``starttls``: what a local service is sent before all else, and who takes
        a remote's greeting and then calls :meth:`go_on`."""
        self._header = header
        self._greeted = greeted
        self._alpn = alpn
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
        outbound = self._outbound
        upstream = self.upstream = outbound.upstreams.choose(self._tried)
        self._tried.append(upstream)
        upstream.active += 1
        if self._trying is not None:
            self._trying(upstream, False)
        self._attempt = Attempt(
            outbound,
            self._contexts,
            upstream.address,
            self,
            outbound.connect_deadlines,
            outbound.handshake_deadlines,
            alpn=self._alpn,
            header=self._header,
        )
        self._attempt.start()

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
        peer = None
        handshake_s = 0.0
        if handshake is not None:
            self._outbound.tally.handshake_over(None, handshake.seconds)
            peer = Peer(handshake)
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
            upstream.refused(missed.detail or missed.reason.sentence)
            self._missed(missed)
            return
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
