"""One TLS handshake on one socket, as either end, judged while it runs."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from ipaddress import ip_address

from OpenSSL import SSL

from certs.identity import Identity, IdentityCache, Role
from certs.served import PROBE_PROTOCOL
from tlsidecar.dataplane.choice import Choice
from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.parties import Party
from tlsidecar.dataplane.policy import PeerJudge, Policy
from tlsidecar.dataplane.reactor import EDGE, READ, WRITE, Reactor
from tlsidecar.dataplane.stream import DONE, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.dataplane.tls_failure import SENTENCES, FailureKind
from tlsidecar.dataplane.turnstile import Turnstile
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.outcomes import Reason, Side, Stage

Finished = Callable[["Handshake"], None]

_UNPROVED = (
    "the certificate was shown without a proof that its key is held (bad signature): the name is a mere claim,"
    " and nobody has taken over whose it is"
)
_VERIFY_FAILED = "certificate verify failed"

# For a client that speaks plain HTTP to the TLS port, as nginx has it.
PLAINTEXT_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 42\r\nConnection: close\r\n\r\n"
    b"A plain HTTP request was sent to TLS port\n"
)

# The other end is done sending, or gone.
_LEAVING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Peer:
    """Who was at the other end of a handshake that succeeded, and the stream to it: all that is kept of it."""

    __slots__ = ("identity", "party", "rule", "stream")

    def __init__(self, handshake: Handshake, party: Party) -> None:
        judge = handshake.judge
        assert judge.identity is not None
        self.identity = judge.identity
        self.party = party
        self.rule = judge.rule.text if judge.rule is not None else ""
        self.stream = handshake.stream


@dataclass(frozen=True, slots=True)
class HandshakeTerms:
    """What the handshakes have in common that a listener shakes as one end."""

    reactor: Reactor
    turnstile: Turnstile
    deadlines: DeadlineQueue
    policy: Policy
    identities: IdentityCache
    alpn: tuple[bytes, ...]  # what is offered, or agreed on
    server_side: bool
    # For peers that an operator keeps out: see :class:`.policy.PeerJudge`.
    denial: Callable[[Identity], str] | None = None
    # The server name that the client asks for decides which identity of ours it goes on with.
    choice: Choice | None = None


class Handshake:
    """Drives a handshake to its end and calls ``finished(self)`` once; ``reason`` is None when it succeeded.

    The socket is watched by edges: each step takes all there is, so that nothing need be told to the kernel while a
    step waits for its turn. It stays the caller's: on success still watched, to be rewatched or forgotten, and until
    then ignored; on failure forgotten, with the alert already sent.
    """

    __slots__ = (
        "_descriptor",
        "_finished",
        "_has_begun",
        "_reactor",
        "_started_at",
        "_terms",
        "_waits",
        "_watching",
        "contexts",
        "detail",
        "is_empty",
        "judge",
        "reason",
        "seconds",
        "side",
        "sock",
        "stage",
        "stream",
    )

    def __init__(
        self,
        terms: HandshakeTerms,
        contexts: Contexts,
        sock: socket.socket,
        finished: Finished,
        server_name: str = "",
    ) -> None:
        """``contexts`` is the one it begins with; ``server_name`` is asked for by SNI."""
        server_side = terms.server_side
        chooses = terms.choice is not None
        self.contexts = contexts
        self.sock = sock
        self.judge = PeerJudge(
            terms.policy,
            Role.CLIENT if server_side else Role.SERVER,
            terms.identities,
            contexts.forms,
            soft_crl=contexts.soft_crl,
            may_vouch=contexts.may_vouch if contexts.material.federated else None,
            is_probe=self._is_probe if server_side else None,
            denial=terms.denial,
            choose=self._choose if chooses else None,
        )
        context = contexts.server(terms.alpn, chooses=chooses) if server_side else contexts.client(terms.alpn)
        self.stream = Stream(context, sock, self.judge, server_side=server_side)
        if server_name and not _is_address(server_name):
            self.stream.name_server(server_name)
        self.reason: Reason | None = None
        self.stage = Stage.HANDSHAKE
        self.side = Side.LOCAL
        self.detail = ""
        self.seconds = 0.0
        self.is_empty = False  # it failed before the other end had sent a byte
        self._terms = terms
        reactor = self._reactor = terms.reactor
        self._started_at = reactor.now
        self._descriptor = sock.fileno()
        self._watching = 0
        self._waits = False  # for the turnstile
        self._has_begun = False
        self._finished: Finished | None = finished

    def __repr__(self) -> str:
        state = "running" if self._finished else self.reason or "done"
        return f"<Handshake {'server' if self._terms.server_side else 'client'} {state}>"

    @property
    def is_running(self) -> bool:
        return self._finished is not None

    @property
    def is_probe(self) -> bool:
        """Whether this finished handshake was a probe of ours (certs.served): it offered the probe's protocol and
        proved that it holds our own key. It wanted to see our leaf, and has no business with the service."""
        identity = self.judge.identity
        return self._terms.server_side and self.reason is None and identity is not None and self._is_probe(identity)

    def _is_probe(self, identity: Identity) -> bool:
        if identity.sha256 != self.contexts.material.identity.sha256:
            return False
        return self.stream.connection.get_alpn_proto_negotiated() == PROBE_PROTOCOL

    def _choose(self, server_name: str) -> SSL.Context | None:
        choice = self._terms.choice
        assert choice is not None
        chosen = choice.of(server_name)
        if chosen.identity == self.contexts.identity:
            return None  # though there may be a newer generation by now: this one has begun
        context = chosen.server(self._terms.alpn)
        may_vouch = chosen.may_vouch if chosen.material.federated else None
        self.judge.judge_by(chosen.forms, may_vouch, soft_crl=chosen.soft_crl)
        self.contexts = chosen
        return context

    def start(self) -> None:
        self._terms.deadlines.add(self, self._expired)
        if self._terms.server_side:
            # The ClientHello is rarely there at once: do not pay a read to learn that.
            self._watch(READ | select.EPOLLRDHUP)
        else:
            self._step()

    def cancel(self) -> None:
        """Give up; ``finished`` is not called any more."""
        self._stop()
        self._reactor.forget(self._descriptor)

    def _stop(self) -> None:
        self._finished = None
        self.judge.let_go()  # it refers to us, and we to it: nothing but the collector would part us
        self._terms.deadlines.lift(self)

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self._end(Reason.INTERNAL_ERROR, "")

    def _has_sent_nothing(self) -> bool:
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _ready(self, events: int) -> None:
        if self._waits or self._finished is None:
            return
        if events & _LEAVING and not self._has_begun and self._has_sent_nothing():
            self.is_empty = True
            self._end(Reason.HANDSHAKE_ABORTED, "")
            return
        self._has_begun = True
        turnstile = self._terms.turnstile
        if turnstile.may_pass():
            self._step()
            return
        self._waits = True
        turnstile.wait(self._step)

    def _step(self) -> None:
        self._waits = False
        if self._finished is None:
            return
        answer = self.stream.handshake()
        if answer == DONE:
            self._done()
        elif answer == WANT_READ:
            if self._watching & READ == 0:
                self._watch(READ)
        elif answer == WANT_WRITE:
            self._watch(WRITE)
        else:
            self._explain()

    def _done(self) -> None:
        if self._terms.policy.must_ask and not self.stream.was_asked:
            self.stage = Stage.VERIFY
            self._end(Reason.NO_CERTIFICATE_REQUEST, "")
        else:
            self._end(None, "")

    def _watch(self, events: int) -> None:
        if events != self._watching:
            self._watching = events
            self._reactor.rewatch(self._descriptor, events | EDGE, self._ready)

    def _explain(self) -> None:
        judge = self.judge
        if judge.reason is not None:
            self.stage = judge.stage
            self._end(judge.reason, judge.detail)
            return
        failure = self.stream.failure
        assert failure is not None
        reason = failure.handshake_reason()
        if failure.kind is FailureKind.ALERT:
            self.side = Side.PEER
        elif failure.kind is FailureKind.PROTOCOL and failure.text == _VERIFY_FAILED:
            self.stage = Stage.VERIFY
            reason = Reason.CERTIFICATE_INVALID
        elif reason in (Reason.NO_CERTIFICATE, Reason.BAD_SIGNATURE):
            self.stage = Stage.VERIFY
        self._end(reason, _UNPROVED if reason is Reason.BAD_SIGNATURE else SENTENCES.get(failure.text, failure.text))

    def _expired(self) -> None:
        reason = Reason.HANDSHAKE_TIMEOUT if self._terms.server_side else Reason.UPSTREAM_HANDSHAKE_TIMEOUT
        self._end(reason, f"the TLS handshake was not done within {self._terms.deadlines.after_s:g} s")

    def _end(self, reason: Reason | None, detail: str) -> None:
        finished = self._finished
        if finished is None:
            return
        if reason is None:
            self._stop()
            self.stream.verifier = None  # its judgement is passed, and kept by whoever wants it
        else:
            self.cancel()
        self.reason = reason
        self.detail = detail
        self.seconds = self._reactor.loop.time() - self._started_at
        finished(self)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
