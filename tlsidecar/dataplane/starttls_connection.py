"""A TCP connection that agrees on TLS in its protocol's own words (:mod:`.starttls`).

    terminate   words ─▶ handshake ─▶ the service is reached ─▶ start of the session ─▶ relayed
    originate   words ─▶ the remote is reached: words, handshake ─▶ start of the session ─▶ relayed

and where the server's greeting is the client's (MySQL),

    terminate   the service is reached, has greeted ─▶ words ─▶ handshake ─▶ start of the session ─▶ relayed
    originate   the remote is reached, has greeted ─▶ words ─▶ handshake ─▶ start of the session ─▶ relayed

While it is about words, a connection takes one of the listener's handshakes.
"""

from __future__ import annotations

import contextlib
import socket

from tlsidecar.dataplane import proxy_protocol
from tlsidecar.dataplane.connection import ConnectionState
from tlsidecar.dataplane.ending import Ending
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.outbound.attempt import Missed
from tlsidecar.dataplane.outbound.reach import Reach, Reached
from tlsidecar.dataplane.relay import Relay
from tlsidecar.dataplane.starttls.interlude import Interlude
from tlsidecar.dataplane.starttls.negotiation import Ended, Negotiation
from tlsidecar.dataplane.starttls.script import Next
from tlsidecar.dataplane.starttls.smtp import domain
from tlsidecar.dataplane.starttls.words import WORDS, Known
from tlsidecar.dataplane.tcp_connection import TcpConnection
from tlsidecar.outcomes import Reason, Stage


class StarttlsConnection(TcpConnection):
    """Bytes of one protocol, relayed as they are once TLS is agreed on and the session has begun."""

    __slots__ = ("_greeting", "_message", "_negotiation", "_said", "_takes_place", "_told", "_words")

    def __init__(self, frontend: Frontend, sock: socket.socket, peer_address: str) -> None:
        super().__init__(frontend, sock, peer_address)
        self._words = WORDS[frontend.settings.starttls]
        self._negotiation: Negotiation | None = None
        self._takes_place = False  # among the handshakes
        self._greeting = b""  # the server's, where the client is to have it
        self._message = b""  # all that the service is to get
        self._said = b""  # what the client has said of the session itself
        self._told = False  # the application has been told, in its protocol, that its server was not reached

    def start(self) -> None:
        words = self._words
        if words.passes_greeting:
            if self.frontend.terminates:
                self._take_place()
            self._reach_upstream()
        elif self.frontend.terminates or words.local is not None:
            self._negotiate()
        else:
            self._reach_upstream()

    # The words.

    def _negotiate(self) -> None:
        """Agree on TLS with a peer, or go without it with a local application."""
        frontend, words = self.frontend, self._words
        self._take_place()
        self.state = ConnectionState.HANDSHAKING
        make = words.server if frontend.terminates else words.local
        assert make is not None
        script = make(self._known())
        self._negotiation = Negotiation(self.reactor, frontend.handshake_deadlines, self.sock, script, self._negotiated)
        self._negotiation.start()

    def _known(self) -> Known:
        header = b""
        if self.frontend.settings.proxy_protocol and self.peer is not None:
            header = proxy_protocol.header(self.sock, self.peer.stream.parameters(), self.identity)
        return Known(domain(self.contexts.material.identity.dns), self._greeting, header)

    def _negotiated(self, how: Ended) -> None:
        self._negotiation = None
        if how.empty or how.next is Next.LEFT:
            self._takes_place = False  # that is counted below
            self._left_empty()
            return
        self._leave_place()  # the handshake that follows is counted by itself
        match how.next:
            case Next.TLS:
                self.shake_hands()
            case Next.PLAIN if self._greeting:
                self._said = how.message
                assert self._reach is not None
                assert self._words.request is not None
                self._reach.go_on(self._words.request(how.message))
            case Next.PLAIN:
                self._reach_upstream()
            case Next.CANCEL:
                self._message = how.message
                self._reach_upstream()
            case _:
                reason = Reason.HANDSHAKE_TIMEOUT if how.late else Reason.STARTTLS_REFUSED
                self.refuse(Stage.HANDSHAKE, reason, how.detail)

    def _take_place(self) -> None:
        if not self._takes_place:
            self._takes_place = True
            self.frontend.tally.handshake_began()

    def _leave_place(self) -> None:
        if self._takes_place:
            self._takes_place = False
            self.frontend.tally.handshake_dropped()

    # The server.

    def authorised(self) -> None:
        if self.other is None:
            self._reach_upstream()
        else:
            self._relay()

    def _make_reach(self) -> Reach:
        return Reach(
            self.frontend.outbound,
            self.contexts,
            self._reached,
            self._missed,
            trying=self._trying,
            header=self._known().header,
            greeted=self._greeted,
        )

    def _greeted(self, greeting: bytes) -> None:
        """The remote waits for what the application has to say to it."""
        self._greeting = greeting
        self._negotiate()

    def _reached(self, reached: Reached) -> None:
        if self._message:
            self._reach = None
            self.upstream, self.other = reached.upstream, reached.sock
            self._passed_on()
        elif self._words.passes_greeting and self.frontend.terminates:
            self._reach = None
            self.upstream, self.other = reached.upstream, reached.sock
            self.wait_s = self.reactor.loop.time() - self._wanted_at
            self._greeting = reached.greeting
            self._negotiate()
        else:
            super()._reached(reached)

    def _passed_on(self) -> None:
        """The service has its one message: there is nothing more to say, to either side."""
        assert self.other is not None
        with contextlib.suppress(OSError):
            self.other.send(self._message)
        self._end(Ending.ENDED)
        self.frontend.tally.cancel_passed()

    def _missed(self, missed: Missed) -> None:
        if not self._message:
            self._apologise(missed.said or self._words.apology(missed.reason.sentence))
        super()._missed(missed)

    def _apologise(self, words: bytes) -> None:
        """A few bytes, and the first that are written to it, or nearly so: they fit."""
        if self.peer is not None:
            self.peer.stream.write_bytes(words)
            return
        self._told = True
        with contextlib.suppress(OSError):
            self.sock.send(words)

    # The session.

    def _relay(self) -> None:
        words, terminates = self._words, self.frontend.terminates
        if words.session is None:
            super()._relay()
            return
        assert self.peer is not None
        tls, plain = self._ends()
        session = words.session(terminates)
        interlude = Interlude(
            self.reactor, self.peer.stream, tls, plain, self.frontend.limits, session, self, inside=terminates
        )
        self.relay = interlude
        self.open()
        interlude.start(self._said, b"" if terminates or words.welcome is None else words.welcome(self._server_name()))

    def _server_name(self) -> str:
        assert self.upstream is not None
        return domain((self.frontend.outbound.server_name(self.upstream.address),))

    def interlude_over(self, inward: bytes, outward: bytes) -> None:
        before = self.relay
        assert before is not None
        assert self.peer is not None
        relay = Relay(
            self.reactor,
            self.peer.stream,
            *self._ends(),
            self.frontend.limits,
            self,
            remote=not self.frontend.terminates and not before.bytes_in,
        )
        relay.bytes_in, relay.bytes_out = before.bytes_in, before.bytes_out
        relay.pending_in, relay.pending_out = inward, outward
        self.relay = relay
        relay.start()

    def relay_ended(self, reason: Reason, detail: str) -> None:
        if reason is Reason.UPSTREAM_BAD_RESPONSE:
            self.frontend.tally.upstream_failed(reason)
        super().relay_ended(reason, detail)

    def stop(self, ending: Ending) -> None:
        if self._negotiation is not None:
            self._negotiation.cancel()
            self._negotiation = None
        self._leave_place()
        super().stop(ending)

    def stop_application(self, ending: Ending) -> None:
        if self._told:
            self.shared.lingerer.close(self.sock)
        else:
            super().stop_application(ending)
