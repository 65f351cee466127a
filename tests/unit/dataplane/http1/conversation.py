"""A conversation whose client and upstream are played by the test, so that tests read as transcripts.

It plays the shell, too, as strictly as the real one: all bytes lie in one shared buffer, which is overwritten as soon
as the machine has returned, so that a view that outlives its call shows up as rubbish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import h11

from tlsidecar.dataplane.http.exchange import Admission, Downstream, Exchange
from tlsidecar.dataplane.http.identity_headers import ClientIdentity, IdentityHeaders, RequestIds
from tlsidecar.dataplane.http.routes import RouteGuard
from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.dataplane.http1.commands import (
    AbortDownstream,
    CloseDownstream,
    Command,
    Connect,
    Finished,
    ReleaseUpstream,
    SendDownstream,
    SendUpstream,
    StartTunnel,
)
from tlsidecar.dataplane.http1.conversation import Conversation as Machine
from tlsidecar.dataplane.http1.rules import Http1Rules
from tlsidecar.dataplane.parties import Party, Shares
from tlsidecar.outcomes import AccessEntry, EndedRequest, Failure, Reason, Refusal
from tlsidecar.settings import Address, Http, Limits, ListenerSettings, Mode, Protocol

ELEMENT = b'Hash=00ff;Subject="CN=client";URI=spiffe://td.example/client'
CLIENT_ADDRESS = "192.0.2.7"
BUFFER_BYTES = 256 * 1024

Headers = list[tuple[bytes, bytes]]


def listener(
    *, mode: Mode = Mode.TERMINATE, http: Http | None = None, limits: Limits | None = None, **settings: Any
) -> ListenerSettings:
    return ListenerSettings(
        name="web",
        mode=mode,
        listen=Address("127.0.0.1", 8443),
        upstreams=(Address("127.0.0.1", 8080),),
        protocol=Protocol.HTTP,
        http=http or Http(),
        limits=limits or Limits(),
        **settings,
    )


def identity_headers(settings: ListenerSettings, client: ClientIdentity | None = None) -> IdentityHeaders:
    terminates = settings.mode is Mode.TERMINATE
    if client is None:
        client = ClientIdentity(CLIENT_ADDRESS, ELEMENT if terminates else b"")
    mode = settings.http.client_certificate_header
    return IdentityHeaders(client, mode, RequestIds(b"\x01\x02\x03\x04\x05\x06\x07\x08"), terminate=terminates)


@cache
def rules_of(settings: ListenerSettings) -> Http1Rules:
    return Http1Rules(HttpRules.of(settings))


class Recorded(Party):
    """A party whose answers are kept one by one."""

    def __init__(self) -> None:
        super().__init__((), "", Shares())
        self.durations: list[tuple[int, float]] = []  # by status

    def answered(self, upstream: str, status: int, seconds: float, bytes_in: int, bytes_out: int) -> None:
        super().answered(upstream, status, seconds, bytes_in, bytes_out)
        self.durations.append((status, seconds))


@dataclass
class Ledger:
    """What exchanges have reported."""

    party: Recorded = field(default_factory=Recorded)
    refusals: list[Refusal] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    entries: list[AccessEntry] = field(default_factory=list)
    upstream_errors: list[Reason] = field(default_factory=list)
    dropped: int = 0
    broken: int = 0
    wants_exchanges: bool = True

    def dropped_headers(self, count: int) -> None:
        self.dropped += count

    def failed(self, failure: Failure, party: Party | None = None) -> None:
        self.failures.append(failure)

    def refused(self, refusal: Refusal, party: Party | None = None) -> None:
        self.refusals.append(refusal)

    def upstream_failed(self, reason: Reason) -> None:
        self.upstream_errors.append(reason)

    def answer_broke_off(self) -> None:
        self.broken += 1

    @property
    def durations(self) -> list[tuple[int, float]]:
        return self.party.durations

    @property
    def exchanged(self) -> Callable[[EndedRequest, float], None] | None:
        return self._exchanged if self.wants_exchanges else None

    def _exchanged(self, ended: EndedRequest, now: float) -> None:
        self.entries.append(ended.entry(now))


@dataclass
class Hand:
    """The hand of a clock."""

    now: float = 0.0


@dataclass
class UpstreamPeer:
    """One connection to the upstream, as the service sees it."""

    received: bytearray = field(default_factory=bytearray)
    released: bool | str | None = None  # None: still in use; else whether it may be reused, "bound" by the same client


class Conversation:
    """``client`` and ``upstream`` say something; the attributes tell what the other end has heard by then."""

    def __init__(
        self,
        settings: ListenerSettings | None = None,
        *,
        guard: RouteGuard | None = None,
        admission: Admission | None = None,
        force_h11: bool = False,
        in_one: bool = True,
    ) -> None:
        settings = settings or listener()
        self.rules = rules_of(settings)
        self.ledger = Ledger()
        self.clock = Hand()
        downstream = Downstream(
            self.ledger, identity_headers(settings), guard, admission, wall=lambda: 1.7e9, party=self.ledger.party
        )
        self.machine = Machine(self.rules, downstream, self.clock, force_h11=force_h11)
        self._in_one = in_one
        self._buffer = bytearray(b"\xee" * BUFFER_BYTES)
        self._filled = 0
        self.heard = bytearray()  # by the client
        self.upstreams: list[UpstreamPeer] = []
        self.records: list[Exchange] = []  # those that are over
        self.closed = ""  # "close" or "abort"
        self.tunnel = False
        self.reaches_nobody = False  # no upstream connection is had
        self.went_in_one = 0
        self.passed_on = 0  # reads of a body that went on as they were

    @property
    def sent_up(self) -> bytes:
        """Everything the upstream has heard, over all connections."""
        return b"".join(bytes(peer.received) for peer in self.upstreams)

    @property
    def reason(self) -> Reason | None:
        return self.records[-1].reason if self.records else None

    @property
    def statuses(self) -> list[int]:
        return [record.status for record in self.records]

    def client(self, data: bytes, pieces: Iterable[int] = ()) -> Conversation:
        """The client sends ``data``, cut at the offsets ``pieces``."""
        for piece in cut(data, pieces):
            self._put(piece)
            whole = self.machine.request_in_one(self._buffer, len(piece)) if self._in_one else None
            if whole is not None:
                self.went_in_one += 1
                exchange = self.machine.exchange
                assert exchange is not None
                self._do([Connect(exchange), SendUpstream(whole)])
            elif self._in_one and self.machine.request_data_in_one(self._buffer, len(piece)):
                self.passed_on += 1
                self._do([SendUpstream(bytes(piece))])
            else:
                self._do(self.machine.receive_downstream(self._buffer, 0, len(piece)))
            self._wipe()
        return self

    def upstream(self, data: bytes, pieces: Iterable[int] = ()) -> Conversation:
        """The upstream answers on the connection at hand."""
        for piece in cut(data, pieces):
            self._put(piece)
            over = self.machine.response_in_one(self._buffer, len(piece)) if self._in_one else None
            if over is not None:
                self.went_in_one += 1
                self._do([ReleaseUpstream(reusable=True), SendDownstream(bytes(piece)), Finished(over)])
            elif self._in_one and self.machine.response_data_in_one(self._buffer, len(piece)):
                self.passed_on += 1
                self._do([SendDownstream(bytes(piece))])
            else:
                self._do(self.machine.receive_upstream(self._buffer, 0, len(piece)))
            self._wipe()
        return self

    def client_ends(self, *, clean: bool = True) -> Conversation:
        self._do(self.machine.downstream_closed(clean=clean))
        return self

    def upstream_ends(self, *, clean: bool = True) -> Conversation:
        self._do(self.machine.upstream_closed(clean=clean))
        return self

    def upstream_fails(self, reason: Reason, *, nothing_sent: bool = True, reused: bool = False) -> Conversation:
        self._do(self.machine.upstream_failed(reason, nothing_sent=nothing_sent, reused=reused))
        return self

    def time_is_up(self, *, upstream_stalled: bool = False) -> Conversation:
        self._do(self.machine.expired(upstream_stalled=upstream_stalled))
        return self

    def drain(self) -> Conversation:
        self._do(self.machine.drain())
        return self

    def requests(self) -> list[Message]:
        """The whole requests the upstream has heard, as h11 reads them."""
        return [message for peer in self.upstreams for message in parse_requests(bytes(peer.received))]

    def _do(self, commands: Sequence[Command]) -> None:
        for command in commands:
            match command:
                case Connect(exchange):
                    self.upstreams.append(UpstreamPeer())
                    if not self.reaches_nobody:
                        exchange.attach("upstream.test", self.clock.now)
                case SendUpstream(data):
                    assert self.upstreams[-1].released is None, "sent on a connection that was given back"
                    self.upstreams[-1].received += data
                case SendDownstream(data):
                    assert not self.closed, "sent to a client that was closed"
                    self.heard += data
                case ReleaseUpstream(reusable, bound):
                    assert self.upstreams[-1].released is None
                    self.upstreams[-1].released = "bound" if reusable and bound else reusable
                case CloseDownstream():
                    assert not self.closed
                    self.closed = "close"
                case AbortDownstream():
                    assert not self.closed
                    self.closed = "abort"
                case StartTunnel():
                    self.tunnel = True
                case Finished(exchange):
                    assert exchange not in self.records
                    self.records.append(exchange)
                    exchange.finish(self.clock.now)

    def _put(self, data: bytes) -> None:
        assert len(data) <= BUFFER_BYTES
        self._buffer[: len(data)] = data
        self._filled = len(data)

    def _wipe(self) -> None:
        self._buffer[: self._filled] = b"\xee" * self._filled


def cut(data: bytes, offsets: Iterable[int]) -> list[bytes]:
    """``data`` in pieces that start at ``offsets`` (taken modulo its length); never an empty one."""
    places = sorted({offset % len(data) for offset in offsets if data} - {0})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True) if end > start]


@dataclass(frozen=True)
class Message:
    """One request or response as h11 reads it: names lowercase, in their order."""

    first: tuple[bytes, bytes]  # method and target, or status and nothing
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()

    def values(self, name: str) -> list[bytes]:
        return [value for found, value in self.headers if found == name.encode().lower()]

    def comparable(self) -> tuple[object, ...]:
        """Without what two lanes may order or state differently."""
        headers = sorted(header for header in self.headers if header != (b"connection", b"keep-alive"))
        return self.first, headers, self.body, sorted(self.trailers)


def parse_requests(data: bytes) -> list[Message]:
    """Every whole request in ``data``. Raises where h11 does; an incomplete last one is left out."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    messages = []
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            return messages
        assert isinstance(event, h11.Request), event
        message = _body(connection, Message((event.method, event.target), tuple(event.headers)))
        if message is None:
            return messages
        messages.append(message)
        if connection.their_state is not h11.DONE:
            # An upgrade or Connection: close: nothing may follow.
            assert not connection.trailing_data[0], connection.trailing_data
            return messages
        _answer(connection)


def parse_responses(data: bytes, methods: Sequence[bytes], *, ended: bool = False) -> list[Message]:
    """The final responses in ``data`` to requests of ``methods``; ``ended``: the connection ended after it."""
    messages: list[Message] = []
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    rest = data
    for method in methods:
        connection.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"x")]))
        connection.send(h11.EndOfMessage())
        if rest:
            connection.receive_data(rest)
            rest = b""
            if ended:
                connection.receive_data(b"")
        event = connection.next_event()
        while isinstance(event, h11.InformationalResponse):
            event = connection.next_event()
        if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
            return messages
        assert isinstance(event, h11.Response), event
        message = _body(connection, Message((b"%d" % event.status_code, b""), tuple(event.headers)))
        if message is None:
            return messages
        messages.append(message)
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return messages
        connection.start_next_cycle()
    return messages


def _body(connection: h11.Connection, message: Message) -> Message | None:
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return replace(message, body=body, trailers=tuple(event.headers))
        else:
            assert event is h11.NEED_DATA, event
            return None


def _answer(connection: h11.Connection) -> None:
    connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
    connection.send(h11.EndOfMessage())
    connection.start_next_cycle()
