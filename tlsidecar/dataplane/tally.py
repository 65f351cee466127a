"""What is counted on one listener, and the observer of it: every part of the data plane reports here.

Whoever reports need not know the listener. The counters are plain integers; nothing formats or logs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace

from tlsidecar.dataplane.parties import Parties, Party
from tlsidecar.dataplane.report import Observer, Opened, UpstreamChange
from tlsidecar.dataplane.snapshot import ListenerCounters
from tlsidecar.outcomes import AccessEntry, Culprit, Failure, Reason, Refusal, Stage

_GRPC_CODES = frozenset(str(code) for code in range(17))  # grpc/doc/statuscodes.md
# Those whose HTTP status would be 5xx (google/rpc/code.proto): UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL,
# UNAVAILABLE, DATA_LOSS.
_GRPC_ERRORS = frozenset(("2", "4", "12", "13", "14", "15"))


class Tally:
    """The counters of the listener of this name in this worker, and the observer."""

    __slots__ = ("counters", "exchanged", "failures_at", "listener", "observer", "on_failure", "parties", "worker")

    def __init__(self, listener: str, observer: Observer, worker: int = 0) -> None:
        self.listener = listener
        self.observer = observer
        self.exchanged = observer.exchanged  # here, for each request asks
        self.worker = worker
        self.counters = ListenerCounters(  # but for what the parties' shares count
            connections=Counter(),
            handshakes=Counter(),
            grpc=Counter(),
            refusals=Counter(),
            failures=Counter(),
            upstream_errors=Counter(),
        )
        self.parties = Parties()
        # By the upstream's address, then by reason.
        self.failures_at: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.on_failure: Callable[[Failure], None] | None = None

    def __repr__(self) -> str:
        return f"<Tally {self.listener} active={self.counters.connections_active}>"

    def ask_again(self) -> None:
        """Whether the observer wants to know of requests may have changed."""
        self.exchanged = self.observer.exchanged

    # Connections.

    def accepted(self) -> None:
        """A connection came in, to be served or turned away."""
        self.counters.connections["accepted"] += 1

    def began(self) -> int:
        """It is being served; how many are."""
        self.counters.connections_active += 1
        return self.counters.connections_active

    def gone(self, bytes_in: int, bytes_out: int) -> int:
        """One that began is over, with what it had carried; how many are left."""
        counters = self.counters
        counters.connections_active -= 1
        counters.bytes_in += bytes_in
        counters.bytes_out += bytes_out
        return counters.connections_active

    def opened(self, connection: Opened) -> None:
        self.counters.connections["established"] += 1
        self.observer.opened(connection)

    def closed(self, entry: AccessEntry, party: Party | None = None) -> None:
        """A connection that was opened is over."""
        self.counters.connections[entry.reason.value] += 1
        if entry.protocol == "tcp" and entry.reason.culprit is Culprit.UPSTREAM:
            self.failed(
                Failure(
                    at=entry.at,
                    listener=entry.listener,
                    upstream=entry.upstream,
                    reason=entry.reason,
                    peer_address=entry.peer_address,
                    identity=entry.identity,
                    connection_id=entry.connection_id,
                ),
                party,
            )
        self.observer.closed(entry)

    def turned_away(self, refusal: Refusal, party: Party | None = None) -> None:
        """A connection is over before it was opened."""
        self.counters.connections["failed" if refusal.is_failure else "refused"] += 1
        self.refused(refusal, party)

    def probed(self) -> None:
        """One of our own probes has seen our leaf."""
        self.counters.connections["probe"] += 1

    def cancel_passed(self) -> None:
        """A PostgreSQL client has asked to cancel a query, and the service was told."""
        self.counters.connections["cancel_request"] += 1

    def validated(self) -> None:
        """An ACME CA has asked for proof of a name, and was answered."""
        self.counters.connections["acme_validation"] += 1

    def empty(self) -> None:
        """A client came and went without a byte: a load balancer's probe, most likely."""
        self.counters.connections["empty"] += 1

    def refused(self, refusal: Refusal, party: Party | None = None) -> None:
        """Somebody was turned away: a connection, or one request on it. What could only not be done is a failure."""
        if refusal.is_failure:
            self.failed(Failure.of(refusal), party)
            return
        if party is not None:
            party.refusals += 1
        if refusal.stage is Stage.UPSTREAM:  # a drain came in between: as far as a request comes
            refusal = replace(refusal, stage=Stage.REQUEST)
        self.counters.refusals[(refusal.stage.value, refusal.reason.value)] += 1
        self.observer.refused(refusal)

    def failed(self, failure: Failure, party: Party | None = None) -> None:
        """A connection or a request could not be served."""
        reason = failure.reason.value
        self.counters.failures[reason] += 1
        if failure.upstream:
            self.failures_at[failure.upstream][reason] += 1
        if party is not None:
            party.failed(reason)
        if self.on_failure is not None:
            self.on_failure(failure)
        self.observer.failed(failure)

    # Handshakes, with peers and with remotes.

    def handshake_began(self) -> None:
        self.counters.handshakes_active += 1

    def handshake_dropped(self) -> None:
        """One that began has no end of its own: its connection was closed meanwhile."""
        self.counters.handshakes_active -= 1

    def handshake_over(self, reason: Reason | None, seconds: float) -> None:
        """One that began has succeeded, or failed for ``reason``."""
        counters = self.counters
        counters.handshakes_active -= 1
        counters.handshakes[("ok", "") if reason is None else ("failed", reason.value)] += 1
        counters.handshake_seconds.observe(seconds)

    # Upstreams.

    def upstream_failed(self, reason: Reason) -> None:
        self.counters.upstream_errors[reason.value] += 1

    def upstream_changed(self, address: str, *, healthy: bool, detail: str) -> None:
        """The active checks hold ``address`` for something else than before."""
        self.observer.upstream_changed(UpstreamChange(self.worker, self.listener, address, healthy, detail))

    # Requests.

    def dropped_headers(self, count: int) -> None:
        """A request had so many header fields that did not go on, for an underscore in their names."""
        self.counters.dropped_headers += count

    def grpc_answered(self, status: str, *, http_status: int = 0) -> None:
        """A gRPC call ended with this status, or with none; ``http_status`` is that of the service's own answer."""
        code = status if status in _GRPC_CODES else "unknown" if status else "none"
        self.counters.grpc[code] += 1
        if code in _GRPC_ERRORS and 200 <= http_status < 300:
            self.counters.grpc_errors += 1

    def answer_broke_off(self) -> None:
        """The upstream failed a request whose status says nothing of it: in the middle of the answer, or before it
        with none of ours in its place."""
        self.counters.broken_answers += 1
