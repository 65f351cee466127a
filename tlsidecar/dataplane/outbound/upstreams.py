"""The upstream addresses of one listener: which to take next, and which to leave alone for a while.

Least connections among those that are available. An address that fails is ejected for a time that doubles with every
failure in a row; when all are ejected the one that comes back first is tried all the same, so that nothing stays
ejected for ever and a single address is always tried. Active checks (:mod:`.health`), where there are any, take an
address out of the choice until they pass again, and end its ejection when they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tlsidecar.dataplane.snapshot import UpstreamRecord
from tlsidecar.settings import Address

EJECTION_S = 0.5
MAX_EJECTION_S = 30.0


class Upstream:
    """One address: how many connections go there, and how it has been doing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: Address) -> None:
        self._loop = loop
        self.address = address
        self.text = str(address)
        self.active = 0
        self.idle = 0
        self.failures = 0
        self.ejected_until = 0.0  # on the loop's clock
        self.last_error = ""
        self.tried_at = 0.0  # on the loop's clock
        self.checked: bool | None = None  # what the active checks hold it for; None: not checked, or not yet
        self.check_problem = ""
        self.checks_total = 0
        self.checks_failed = 0

    def __repr__(self) -> str:
        return f"<Upstream {self.address} active={self.active} failures={self.failures}>"

    @property
    def healthy(self) -> bool:
        """Whether the last thing known of it is good."""
        return self.checked is not False and not self.failures

    @property
    def available(self) -> bool:
        """Whether it may be chosen: good, or its ejection is over."""
        return self.checked is not False and self._loop.time() >= self.ejected_until

    def succeeded(self) -> None:
        self.tried_at = self._loop.time()
        self.failures = 0
        self.ejected_until = 0.0
        self.last_error = ""

    def failed(self, detail: str) -> None:
        self.failures += 1
        self.last_error = detail
        self.tried_at = self._loop.time()
        self.ejected_until = self.tried_at + min(MAX_EJECTION_S, EJECTION_S * 2 ** min(self.failures - 1, 10))

    def record(self, wall: float) -> UpstreamRecord:
        """``wall`` is POSIX seconds."""
        left_s = self.ejected_until - self._loop.time()
        return UpstreamRecord(
            address=str(self.address),
            healthy=self.healthy,
            active=self.active,
            idle=self.idle,
            failures=self.failures,
            ejected_until=wall + left_s if left_s > 0 else None,
            last_error=self.last_error or self.check_problem,
            checked=self.checked,
            checks_total=self.checks_total,
            checks_failed=self.checks_failed,
            tried_at=self.tried_at,
        )


class Upstreams:
    """All addresses of one listener."""

    def __init__(self, loop: asyncio.AbstractEventLoop, addresses: Sequence[Address]) -> None:
        self.all = [Upstream(loop, address) for address in addresses]

    def choose(self, without: Sequence[Upstream] = ()) -> Upstream:
        """The address to take next; ``without`` names those already tried for the same work."""
        if len(self.all) == 1:
            return self.all[0]
        candidates = [upstream for upstream in self.all if upstream not in without] or self.all
        available = [upstream for upstream in candidates if upstream.available]
        if available:
            return min(available, key=lambda upstream: upstream.active)
        return min(candidates, key=lambda upstream: (upstream.checked is False, upstream.ejected_until))
