"""What a connection stands on, played by the test: the ends of its sockets, and what it knows of its listener."""

from __future__ import annotations

import itertools
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

from unit.dataplane.http1.conversation import Ledger, identity_headers

from tlsidecar.dataplane.http.exchange import Downstream
from tlsidecar.dataplane.report import Opened
from tlsidecar.dataplane.stream import BUFFER, CLOSED, FAILED, VIEW, WANT_READ
from tlsidecar.dataplane.tls_failure import FailureKind, SslFailure
from tlsidecar.outcomes import AccessEntry, Failure, Reason, Refusal
from tlsidecar.settings import ListenerSettings, Mode

RESET = SslFailure(FailureKind.RESET, "Connection reset by peer")


class End:
    """One side's endpoint: what it has to say is in ``unread`` (bytes, CLOSED or a failure), what it was told in
    ``sent``, and what it does not take counts as ``queued_bytes``."""

    def __init__(self, name: str = "") -> None:
        self.sock = SimpleNamespace(name=name)
        self.unread: deque[bytes | int | SslFailure] = deque()
        self.sent = b""
        self.write_failure: SslFailure | None = None
        self.failure: SslFailure | None = None
        self.queued_bytes = 0
        self.is_reading = False
        self.is_wide = False
        self.closed = ""
        self.readable: Any = None
        self.handed_over = b""

    def attach(self, readable: Any, _holder: object) -> None:
        self.readable = readable
        self.is_reading = True

    def redirect(self, readable: Any) -> None:
        self.readable = readable

    def detach(self) -> None:
        self.readable = None

    def widen(self, wider: bool) -> None:
        self.is_wide = wider

    def pause(self) -> None:
        self.is_reading = False

    def resume(self) -> None:
        self.is_reading = True

    def read(self) -> int:
        if not self.unread:
            return WANT_READ
        said = self.unread.popleft()
        if isinstance(said, SslFailure):
            self.failure = said
            return FAILED
        if isinstance(said, int):
            return said
        BUFFER[: len(said)] = said
        return len(said)

    def send(self, data: bytes | memoryview) -> bool:
        if self.write_failure is not None:
            self.failure = self.write_failure
            return False
        self.sent += bytes(data)
        return True

    def send_read(self, count: int) -> bool:
        return self.send(VIEW[:count])

    def hand_over(self) -> bytes:
        self.closed = "handed over"
        return self.handed_over

    def close(self) -> None:
        self.closed = "closed"

    def cut(self, lingerer: object = None) -> None:
        self.closed = "cut" if lingerer is not None else "reset"

    def linger(self, _lingerer: object) -> None:
        self.closed = "in order"


class Relay:
    """What carries the bytes of two sockets that belong together."""

    patience_s, timeout_reason = 100.0, Reason.IDLE_TIMEOUT
    pending_in = pending_out = b""
    bytes_in = bytes_out = 0

    def __init__(
        self,
        _reactor: object,
        _stream: object,
        tls: Any,
        plain: Any,
        _limits: object,
        owner: Any,
        *,
        remote: bool = False,
    ) -> None:
        self.ends = (tls.name, plain.name)
        self.owner = owner
        self.remote = remote
        self.state = ""
        self.active_at = 1000.0

    def start(self) -> None:
        self.state = "started"

    def stop(self) -> None:
        self.state = "stopped"


class Frontend:
    """A listener's side of a connection, with all that is reported to it."""

    def __init__(self, settings: ListenerSettings) -> None:
        self.opened: list[Opened] = []
        self.closed: list[AccessEntry] = []
        self.refusals: list[Refusal] = []  # of the connection, or of what it did
        self.turned_away: list[Refusal] = []
        self.failures: list[Failure] = []
        self.upstream_errors: list[Reason] = []
        self.counted: list[str] = []
        self.gone: list[tuple[int, int, int]] = []
        self.left: list[tuple[object, str]] = []  # to the lingerer
        self.time = SimpleNamespace(s=1000.0)
        tally = SimpleNamespace(
            opened=self.opened.append,
            closed=lambda entry, party: self.closed.append(entry),
            refused=self.refusals.append,
            turned_away=lambda refusal, party: self.turned_away.append(refusal),
            failed=lambda failure, party: self.failures.append(failure),
            upstream_failed=self.upstream_errors.append,
            grpc_answered=lambda status, http_status=0: None,
            handshake_began=lambda: self.counted.append("handshake began"),
            handshake_dropped=lambda: self.counted.append("handshake dropped"),
            empty=lambda: self.counted.append("empty"),
            cancel_passed=lambda: self.counted.append("cancel passed"),
        )
        self.reactor = SimpleNamespace(
            now=self.time.s,
            refresh=self._refresh,
            loop=SimpleNamespace(time=lambda: self.time.s),
            forget=lambda _: None,
        )
        self.lingerer = SimpleNamespace(
            close=lambda sock: self.left.append((sock, "lingers")),
            cut=lambda sock, hears_out: self.left.append((sock, "heard out" if hears_out else "cut")),
        )
        identity = SimpleNamespace(dns=("here.test",))
        contexts = SimpleNamespace(identity="", generation=1, material=SimpleNamespace(identity=identity))
        self.seen = SimpleNamespace(
            shared=SimpleNamespace(
                reactor=self.reactor, ids=itertools.count(1), wall=lambda: 1e9, lingerer=self.lingerer
            ),
            settings=settings,
            name=settings.name,
            mode=settings.mode.value,
            protocol=settings.protocol.value,
            terminates=settings.mode is Mode.TERMINATE,
            limits=settings.limits,
            tally=tally,
            current=SimpleNamespace(contexts=contexts),
            outbound=SimpleNamespace(server_name=lambda address: "remote.test"),
            handshake_deadlines=None,
            gone=lambda *gone: self.gone.append(gone),
        )

    def _refresh(self) -> float:
        self.reactor.now = self.time.s
        return self.time.s

    def waits(self, seconds: float) -> float:
        """The hand of the clock, moved on."""
        self.time.s += seconds
        return self._refresh()

    @property
    def ends(self) -> list[Reason]:
        return [entry.reason for entry in self.closed]


class HttpFrontend(Frontend):
    """That of an HTTP listener; what its exchanges report is in ``ledger``."""

    def __init__(self, settings: ListenerSettings, pool: object = None) -> None:
        super().__init__(settings)
        self.ledger = Ledger()
        downstream = Downstream(self.ledger, identity_headers(settings), wall=lambda: 1e9, party=self.ledger.party)
        self.services = cast("Any", SimpleNamespace(downstream=lambda _connection, _chain: downstream, pool=pool))


__all__ = ["CLOSED", "RESET", "End", "Frontend", "HttpFrontend", "Relay"]
