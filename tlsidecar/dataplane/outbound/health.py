"""Active checks of a listener's upstream addresses, each on its own timer and apart from every connection.

One check is what a connection would need, and goes the same way (:mod:`.reach`): TCP connect, when originating the TLS
handshake with the judgement of who the remote is, and with a path a GET that has to be answered with 2xx or 3xx.
Whatever it finds out, real connections still go to the only address there is: a check says what is known, it is no
gate.

An address whose state is not known yet takes the word of its first check; after that it changes sides only after as
many like results in a row as the settings ask for.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.endpoint import Endpoint, PlainEndpoint
from tlsidecar.dataplane.handshake import Handshake
from tlsidecar.dataplane.outbound.attempt import Attempt, Missed
from tlsidecar.dataplane.outbound.outbound import Outbound, Terms
from tlsidecar.dataplane.outbound.reach import attempt_on
from tlsidecar.dataplane.outbound.upstreams import Upstream
from tlsidecar.dataplane.stream import BUFFER, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_endpoint import TlsEndpoint
from tlsidecar.outcomes import Reason
from tlsidecar.settings import H2, Address, HealthCheck

Result = Callable[[str], None]


class HealthCall(Protocol):
    """One call of ``grpc.health.v1.Health/Check``, whoever speaks HTTP/2 for it."""

    @property
    def opening(self) -> bytes:
        """What to send first."""
        ...

    @property
    def to_send(self) -> bytes:
        """What to send after each :meth:`verdict`."""
        ...

    def verdict(self, data: bytes) -> str | None:
        """``data`` was received: what is wrong, nothing, or None while that is not known. Raises ValueError for what
        is not gRPC."""
        ...


MakeCall = Callable[[str], HealthCall]  # with the authority to ask

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r\n")
# A status line has arrived, or never will.
_MAX_STATUS_LINE_BYTES = 1024


class HealthChecks:
    """The checks of one listener: running from :meth:`start` to :meth:`close`."""

    def __init__(self, outbound: Outbound, settings: HealthCheck, make_call: MakeCall | None = None) -> None:
        """``make_call`` is given where gRPC is asked."""
        self._checks = [_AddressChecks(outbound, settings, each, make_call) for each in outbound.upstreams.all]

    def start(self) -> None:
        for checks in self._checks:
            checks.begin()

    def close(self) -> None:
        for checks in self._checks:
            checks.close()


class _AddressChecks:
    """One address, checked again and again."""

    def __init__(
        self, outbound: Outbound, settings: HealthCheck, upstream: Upstream, make_call: MakeCall | None
    ) -> None:
        self._make_call = make_call
        self._outbound = outbound
        self._settings = settings
        self._upstream = upstream
        self._in_a_row = 0  # results that speak against the state it is held for
        self._deadlines = DeadlineQueue(outbound.shared.reactor.loop, settings.timeout_s)
        self._timer: asyncio.TimerHandle | None = None
        self._check: _Check | None = None

    def __repr__(self) -> str:
        return f"<_AddressChecks {self._upstream.text} {'running' if self._check else 'waiting'}>"

    def begin(self) -> None:
        loop = self._outbound.shared.reactor.loop
        self._timer = loop.call_later(self._settings.interval_s, self.begin)
        if self._check is None:  # one that takes longer than the interval is waited for
            self._check = _Check(
                self._outbound,
                self._settings,
                self._upstream.address,
                self._deadlines,
                self._result,
                self._make_call,
            )
            self._check.start()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._check is not None:
            self._check.cancel()
        self._deadlines.clear()

    def _result(self, problem: str) -> None:
        """One check is over; an empty ``problem`` is a success."""
        self._check = None
        upstream = self._upstream
        passed = not problem
        upstream.checks_total += 1
        if passed:
            upstream.succeeded()
        else:
            upstream.checks_failed += 1
        before = upstream.checked
        if before is passed:
            self._in_a_row = 0
            if not passed:
                upstream.check_problem = problem
            return
        self._in_a_row += 1
        needed = self._settings.healthy_threshold if passed else self._settings.unhealthy_threshold
        if before is not None and self._in_a_row < needed:
            return
        self._in_a_row = 0
        upstream.checked = passed
        upstream.check_problem = problem
        self._outbound.tally.upstream_changed(upstream.text, healthy=passed, detail=problem)


class _Check:
    """One check of one address: ``result`` is called once, with what is wrong or with nothing."""

    def __init__(
        self,
        outbound: Outbound,
        settings: HealthCheck,
        address: Address,
        deadlines: DeadlineQueue,
        result: Result,
        make_call: MakeCall | None,
    ) -> None:
        self._call = make_call(self._host_of(outbound, address)) if make_call is not None else None
        self._outbound = outbound
        self._settings = settings
        self._address = address
        self._deadlines = deadlines
        self._result: Result | None = result
        self._attempt: Attempt | None = None
        self._endpoint: Endpoint | None = None
        self._answer = b""

    def __repr__(self) -> str:
        return f"<_Check {self._address}>"

    def start(self) -> None:
        # First in the queue, and so before the deadlines that the dial and the handshake set themselves.
        self._deadlines.add(self, self._expired)
        outbound = self._outbound
        handshakes = replace(outbound.terms.handshakes, deadlines=self._deadlines)
        if self._call is not None:
            handshakes = replace(handshakes, alpn=(H2,))
        terms = Terms(outbound, self._deadlines, handshakes)
        self._attempt = attempt_on(terms, outbound.current.contexts, self._address, self)
        self._attempt.start()

    def cancel(self) -> None:
        """Give up; ``result`` is not called any more."""
        self._result = None
        self._deadlines.lift(self)
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close()

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self._over(Reason.INTERNAL_ERROR.sentence)

    def _over(self, problem: str) -> None:
        result = self._result
        if result is not None:
            self.cancel()
            result(problem)

    def _expired(self) -> None:
        self._over(f"{self._address}: the check was not done within {self._settings.timeout_s:g} s")

    def attempt_shakes_hands(self) -> None:
        pass

    def attempt_greeted(self, greeting: bytes) -> None:
        assert self._attempt is not None
        assert self._outbound.words is not None
        self._attempt.go_on(self._outbound.words.own_request)

    def attempt_reached(self, sock: socket.socket, handshake: Handshake | None, greeting: bytes) -> None:
        self._attempt = None
        reactor = self._outbound.shared.reactor
        self._ask(PlainEndpoint(reactor, sock) if handshake is None else TlsEndpoint(reactor, sock, handshake.stream))

    def attempt_missed(self, missed: Missed) -> None:
        self._attempt = None
        if missed.handshake is None:
            self._over(missed.detail or missed.reason.sentence)
            return
        detail = f" ({missed.detail})" if missed.detail else ""
        self._over(f"{self._address}: {missed.reason.sentence}{detail}")

    def _ask(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        settings, call = self._settings, self._call
        if call is not None:
            self._send(endpoint, call.opening)
            return
        if not settings.path:
            # close_notify and FIN, so that the other end does not count us among those who were cut off.
            self._endpoint = None
            endpoint.linger(self._outbound.shared.lingerer)
            self._over("")
            return
        request = (
            f"GET {settings.path} HTTP/1.1\r\nHost: {self._host_of(self._outbound, self._address)}\r\n"
            "User-Agent: tlsidecar-health-check\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n"
        )
        self._send(endpoint, request.encode("ascii"))

    def _send(self, endpoint: Endpoint, data: bytes) -> None:
        if endpoint.send(data):
            endpoint.attach(self._readable, self)
        else:
            self._over(f"{self._address}: {self._failure(endpoint)}")

    @staticmethod
    def _host_of(outbound: Outbound, address: Address) -> str:
        return outbound.settings.http.host_rewrite or ("localhost" if address.is_unix else str(address))

    def _readable(self, _events: int) -> None:
        endpoint = self._endpoint
        assert endpoint is not None
        count = endpoint.read()
        if count in (WANT_READ, WANT_WRITE):
            return
        if count <= 0:
            self._over(f"{self._address}: {self._failure(endpoint)}")
            return
        if self._call is not None:
            self._heard(endpoint, self._call, count)
            return
        self._answer += BUFFER[:count]
        line = _STATUS_LINE.match(self._answer)
        if line is not None:
            status = int(line[1])
            wrong = "" if 200 <= status < 400 else f"{self._address}: GET {self._settings.path} was answered {status}"
            self._over(wrong)
        elif b"\n" in self._answer or len(self._answer) > _MAX_STATUS_LINE_BYTES:
            self._over(f"{self._address}: what it answered is not HTTP/1.1")

    def _heard(self, endpoint: Endpoint, call: HealthCall, count: int) -> None:
        try:
            verdict = call.verdict(bytes(BUFFER[:count]))
        except ValueError as error:
            self._over(f"{self._address}: {error}")
            return
        if verdict is not None:
            self._over(f"{self._address}: {verdict}" if verdict else "")
        elif call.to_send and not endpoint.send(call.to_send):
            self._over(f"{self._address}: {self._failure(endpoint)}")

    def drained(self) -> None:
        pass

    def broken(self) -> None:
        self._over(f"{self._address}: it closed before it answered")

    @staticmethod
    def _failure(endpoint: Endpoint) -> str:
        failure = endpoint.failure
        return failure.text if failure is not None and failure.text else "it closed before it answered"
