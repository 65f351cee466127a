"""What stands between a request and a change: where it came from, how often, and that it leaves a trace."""

from __future__ import annotations

import json
import logging

from certs.clock import Clock
from tlsidecar.admin.access import Access
from tlsidecar.admin.messages import AdminRequest, ApiError, Reply, Stream
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.observe.audit import AuditLog, Caller

# Fifty reloads in a second are a test, or a script that closes connections; ten a second for long is a runaway.
CHANGES_A_SECOND = 10.0
CHANGES_AT_ONCE = 100
# A stranger who keeps trying must not fill the log.
TURNED_AWAY_LOGGED_A_SECOND = 1.0
TURNED_AWAY_LOGGED_AT_ONCE = 20

_log = logging.getLogger("tlsidecar.admin")


class TokenBucket:
    """At most ``burst`` at once and ``rate`` a second in the long run."""

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock.monotonic()

    def take(self) -> float:
        """0 when there was a token, else the seconds until there is one."""
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


@dataclass(frozen=True, slots=True)
class MutationOutcome:
    """How a change ended, for the audit line."""

    word: str
    detail: str = ""

    @classmethod
    def of(cls, reply: Reply | Stream) -> MutationOutcome:
        """In the reply's own word: its outcome, or the code of its error."""
        if isinstance(reply, Stream):
            return cls("streaming")
        document = json.loads(reply.body)
        error = document.get("error", {})
        word = document.get("outcome") or error.get("code") or "done"
        return cls(str(word), reply.audited or str(error.get("message", "")))


class ChangeGuard:
    """Lets changes through, or not, and writes the audit trail."""

    def __init__(self, audit: AuditLog, clock: Clock) -> None:
        self._audit = audit
        self._changes = TokenBucket(CHANGES_A_SECOND, CHANGES_AT_ONCE, clock)
        self._turned_away = TokenBucket(TURNED_AWAY_LOGGED_A_SECOND, TURNED_AWAY_LOGGED_AT_ONCE, clock)
        self._unlogged = 0

    def admit(self, request: AdminRequest) -> None:
        """Raises ApiError: over the rate, or no trace of the change could be written."""
        wait_s = self._changes.take()
        if wait_s:
            self.turned_away(request, "over the rate of changes")
            raise ApiError(429, "too many changes at once", headers=(("Retry-After", str(int(wait_s) + 1)),))
        if not self._audit.writable:
            _log.error("an admin change was refused: the audit trail cannot be written")
            raise ApiError(503, "the audit trail cannot be written, so nothing is changed: see to the log")

    def record(self, request: AdminRequest, outcome: MutationOutcome, before: int, after: int) -> None:
        """Trace a change that was let through, with the generations in use before and after it."""
        self._audit.record(
            request.caller,
            f"{request.method} {request.path}",
            outcome.word,
            generation_before=before,
            generation_after=after,
            detail=outcome.detail,
        )

    def turned_away(self, request: AdminRequest, why: str) -> None:
        """Trace an attempt that was turned away."""
        self._trace(request.caller, f"{request.method} {request.path[:200]}", why)

    def turned_away_at_the_door(self, caller: Caller, why: str) -> None:
        """Trace a process that may not use the socket at all."""
        self._trace(caller, "connect", why)

    def _trace(self, caller: Caller, verb: str, why: str) -> None:
        if self._turned_away.take():
            self._unlogged += 1  # said with the next line
            return
        detail = f"{why}; {self._unlogged} more denials not logged" if self._unlogged else why
        self._unlogged = 0
        self._audit.record(caller, verb, "denied", detail=detail)


def check_origin(request: AdminRequest, hosts: frozenset[str] | None) -> None:
    """Refuse what a browser was made to send (CSRF, DNS rebinding): raises ApiError.

    curl and our own clients send the fixed host and neither Origin nor Referer; a page in a browser cannot leave Origin
    out of a request that changes something, nor choose Host. ``hosts`` is None where any name may lead here.
    """
    for name in ("origin", "referer"):
        if name in request.headers:
            raise ApiError(403, f"a request with {name.capitalize()} is not served: it came from a browser")
    if hosts is None:
        return
    host = request.headers.get("host", "").lower()
    if request.access is Access.PROBE:
        host = _without_port(host)
    if host not in hosts:
        raise ApiError(403, f"Host is not {' or '.join(sorted(hosts))}")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and (":" not in name or name.endswith("]")) else host
