"""The start of a session inside TLS, carried through its translation; then the relay takes over.

It ends as soon as the translation is over, or one side has said all it will: the relay meets that end again, and tells
it as it does. A side whose bytes the other one does not take is not read meanwhile.
"""

from __future__ import annotations

import socket
from typing import Protocol

from tlsidecar.dataplane.endpoint import Endpoint, PlainEndpoint
from tlsidecar.dataplane.engine import Stream
from tlsidecar.dataplane.reactor import READ, Reactor
from tlsidecar.dataplane.starttls.translation import Translation, Unfit
from tlsidecar.dataplane.stream import CLOSED, FAILED, VIEW
from tlsidecar.dataplane.tls_endpoint import RemoteEndpoint, TlsEndpoint
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Limits


class InterludeOwner(Protocol):
    """Whose session it is; one of the two is called once."""

    def interlude_over(self, inward: bytes, outward: bytes) -> None:
        """What still has to be written, to the plain side and to the TLS side; neither is watched."""
        ...

    def relay_ended(self, reason: Reason, detail: str) -> None: ...


class Interlude:
    """``inside``: the protocol's client is the one that speaks TLS; otherwise its server is."""

    __slots__ = (
        "_inside",
        "_limits",
        "_owner",
        "_plain",
        "_reactor",
        "_tls",
        "_translation",
        "active_at",
        "bytes_in",
        "bytes_out",
    )

    def __init__(
        self,
        reactor: Reactor,
        stream: Stream,
        tls: socket.socket,
        plain: socket.socket,
        limits: Limits,
        translation: Translation,
        owner: InterludeOwner,
        *,
        inside: bool,
    ) -> None:
        self._reactor = reactor
        self._tls = (TlsEndpoint if inside else RemoteEndpoint)(reactor, tls, stream)
        self._plain = PlainEndpoint(reactor, plain)
        self._limits = limits
        self._translation = translation
        self._owner: InterludeOwner | None = owner
        self._inside = inside
        self.bytes_in = 0
        self.bytes_out = 0
        self.active_at = reactor.now

    def __repr__(self) -> str:
        return f"<Interlude {type(self._translation).__name__} in={self.bytes_in} out={self.bytes_out}>"

    @property
    def patience_s(self) -> float:
        """How long it may stay without a byte moving before it is given up."""
        limits = self._limits
        return limits.write_timeout_s if self._is_stalled else limits.idle_timeout_s

    @property
    def timeout_reason(self) -> Reason:
        return Reason.SLOW_READER if self._is_stalled else Reason.IDLE_TIMEOUT

    @property
    def _is_stalled(self) -> bool:
        return bool(self._tls.queued_bytes or self._plain.queued_bytes)

    def start(self, said: bytes = b"", welcome: bytes = b"") -> None:
        """``said`` is what the client has said already, ``welcome`` what it is told first."""
        client = self._tls if self._inside else self._plain
        self._tls.attach(self._tls_readable, self)
        self._plain.attach(self._plain_readable, self)
        if welcome and not client.send(welcome):
            self._failed(client)
            return
        if said:
            self._pass_on(client, said)
        if self._owner is not None:
            self._tls_readable(READ)  # what has come with the end of the handshake

    def stop(self) -> None:
        """Watch nothing any more; the owner will not be told."""
        self._owner = None
        self._tls.detach()
        self._plain.detach()

    def drained(self) -> None:
        """One of them has taken all that was queued for it: the other one is read again."""
        self.active_at = self._reactor.now
        if self._owner is not None and not self._is_stalled:
            self._tls.resume()
            self._plain.resume()

    def broken(self) -> None:
        self._failed(self._tls if self._tls.failure is not None else self._plain)

    def fail(self) -> None:
        """A defect of ours showed itself in a handler."""
        self._end(Reason.INTERNAL_ERROR, "")

    def _tls_readable(self, _events: int) -> None:
        count = self._read(self._tls)
        self.bytes_in += max(count, 0)
        self._take(self._tls, count)

    def _plain_readable(self, _events: int) -> None:
        count = self._read(self._plain)
        self.bytes_out += max(count, 0)
        self._take(self._plain, count)

    def _read(self, end: Endpoint) -> int:
        count = end.read()
        if count > 0:  # and not for a record of TLS's own, which carries nothing
            self.active_at = self._reactor.now
        return count

    def _take(self, end: Endpoint, count: int) -> None:
        if count > 0:
            self._pass_on(end, bytes(VIEW[:count]))
        elif count == CLOSED:
            self._over()
        elif count == FAILED:
            self._failed(end)

    def _pass_on(self, end: Endpoint, data: bytes) -> None:
        is_client = (end is self._tls) is self._inside
        try:
            passed = self._translation.from_client(data) if is_client else self._translation.from_server(data)
        except Unfit as error:
            self._end(Reason.STARTTLS_REFUSED if is_client else Reason.UPSTREAM_BAD_RESPONSE, str(error))
            return
        other = self._plain if end is self._tls else self._tls
        if passed and not other.send(passed):
            self._failed(other)
        elif self._translation.over:
            self._over()
        elif other.queued_bytes:
            end.pause()

    def _over(self) -> None:
        owner, self._owner = self._owner, None
        assert owner is not None
        from_client, from_server = self._translation.rest()
        inward, outward = (from_client, from_server) if self._inside else (from_server, from_client)
        inward, outward = self._plain.hand_over() + inward, self._tls.hand_over() + outward
        owner.interlude_over(inward, outward)

    def _failed(self, end: Endpoint) -> None:
        failure = end.failure
        if end is self._tls and failure is not None:
            self._end(failure.stream_reason(), failure.text)
        else:
            self._end(Reason.UPSTREAM_RESET, failure.text if failure is not None else "")

    def _end(self, reason: Reason, detail: str) -> None:
        owner = self._owner
        self.stop()
        if owner is not None:
            owner.relay_ended(reason, detail)
