"""What is known of one sidecar. :class:`Model` takes replies as they arrive; :class:`Snapshot` is what a view draws,
frozen, so that a paused view stays as it was while the model goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tui.floods import Floods
from tui.freshness import SKEW_LIMIT_S, Link
from tui.history import History, Rates
from tui.lately import rates_lately
from tui.lifetime import Validity
from tui.past import ALL, Span, Whose, span_named
from tui.records import (
    Certificates,
    ConnectionInFull,
    ConnectionReply,
    Connections,
    Event,
    Failures,
    Json,
    Listener,
    Past,
    RefusalReply,
    Refusals,
    Status,
    decoded,
)
from tui.text import EMPTY, SafeText

EVENTS_KEPT = 2000


class Sort(StrEnum):
    """Fields that the sidecar sorts connections by; the values are its names for them."""

    OPENED = "opened_at"
    ID = "id"
    IDENTITY = "identity"
    PEER = "peer_address"
    LISTENER = "listener"
    BYTES_IN = "bytes_in"
    BYTES_OUT = "bytes_out"
    REQUESTS = "requests"
    IDLE = "idle_s"
    GENERATION = "generation"
    STATE = "state"


class GroupSort(StrEnum):
    """Fields that the sidecar sorts groups of connections by."""

    KEY = "key"
    CONNECTIONS = "connections"
    REQUESTS = "requests"
    BYTES_IN = "bytes_in"
    BYTES_OUT = "bytes_out"
    REQUESTS_PER_S = "requests_per_s"
    BYTES_IN_PER_S = "bytes_in_per_s"
    BYTES_OUT_PER_S = "bytes_out_per_s"
    FAILURES_PER_S = "failures_per_s"


@dataclass(frozen=True, slots=True)
class ConnectionQuery:
    """The window on the connections, or on groups of them, that a view asks for. The sidecar filters, sorts and
    cuts."""

    filter: str = ""
    sort: Sort | GroupSort = Sort.OPENED
    descending: bool = True
    offset: int = 0
    limit: int = 50
    group: str = ""  # counted together by this; empty for each by itself


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known of one sidecar at one moment."""

    socket: SafeText
    label: SafeText = EMPTY  # what it is called among several, which may be on one node; empty for one alone
    status: Status | None = None
    certificates: Certificates | None = None
    refusals: Refusals | None = None
    refusal: RefusalReply | None = None  # the one in full, with what would become of its peer now
    failures: Failures | None = None
    connections: Connections | None = None
    connections_query: ConnectionQuery = field(default_factory=ConnectionQuery)
    connection: ConnectionInFull | None = None
    connection_gone: bool = False
    events: tuple[Event, ...] = ()
    rates: Rates = field(default_factory=Rates)
    listener_rates: Mapping[str, Rates] = field(default_factory=dict)
    traffic: tuple[float, ...] = ()
    pasts: Mapping[str, Past] = field(default_factory=dict)  # by the name of their span of time
    quiet_s: float | None = None  # since bytes last moved, while that is known
    skew_s: float = 0.0  # the sidecar's clock minus ours
    link: Link = field(default_factory=Link)
    taken_at: datetime | None = None  # our clock, when the last reply came
    troubles: Mapping[str, SafeText] = field(default_factory=dict)  # what could not be read, and why
    raw: Mapping[str, Json] = field(default_factory=dict, repr=False, compare=False)  # replies as they came, to copy

    @property
    def is_skewed(self) -> bool:
        return abs(self.skew_s) > SKEW_LIMIT_S

    @property
    def own_validity(self) -> Validity:
        """Of the leaf in use; of several identities the one that ends first."""
        status = self.status
        own = () if status is None else status.identities
        if status is not None and not own and status.certificate is not None:
            own = (status.certificate,)
        known = [Validity.of_own(each, each) for each in own]
        ends = [each for each in known if each.not_after is not None]
        return min(
            ends, key=lambda each: each.not_after.timestamp() if each.not_after else 0.0, default=Validity(None, None)
        )

    def whole(self, reply: str) -> tuple[str, Json] | None:
        """A reply as it came, and its name; None before the first."""
        raw = self.raw.get(reply)
        return None if raw is None else (reply, raw)

    def raw_row(self, reply: str, rows: str, key: str, value: object) -> Json | None:
        """The row of a reply, as it came, that has this value under ``key``."""
        listed = self.raw.get(reply, {}).get(rows)
        rows_held = listed if isinstance(listed, list) else []
        return next((row for row in rows_held if isinstance(row, dict) and row.get(key) == value), None)

    def event(self, number: object) -> Event | None:
        """None where it is kept no more."""
        return next((each for each in self.events if each.number == number), None)

    def raw_connection(self, number: object) -> Json | None:
        """The connection of this number, as it came, where it is the one that was last shown in full."""
        held = self.raw.get("connection", {}).get("connection")
        return held if isinstance(held, dict) and held.get("id") == number else None

    def with_connection_of(self, model: Model) -> Snapshot:
        """The same, but for the connection that is shown in full."""
        raw = {name: reply for name, reply in model.raw.items() if name == "connection"}
        return replace(self, connection=model.connection, connection_gone=False, raw={**self.raw, **raw})

    @property
    def name(self) -> SafeText:
        """The node, or the socket while the node is not known; of one of several, what it is called among them, too."""
        node = self.status.node if self.status is not None else EMPTY
        if not node:
            return self.socket
        return SafeText(f"{node} {self.label}") if self.label not in ("", node) else node


@dataclass(slots=True)
class Model:
    """Takes what the sidecar tells, in order. ``updates`` counts what changed, for a paused view to say so."""

    socket: SafeText
    label: SafeText = EMPTY  # among several
    status: Status | None = None
    certificates: Certificates | None = None
    certificates_at: float = 0.0
    certificates_key: object = None
    refusals: Refusals | None = None
    refusals_limit: int = 0
    refusals_at: float = 0.0
    refusals_seen: int = 0  # the status' total when they were read
    refusal: RefusalReply | None = None
    refusal_at: float = 0.0
    failures: Failures | None = None
    failures_at: float = 0.0
    failures_seen: int = -1  # the status' total when they were read
    connections: Connections | None = None
    connections_query: ConnectionQuery = field(default_factory=ConnectionQuery)
    connection: ConnectionInFull | None = None
    connection_gone: bool = False
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS_KEPT))
    events_taken: int = 0  # ever
    floods: Floods = field(default_factory=Floods)
    last_event_id: int | None = None
    history: History = field(default_factory=History)
    lately: Past | None = None
    lately_at: float | None = None
    pasts: dict[str, Past] = field(default_factory=dict)
    pasts_at: dict[str, float] = field(default_factory=dict)
    pasts_of: dict[str, Whose] = field(default_factory=dict)  # for whose charts it was asked
    link: Link = field(default_factory=Link)
    skew_s: float = 0.0
    taken_at: datetime | None = None
    updates: int = 0
    restarts: int = 0
    troubles: dict[str, SafeText] = field(default_factory=dict)
    raw: dict[str, Json] = field(default_factory=dict)

    def take_status(self, reply: Json, monotonic: float, now: datetime, round_trip_s: float) -> None:
        """A status, received at ``monotonic`` and ``now`` on our clocks after ``round_trip_s``."""
        status = decoded(Status, reply)
        before = self.status
        if before is not None and (before.started_at, before.pid) != (status.started_at, status.pid):
            self.restarts += 1
            self._forget()
        self.status = status
        self.raw["status"] = reply
        self.history.add(monotonic, status)
        self.taken_at = now
        if status.now is not None:
            self.skew_s = (status.now - (now - timedelta(seconds=round_trip_s / 2))).total_seconds()
        self.link = Link(last_reply_at=monotonic)
        if before is None or before != status:
            self.updates += 1

    def rewind(self) -> None:
        """What comes next may be of any time: nothing that is known can be compared with it."""
        self._forget()
        self.status = None
        self.events.clear()
        self.link = Link()
        self.connection_gone = False

    def _forget(self) -> None:
        """Totals, events and connections are those of another process from now on."""
        self.history.clear()
        self.lately = self.lately_at = None
        self.pasts.clear()
        self.pasts_at.clear()
        self.pasts_of.clear()
        self.certificates_key = None
        self.refusals = None
        self.refusal = None
        self.failures = None
        self.failures_seen = -1
        self.connections = None
        self.last_event_id = None

    def take_certificates(self, reply: Json, monotonic: float) -> None:
        self.certificates = decoded(Certificates, reply)
        self.raw["certificates"] = reply
        self.certificates_at = monotonic
        self.certificates_key = self.certificates_fingerprint()

    def certificates_fingerprint(self) -> object:
        """What in the status tells that the certificates, or the last attempt, are others than before."""
        if self.status is None:
            return None
        problems = tuple((problem.code, problem.since) for problem in self.status.problems)
        return (self.status.generation, self.status.certificate, self.status.identities, problems)

    def take_refusals(self, reply: Json, limit: int, monotonic: float) -> None:
        self.refusals = decoded(Refusals, reply)
        self.raw["refusals"] = reply
        self.refusals_limit = limit
        self.refusals_at = monotonic
        self.refusals_seen = 0 if self.status is None else self.status.totals.refusals_total

    def take_refusal(self, reply: Json, monotonic: float) -> None:
        """``GET /v1/refusals/{id}``."""
        self.refusal = decoded(RefusalReply, reply)
        self.refusal_at = monotonic
        self.raw["refusal"] = reply

    def take_failures(self, reply: Json, monotonic: float) -> None:
        self.failures = decoded(Failures, reply)
        self.raw["failures"] = reply
        self.failures_seen = self.failures_told
        self.failures_at = monotonic

    @property
    def failures_told(self) -> int:
        """How many failures the status tells of."""
        listeners = () if self.status is None else self.status.listeners
        return sum(sum(listener.upstream_errors.values()) for listener in listeners)

    def span(self, name: str) -> Span:
        """The span of time of this name; for none, the shortest that holds all there is."""
        return span_named(name, 0.0 if self.status is None else self.status.uptime_s)

    def take_past(self, reply: Json, span: Span, monotonic: float, whose: Whose = ALL) -> None:
        """``GET /v1/history`` over ``span``."""
        self.pasts_of[span.name] = whose
        self.pasts[span.name] = decoded(Past, reply)
        self.pasts_at[span.name] = monotonic
        self.raw["history"] = reply

    def take_lately(self, reply: Json | None, monotonic: float) -> None:
        """``GET /v1/history`` of the last minute; None from a sidecar that does not tell of it."""
        self.lately = None if reply is None else decoded(Past, reply)
        self.lately_at = monotonic

    def take_connections(self, reply: Json, query: ConnectionQuery) -> None:
        self.connections = decoded(Connections, reply)
        self.raw["connections"] = reply
        self.connections_query = query

    def take_connection(self, reply: Json) -> None:
        """``GET /v1/connections/{id}``."""
        self.connection = decoded(ConnectionReply, reply).connection
        self.raw["connection"] = reply
        self.connection_gone = False

    def take_connection_gone(self) -> None:
        self.connection_gone = True

    def leave_connection(self) -> None:
        self.connection = None
        self.connection_gone = False

    def take_event(self, event: Event) -> None:
        self.events_taken += 1
        self.floods.add(self.events, replace(event, number=self.events_taken))
        if event.seq:
            self.last_event_id = event.seq
        self.updates += 1

    def lose(self, error: SafeText, next_attempt_at: float) -> None:
        """An attempt failed; the next one is at the monotonic moment given."""
        self.link = replace(self.link, attempt=self.link.attempt + 1, error=error, next_attempt_at=next_attempt_at)

    def snapshot(self, monotonic: float, *, brief: bool = False) -> Snapshot:
        """The present; ``brief`` for a row among many, which needs no listener's rates and no events."""
        listeners = () if self.status is None or brief else self.status.listeners
        lately = {} if self.lately is None or self.status is None else rates_lately(self.lately, self.status)
        last_traffic_at = self.history.last_traffic_at
        return Snapshot(
            socket=self.socket,
            label=self.label,
            status=self.status,
            certificates=self.certificates,
            refusals=self.refusals,
            refusal=self.refusal,
            failures=self.failures,
            connections=self.connections,
            connections_query=self.connections_query,
            connection=self.connection,
            connection_gone=self.connection_gone,
            events=() if brief else tuple(self.events),
            rates=self._rates(self.status, lately),
            listener_rates={listener.name: self._rates(listener, lately, listener.name) for listener in listeners},
            traffic=tuple(self.history.traffic),
            pasts=dict(self.pasts),
            quiet_s=None if last_traffic_at is None else monotonic - last_traffic_at,
            skew_s=self.skew_s,
            link=self.link,
            taken_at=self.taken_at,
            troubles=dict(self.troubles),
            raw=dict(self.raw),
        )

    def _rates(self, of: Status | Listener | None, lately: Mapping[str, Rates], listener: str = "") -> Rates:
        """What is compared here, with what the sidecar tells of the last minute itself."""
        told, whole_minute = lately.get(listener), self.history.spans_a_minute
        rates = self.history.rates(listener or None).filled(told, whole_minute=whole_minute)
        p99_s = None if of is None else of.recent_handshake_p99_s
        return rates if p99_s is None else replace(rates, handshake_p99_s=p99_s)
