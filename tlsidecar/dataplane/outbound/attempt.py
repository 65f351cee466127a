"""One attempt to reach one address: dial it and, where it speaks TLS, shake hands."""

from __future__ import annotations

import socket
from typing import NamedTuple, Protocol

from tlsidecar.dataplane.handshake import Handshake
from tlsidecar.dataplane.outbound.dial import Dial
from tlsidecar.dataplane.outbound.outbound import Terms
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Address

# The remote's end within a handshake, in words.
_LEFT = {
    Reason.HANDSHAKE_ABORTED: "it closed in the middle of the TLS handshake",
    Reason.PEER_RESET: "it reset the connection in the middle of the TLS handshake",
}


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


class Attempt(Dial):
    """One address: its owner is told once how it went, perhaps before :meth:`start` returns.

    Where words are exchanged first, it is a :class:`~.starttls_attempt.StarttlsAttempt`."""

    __slots__ = ("_contexts", "_handshake", "_owner", "_terms")

    def __init__(self, terms: Terms, contexts: Contexts, address: Address, owner: AttemptOwner) -> None:
        outbound = terms.outbound
        super().__init__(outbound.shared.reactor, outbound.network, terms.connect_deadlines, address)
        self._terms = terms
        self._contexts = contexts
        self._owner = owner
        self._handshake: Handshake | None = None

    def __repr__(self) -> str:
        state = "dialling" if self._dials else "over"
        if self._handshake is not None:
            state = "shaking hands"
        return f"<Attempt {self._address} {state}>"

    def cancel(self) -> bool:
        """Give up; the owner is not called any more. Whether a handshake was under way."""
        self.hang_up()
        handshake, self._handshake = self._handshake, None
        if handshake is None:
            return False
        handshake.cancel()
        handshake.stream.release()
        handshake.sock.close()
        return True

    def _unreachable(self, reason: Reason, detail: str) -> None:
        self._owner.attempt_missed(Missed(Stage.UPSTREAM, reason, detail, Side.LOCAL, None, str(self._address)))

    def _connected(self, sock: socket.socket) -> None:
        if self._terms.outbound.shakes_hands:
            self._shake_hands(sock)
        else:
            self._owner.attempt_reached(sock, None, b"")

    def go_on(self, request: bytes) -> None:
        """To be called after :meth:`AttemptOwner.attempt_greeted`: ``request`` is the remote's to have."""
        raise NotImplementedError

    def _shake_hands(self, sock: socket.socket) -> None:
        terms = self._terms
        self._owner.attempt_shakes_hands()
        self._handshake = Handshake(
            terms.handshakes, self._contexts, sock, self._shaken, terms.outbound.server_name(self._address)
        )
        self._handshake.start()

    def _shaken(self, handshake: Handshake) -> None:
        self._handshake = None
        shared = self._terms.outbound.shared
        if handshake.reason is None:
            shared.reactor.forget(handshake.sock.fileno())
            self._owner.attempt_reached(handshake.sock, handshake, b"")
            return
        handshake.stream.release()
        shared.lingerer.close(handshake.sock)
        stage, reason, detail = handshake.stage, handshake.reason, handshake.detail
        # Of one that says nothing, or leaves, there is nothing to judge: it was not reached.
        if reason in _LEFT:
            stage, reason, detail = Stage.UPSTREAM, Reason.UPSTREAM_TLS, _LEFT[reason]
        elif reason is Reason.UPSTREAM_HANDSHAKE_TIMEOUT:
            stage = Stage.UPSTREAM
        self._owner.attempt_missed(Missed(stage, reason, detail, handshake.side, handshake, str(self._address)))
