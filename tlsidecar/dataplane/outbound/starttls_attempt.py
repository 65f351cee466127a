"""An attempt to reach an address with whose server, or service, words are exchanged before TLS, or before all else
(:mod:`tlsidecar.dataplane.starttls`)."""

from __future__ import annotations

import contextlib
import socket

from tlsidecar.dataplane.outbound.attempt import Attempt, AttemptOwner, Missed
from tlsidecar.dataplane.outbound.outbound import Terms
from tlsidecar.dataplane.starttls.negotiation import Ended, Negotiation
from tlsidecar.dataplane.starttls.script import Next
from tlsidecar.dataplane.starttls.smtp import domain
from tlsidecar.dataplane.starttls.words import Known
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Address


class StarttlsAttempt(Attempt):
    """One address of a listener that has such words."""

    __slots__ = ("_greeted", "_negotiated")

    def __init__(self, terms: Terms, contexts: Contexts, address: Address, owner: AttemptOwner) -> None:
        super().__init__(terms, contexts, address, owner)
        self._greeted: socket.socket | None = None  # while the owner is to say what the remote is told
        self._negotiated: tuple[Negotiation, socket.socket] | None = None

    def __repr__(self) -> str:
        if self._negotiated is not None or self._greeted is not None:
            return f"<StarttlsAttempt {self._address} exchanging words>"
        return super().__repr__()

    def cancel(self) -> bool:
        if self._negotiated is not None:
            negotiation, sock = self._negotiated
            self._negotiated = None
            negotiation.cancel()
            sock.close()
        if self._greeted is not None:
            self._greeted.close()
            self._greeted = None
        return super().cancel()

    def _connected(self, sock: socket.socket) -> None:
        terms = self._terms
        outbound, words = terms.outbound, terms.outbound.words
        assert words is not None
        make = words.remote if outbound.shakes_hands else words.service
        if make is None:
            super()._connected(sock)
            return
        negotiation = Negotiation(
            outbound.shared.reactor,
            terms.handshakes.deadlines,
            sock,
            make(Known(domain(self._contexts.material.identity.dns), header=terms.header)),
            lambda how: self._agreed(sock, how),
            aim="TLS was agreed on" if outbound.shakes_hands else "it had greeted",
        )
        self._negotiated = (negotiation, sock)
        negotiation.start()

    def _agreed(self, sock: socket.socket, how: Ended) -> None:
        """The other end has said, in its protocol's own words, whether it speaks TLS, or has greeted."""
        self._negotiated = None
        shakes_hands = self._terms.outbound.shakes_hands
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
