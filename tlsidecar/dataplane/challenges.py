"""Answers to an ACME CA's tls-alpn-01 challenges (RFC 8737), on the listeners that serve everybody else.

Only while challenges are presented, each new connection's hello is looked at before OpenSSL reads it: a validation
shows the challenge's certificate, is asked for none, agrees on ``acme-tls/1`` and gets nothing else. Everybody else
goes on as if nobody had looked.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from OpenSSL import SSL

from certs.acme.challenges import ALPN_PROTOCOL, Challenge, alpn_certificate
from tlsidecar.dataplane.client_hello import MAX_HELLO_BYTES, HelloIncomplete, read_hello
from tlsidecar.dataplane.linger import Lingerer
from tlsidecar.dataplane.reactor import EDGE, READ, WRITE, Reactor

# A hello that has not come by then is OpenSSL's to wait for; a validation is over long before.
LOOK_S = 1.0
ANSWER_S = 10.0

Next = Callable[[], None]


def challenge_context(challenge: Challenge, now: datetime) -> SSL.Context:
    """What a validation is answered with."""
    certificate, key = alpn_certificate(challenge, now)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    context.set_alpn_select_callback(lambda _, offered: ALPN_PROTOCOL if offered == [ALPN_PROTOCOL] else b"")
    return context


class Challenges:
    """What is presented by one worker: by the server name that a validation asks for."""

    def __init__(self, reactor: Reactor, lingerer: Lingerer) -> None:
        self._reactor = reactor
        self._lingerer = lingerer
        self._contexts: dict[str, SSL.Context] = {}
        self._open: set[_Look | _Answer] = set()

    def __repr__(self) -> str:
        return f"<Challenges {sorted(self._contexts)} open={len(self._open)}>"

    def __bool__(self) -> bool:
        """Whether anything is presented."""
        return bool(self._contexts)

    def __len__(self) -> int:
        """How many connections are being looked at or answered."""
        return len(self._open)

    def present(self, challenges: Iterable[Challenge], now: float) -> None:
        """These, and no others; ``now`` is POSIX seconds."""
        moment = datetime.fromtimestamp(now, UTC)
        self._contexts = {each.server_name: challenge_context(each, moment) for each in challenges}

    def look(self, sock: socket.socket, ordinary: Next, answered: Next) -> None:
        """Look at what comes first on ``sock``: ``ordinary`` takes it over, or it is answered here and closed, which
        ``answered`` is told."""
        _Look(self, sock, ordinary, answered).start()

    def close(self) -> None:
        for each in list(self._open):
            each.fail()

    def context_for(self, hello: bytes) -> SSL.Context | None:
        """Raises :class:`HelloIncomplete`."""
        found = read_hello(hello)
        if found is None or found.protocols != (ALPN_PROTOCOL,):
            return None
        return self._contexts.get(found.server_name)


class _Watched:
    """A socket that is ours for a while."""

    def __init__(self, challenges: Challenges, sock: socket.socket) -> None:
        self._challenges = challenges
        self._reactor = challenges._reactor
        self._sock = sock
        self._timer: asyncio.TimerHandle | None = None

    def _begin(self, seconds: float, expired: Next) -> None:
        self._challenges._open.add(self)  # type: ignore[arg-type] # one of the two below
        self._timer = self._reactor.loop.call_later(seconds, expired)
        self._reactor.watch(self._sock.fileno(), READ | WRITE | EDGE, self._ready)

    def _end(self) -> bool:
        """Whether it was not over before."""
        if self._timer is None:
            return False
        self._timer.cancel()
        self._timer = None
        self._reactor.forget(self._sock.fileno())
        self._challenges._open.discard(self)
        return True

    def _ready(self, events: int) -> None:
        raise NotImplementedError


class _Look(_Watched):
    def __init__(self, challenges: Challenges, sock: socket.socket, ordinary: Next, answered: Next) -> None:
        super().__init__(challenges, sock)
        self._ordinary = ordinary
        self._answered = answered

    def __repr__(self) -> str:
        return f"<_Look {self._sock.fileno()}>"

    def start(self) -> None:
        self._begin(LOOK_S, self._pass_on)
        self._ready(READ)

    def fail(self) -> None:
        if self._end():
            self._sock.close()

    def _ready(self, _events: int) -> None:
        try:
            hello = self._sock.recv(MAX_HELLO_BYTES + 5, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._pass_on()
            return
        try:
            context = self._challenges.context_for(hello) if hello else None
        except HelloIncomplete:
            return
        if context is None:
            self._pass_on()
        elif self._end():
            _Answer(self._challenges, self._sock, context, self._answered).start()

    def _pass_on(self) -> None:
        if self._end():
            self._ordinary()


class _Answer(_Watched):
    def __init__(self, challenges: Challenges, sock: socket.socket, context: SSL.Context, answered: Next) -> None:
        super().__init__(challenges, sock)
        self._tls = SSL.Connection(context, sock)
        self._tls.set_accept_state()
        self._answered = answered

    def __repr__(self) -> str:
        return f"<_Answer {self._sock.fileno()}>"

    def start(self) -> None:
        self._begin(ANSWER_S, self.fail)
        self._ready(READ)

    def fail(self) -> None:
        if self._end():
            self._sock.close()
            self._answered()

    def _ready(self, _events: int) -> None:
        try:
            self._tls.do_handshake()
        except (SSL.WantReadError, SSL.WantWriteError):
            return
        except (SSL.Error, OSError):
            self.fail()
            return
        if self._end():
            with contextlib.suppress(SSL.Error, OSError):
                self._tls.shutdown()
            self._challenges._lingerer.close(self._sock)
            self._answered()
