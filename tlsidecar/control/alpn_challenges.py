"""Answers to an ACME CA's tls-alpn-01 challenges (RFC 8737): by the workers once they accept, and before that, for the
first certificate, on the same addresses by ourselves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

from OpenSSL import SSL

from certs.acme.challenges import Challenge
from certs.acme.messages import AcmeError
from certs.clock import Clock
from tlsidecar.dataplane.bind import BindError, bind_all, close_all
from tlsidecar.dataplane.challenges import Challenges
from tlsidecar.dataplane.linger import Lingerer
from tlsidecar.dataplane.reactor import READ, Reactor
from tlsidecar.settings import ListenerSettings, Mode
from tlsidecar.workers.handle import Supervisor

PRESENT_TIMEOUT_S = 10.0
MAX_CLIENTS = 64


class AlpnChallenges:
    """Implements :class:`certs.acme.transport.Responder` for threads beside the loop that it is made on."""

    def __init__(
        self, listeners: Sequence[ListenerSettings], clock: Clock, supervisor: Callable[[], Supervisor | None]
    ) -> None:
        """``supervisor`` gives the workers, once they accept."""
        self._supervisor = supervisor
        self._listeners = [each for each in listeners if each.mode is Mode.TERMINATE]
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._shown: list[Challenge] = []
        self._porch: _Porch | None = None

    def __repr__(self) -> str:
        return f"<AlpnChallenges shown={len(self._shown)}>"

    def present(self, challenge: Challenge) -> None:
        """Raises :class:`AcmeError` when nobody could ask for it."""
        shown = asyncio.run_coroutine_threadsafe(self._add(challenge), self._loop)
        try:
            shown.result(PRESENT_TIMEOUT_S)
        except TimeoutError:
            raise AcmeError("the workers did not take the challenge in time") from None

    def withdraw(self, challenge: Challenge) -> None:
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._remove(challenge), self._loop).result(PRESENT_TIMEOUT_S)

    # Both on the loop: several identities may be ordered at once, each in a thread of its own.

    async def _add(self, challenge: Challenge) -> None:
        supervisor = self._supervisor()
        if supervisor is None and self._porch is None:
            self._porch = _Porch(self._listeners, self._loop)
        # Shown only once the addresses are ours: else whoever withdraws one would have to open them for the others.
        self._shown = [*self._shown, challenge]
        await self._show(supervisor)

    async def _remove(self, challenge: Challenge) -> None:
        self._shown = [each for each in self._shown if each != challenge]
        await self._show(self._supervisor())

    async def _show(self, supervisor: Supervisor | None) -> None:
        if self._porch is not None:
            self._porch.challenges.present(self._shown, self._clock.timestamp())
            if not self._shown:
                self._porch.close()  # and leave the addresses to the workers
                self._porch = None
        if supervisor is not None:
            await asyncio.gather(*(worker.present(self._shown) for worker in supervisor.workers))


class _Porch:
    """Our addresses before anybody is at home: a validation is answered, and everybody else sent away."""

    def __init__(self, listeners: Sequence[ListenerSettings], loop: asyncio.AbstractEventLoop) -> None:
        """Raises :class:`AcmeError` when an address cannot be listened on."""
        try:
            self._bound = bind_all(listeners)
        except BindError as error:
            raise AcmeError(str(error)) from None
        self._reactor = Reactor(loop)
        self._lingerer = Lingerer(self._reactor)
        self.challenges = Challenges(self._reactor, self._lingerer)
        for sock in self._sockets():
            self._reactor.watch(sock.fileno(), READ, _Acceptor(self, sock))

    def close(self) -> None:
        for sock in self._sockets():
            self._reactor.forget(sock.fileno())
        self.challenges.close()
        self._lingerer.close_all()
        close_all(self._bound)
        self._reactor.close()

    def accepted(self, sock: socket.socket) -> None:
        if len(self.challenges) >= MAX_CLIENTS:
            sock.close()
            return
        sock.setblocking(False)
        self.challenges.look(sock, sock.close, lambda: None)

    def _sockets(self) -> list[socket.socket]:
        return [sock for sockets in self._bound.values() for sock in sockets]


class _Acceptor:
    def __init__(self, porch: _Porch, sock: socket.socket) -> None:
        self._porch = porch
        self._sock = sock

    def __call__(self, _events: int) -> None:
        with contextlib.suppress(OSError, SSL.Error):
            sock, _ = self._sock.accept()
            self._porch.accepted(sock)

    def fail(self) -> None:
        """A connection could not be begun: the next one may be."""
