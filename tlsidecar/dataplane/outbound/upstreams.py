"""The upstream addresses of one listener: which to take next, and which to leave alone for a while.

Least connections among those that are available. An address that fails is ejected for a time that doubles with every
failure in a row; when all are ejected the one that comes back first is tried all the same, so that nothing stays
ejected for ever and a single address is always tried. Active checks (:mod:`.health`), where there are any, take an
address out of the choice until they pass again, and end its ejection when they do.

Whether an address takes connections is known to all listeners that go there; whether the remote there is who it should
be, to the one that asked. A failure stands until something succeeds there, and at most for ``FAILURE_STANDS_S``: what
nobody has tried since is not known to be down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tlsidecar.dataplane.snapshot import HANDSHAKE_BUCKETS_S, Histogram, TrafficCounters, UpstreamRecord
from tlsidecar.settings import Address

EJECTION_S = 0.5
MAX_EJECTION_S = 30.0
# Longer than any ejection: a failure that nobody has seen again since says nothing of now.
FAILURE_STANDS_S = 60.0


class Health:
    """How trying something has gone lately. Times are the loop's, in seconds."""

    __slots__ = ("_loop", "ejected_until", "failures_in_a_row", "last_error", "tried_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.failures_in_a_row = 0  # whenever they were
        self.ejected_until = 0.0
        self.last_error = ""
        self.tried_at = 0.0

    def __repr__(self) -> str:
        return f"<Health failures={self.failures} {self.last_error!r}>"

    @property
    def failures(self) -> int:
        """How many in a row, while they still say something."""
        if self.failures_in_a_row and self._loop.time() - self.tried_at > FAILURE_STANDS_S:
            self.clear()
        return self.failures_in_a_row

    def clear(self) -> None:
        self.failures_in_a_row = 0
        self.ejected_until = 0.0
        self.last_error = ""

    def failed(self, detail: str) -> None:
        failures = self.failures
        self.failures_in_a_row = failures + 1
        self.last_error = detail
        self.tried_at = self._loop.time()
        self.ejected_until = self.tried_at + min(MAX_EJECTION_S, EJECTION_S * 2 ** min(failures, 10))


class Upstream:
    """One address of a listener: how many connections go there, and how it has been doing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: Address, connecting: Health) -> None:
        """``connecting`` is shared by all who go to ``address``."""
        self._loop = loop
        self._connecting = connecting
        self._handshaking = Health(loop)  # the TLS handshake, by this listener's rules
        self.address = address
        self.text = str(address)
        self.active = 0
        self.idle = 0
        self.opened = 0
        self.handshakes: dict[tuple[str, str], int] = {}  # by outcome and reason, as a listener's
        self.handshake_seconds = Histogram(HANDSHAKE_BUCKETS_S)
        self.checked: bool | None = None  # what the active checks hold it for; None: not checked, or not yet
        self.check_problem = ""
        self.checks_total = 0
        self.checks_failed = 0

    def __repr__(self) -> str:
        return f"<Upstream {self.address} active={self.active} failures={self.failures}>"

    @property
    def failures(self) -> int:
        """Connects and handshakes that failed since the last that succeeded."""
        return self._connecting.failures + self._handshaking.failures

    @property
    def healthy(self) -> bool:
        """Whether the last thing known of it is good."""
        return self.checked is not False and not self.failures

    @property
    def ejected_until(self) -> float:
        """On the loop's clock; in the past when it is not ejected."""
        return max(self._connecting.ejected_until, self._handshaking.ejected_until)

    @property
    def available(self) -> bool:
        """Whether it may be chosen: good, or its ejection is over."""
        return self.checked is not False and self._loop.time() >= self.ejected_until

    def succeeded(self) -> None:
        """It took a connection, and was who it should be."""
        self.answered(self._loop.time())

    def answered(self, now: float) -> None:
        """It answered on a connection it had, at ``now`` on the loop's clock."""
        connecting = self._connecting
        connecting.tried_at = self._handshaking.tried_at = now
        if connecting.failures_in_a_row or self._handshaking.failures_in_a_row:
            connecting.clear()
            self._handshaking.clear()

    def failed(self, detail: str) -> None:
        """It took no connection."""
        self._connecting.failed(detail)

    def refused(self, detail: str) -> None:
        """It took a connection, and the handshake failed."""
        self._connecting.clear()
        self._handshaking.failed(detail)

    def shook_hands(self, reason: str, seconds: float) -> None:
        """A handshake there took so long, and failed for ``reason``, if for any."""
        outcome = ("failed", reason) if reason else ("ok", "")
        self.handshakes[outcome] = self.handshakes.get(outcome, 0) + 1
        self.handshake_seconds.observe(seconds)

    def record(self, wall: float, traffic: TrafficCounters) -> UpstreamRecord:
        """``wall`` is POSIX seconds; ``traffic`` is what others have counted of it."""
        traffic.connections_active = self.active + self.idle
        traffic.connections = {"accepted": self.opened}
        traffic.handshakes = dict(self.handshakes)
        traffic.handshake_seconds = self.handshake_seconds.copy()
        failures = self.failures
        left_s = self.ejected_until - self._loop.time()
        return UpstreamRecord(
            address=self.text,
            healthy=self.healthy,
            active=self.active,
            idle=self.idle,
            failures=failures,
            ejected_until=wall + left_s if left_s > 0 else None,
            last_error=self._connecting.last_error or self._handshaking.last_error or self.check_problem,
            checked=self.checked,
            checks_total=self.checks_total,
            checks_failed=self.checks_failed,
            tried_at=max(self._connecting.tried_at, self._handshaking.tried_at),
            handshake_at=self._handshaking.tried_at,
            handshake_failed=self._handshaking.failures > 0,
            traffic=traffic,
        )


class Upstreams:
    """All addresses of one listener."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, addresses: Sequence[Address], health: Callable[[Address], Health]
    ) -> None:
        """``health`` gives what is known of connecting to an address, by whoever goes there."""
        self.all = [Upstream(loop, address, health(address)) for address in addresses]

    def choose(self, without: Sequence[Upstream] = ()) -> Upstream:
        """The address to take next; ``without`` names those already tried for the same work."""
        if len(self.all) == 1:
            return self.all[0]
        candidates = [upstream for upstream in self.all if upstream not in without] or self.all
        available = [upstream for upstream in candidates if upstream.available]
        if available:
            return min(available, key=lambda upstream: upstream.active)
        return min(candidates, key=lambda upstream: (upstream.checked is False, upstream.ejected_until))
