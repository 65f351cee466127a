"""The shell of an HTTP/1.1 connection whose sockets and pool are played by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from unit.dataplane.http.identities import identity
from unit.dataplane.http1.conversation import listener, rules_of
from unit.dataplane.shells import End, HttpFrontend

from tlsidecar.dataplane.http1.connection import Http1Connection
from tlsidecar.dataplane.outbound.attempt import Missed
from tlsidecar.dataplane.reactor import READ
from tlsidecar.dataplane.tls_failure import SslFailure
from tlsidecar.outcomes import Reason, Side, Stage
from tlsidecar.settings import Limits, ListenerSettings

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Upstream:
    """A connection of the pool's, as :class:`tlsidecar.dataplane.outbound.pool.UpstreamConnection` is one."""

    peer: Any = None

    def __init__(self, *, uses: int = 0) -> None:
        self.upstream = SimpleNamespace(text="127.0.0.1:80")
        self.endpoint = End("upstream")
        self.endpoint.is_reading = True
        self.uses = uses
        self.owner: Any = None
        self.expired = False
        self.given_back: bool | None = None
        self.lent_to: Callable[[int], None] | None = None

    def begin(self) -> None:
        self.uses += 1

    def end(self, now: float, *, reusable: bool) -> None:
        self.owner = None
        self.lent_to = None

    def has_expired(self, now: float, generation: int) -> bool:
        return self.expired

    def lend(self, readable: Callable[[int], None]) -> None:
        self.lent_to = readable

    def says(self, *said: bytes | int | SslFailure) -> None:
        """One read each."""
        self.endpoint.unread += said
        for _ in said:
            if self.lent_to is not None:
                self.lent_to(READ)
            elif self.owner is not None:
                self.owner.upstream_readable()


@dataclass
class Opening:
    """An upstream connection that is being opened."""

    reached: Callable[[Any], None]
    missed: Callable[[Missed], None]
    state: str = ""

    def start(self) -> None:
        self.state = "started"

    def cancel(self) -> None:
        self.state = "cancelled"


class Shell(HttpFrontend):
    """One connection, with a pool that has nothing idle unless the test puts it there."""

    def __init__(self, settings: ListenerSettings | None = None) -> None:
        settings = settings or listener(limits=Limits(buffer_bytes=1000))
        super().__init__(settings, self)
        self.idle: list[Upstream] = []
        self.openings: list[Opening] = []
        self.client = End("client")
        self.connection = Http1Connection(
            cast("Any", self.seen), self.services, cast("Any", None), "192.0.2.7:4711", rules=rules_of(settings)
        )
        stream = SimpleNamespace(peer_chain=lambda: ())
        self.connection.peer = cast("Any", SimpleNamespace(stream=stream, identity=identity(), rule="any", party=None))
        self.connection._serve(cast("Any", self.client))

    # As the pool.

    def take(self) -> Upstream | None:
        upstream = self.idle.pop() if self.idle else None
        if upstream is not None:
            upstream.begin()
        return upstream

    def opening(self, reached: Callable[[Any], None], missed: Callable[[Missed], None]) -> Opening:
        self.openings.append(Opening(reached, missed))
        return self.openings[-1]

    def give_back(self, upstream: Upstream, *, reusable: bool) -> None:
        upstream.end(0.0, reusable=reusable)
        upstream.given_back = reusable

    # What happens.

    def says(self, *said: bytes | int | SslFailure) -> None:
        """The client, one read each."""
        self.client.unread += said
        for _ in said:
            self.connection._client_readable(READ)

    def reach(self, upstream: Upstream | None = None) -> Upstream:
        """The last opening succeeds."""
        upstream = upstream or Upstream()
        upstream.begin()
        self.openings[-1].reached(upstream)
        return upstream

    def miss(self, reason: Reason = Reason.UPSTREAM_REFUSED) -> None:
        self.openings[-1].missed(Missed(Stage.UPSTREAM, reason, "", Side.LOCAL, None, "127.0.0.1:80"))

    def asks(self, *said: bytes) -> Upstream:
        """The client asks, and an upstream connection is opened for it."""
        self.says(*said)
        return self.reach()

    def passes(self, seconds: float) -> None:
        self.connection.check_time(self.waits(seconds))

    @property
    def statuses(self) -> list[int]:
        return [entry.status for entry in self.ledger.entries]

    @property
    def reasons(self) -> list[Reason]:
        return [entry.reason for entry in self.ledger.entries]
