"""One attempt to reach one address: dial it and, where it speaks TLS, shake hands."""

from __future__ import annotations

import contextlib
import socket
from typing import NamedTuple, Protocol

from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.handshake import Handshake
from tlsidecar.dataplane.outbound.dial import Dial
from tlsidecar.dataplane.outbound.outbound import Outbound
from tlsidecar.dataplane.starttls.negotiation import Ended, Negotiation
from tlsidecar.dataplane.starttls.script import Next
from tlsidecar.dataplane.starttls.smtp import domain
from tlsidecar.dataplane.starttls.words import Known
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Address


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
