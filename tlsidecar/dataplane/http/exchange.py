"""One request and what becomes of it, from its head's last byte to its account.

It knows no version of HTTP, no bytes and no socket: whoever speaks a version makes one for each request, tells it what
happens, and ends it with :meth:`Exchange.finish`.

    Exchange(…) ─▶ admit ─▶ wait ─▶ attach ─▶ answer ─▶ finish
                     │        └─────────┴──▶ refuse or cut ─▶ finish
                     └──▶ refuse ─▶ finish

Its account is of this request alone. Times are the caller's monotonic clock, in seconds:

    begun_at      the last byte of its head was read
    attached_at   an upstream connection was had for it: the last one, where it was tried twice
    finished      the last byte of its answer was handed over, or it was cut off

``total_s`` is all of it, ``wait_s`` the part before the upstream connection, ``upstream_s`` the part after.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from certs.identity import Identity
from tlsidecar.dataplane.http.identity_headers import IdentityHeaders
from tlsidecar.dataplane.http.message import Request
from tlsidecar.dataplane.http.refusal import MessageRefused
from tlsidecar.dataplane.http.routes import RouteGuard
from tlsidecar.dataplane.parties import Party, Shares
from tlsidecar.outcomes import AccessEntry, Culprit, EndedRequest, Failure, Reason, Refusal, Side, Stage

IDEMPOTENT_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})  # RFC 9110 section 9.2.2


class Clock(Protocol):
    """Whoever speaks a version of HTTP asks it when things happen."""

    @property
    def now(self) -> float:
        """Monotonic seconds, as of this turn of the loop."""
        ...


class Admission(Protocol):
    """What bounds the requests of one client."""

    def enter(self) -> None:
        """Let one request in, which is to :meth:`leave` again. Raises :class:`MessageRefused`."""
        ...

    def leave(self) -> None: ...


class Account(Protocol):
    """Where exchanges report."""

    @property
    def exchanged(self) -> Callable[[EndedRequest, float], None] | None:
        """To be called with each request that is over, and when that was (monotonic seconds); None for nobody."""
        ...

    def dropped_headers(self, count: int) -> None: ...

    def refused(self, refusal: Refusal, party: Party | None) -> None: ...

    def failed(self, failure: Failure, party: Party | None) -> None: ...

    def upstream_failed(self, reason: Reason) -> None: ...

    def answer_broke_off(self) -> None: ...


class Downstream:
    """What the requests of one client's connection have in common. ``identity`` and ``rule`` are the client's; where we
    are the one who shows a certificate they are empty, and each exchange has its remote's.

    ``admission`` is ``None`` where every request is let in, ``guard`` where the listener has no routes; ``wall`` is
    POSIX seconds.
    """

    __slots__ = (
        "_chain",
        "account",
        "admission",
        "connection_id",
        "generation",
        "guard",
        "handshake_s",
        "headers",
        "identity",
        "listener",
        "own_identity",
        "party",
        "peer_address",
        "rule",
        "wall",
    )

    def __init__(
        self,
        account: Account,
        headers: IdentityHeaders,
        guard: RouteGuard | None = None,
        admission: Admission | None = None,
        *,
        wall: Callable[[], float],
        listener: str = "",
        connection_id: int = 0,
        generation: int = 0,
        own_identity: str = "",
        peer_address: str = "",
        handshake_s: float = 0.0,
        identity: Identity | None = None,
        party: Party | None = None,
        rule: str = "",
        chain: Callable[[], tuple[bytes, ...]] | None = None,
    ) -> None:
        """``chain`` gives the DER of what the client has shown, leaf first."""
        self.account = account
        self.headers = headers
        self.guard = guard
        self.admission = admission
        self.wall = wall
        self.listener = listener
        self.connection_id = connection_id
        self.generation = generation
        self.own_identity = own_identity
        self.peer_address = peer_address
        self.handshake_s = handshake_s
        self.identity = identity
        self.party = party if party is not None else Party("", "", Shares())
        self.rule = rule
        self._chain = chain

    def chain_once(self) -> tuple[bytes, ...]:
        """The client's chain, for the first who asks: whoever is refused again and again shows it once."""
        chain, self._chain = self._chain, None
        return chain() if chain is not None else ()

    def __repr__(self) -> str:
        name = self.identity.name if self.identity is not None else self.peer_address
        return f"<Downstream {self.connection_id} {name!r}>"

    @property
    def admits_all(self) -> bool:
        """Whether no request need be asked for."""
        return self.guard is None and self.admission is None


class Exchange:
    """One request. ``status`` is what it was answered with, 0 for nothing; ``bytes_in`` and ``bytes_out`` are what was
    read from and sent to the client for it; ``reason`` is ``None`` while it runs its course."""

    __slots__ = (
        "attached_at",
        "begun_at",
        "bytes_in",
        "bytes_out",
        "detail",
        "downstream",
        "holds_upstream",
        "identity",
        "is_admitted",
        "is_retried",
        "party",
        "reason",
        "request",
        "rule",
        "side",
        "stage",
        "status",
        "tried",
        "upstream",
        "was_wanted",
    )

    def __init__(self, downstream: Downstream, request: Request, begun_at: float) -> None:
        self.downstream = downstream
        self.request = request
        self.begun_at = begun_at
        self.attached_at = begun_at
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.reason: Reason | None = None
        self.detail = ""
        self.stage = _REQUEST
        self.side = _LOCAL
        self.rule = downstream.rule
        self.identity = downstream.identity
        self.party = downstream.party
        self.upstream = ""
        self.tried = ""  # the upstream address it had, or was to have, last
        self.is_admitted = False  # by the admission, which is owed a release
        self.holds_upstream = False  # an upstream connection is asked for or there, and is to be released
        self.was_wanted = False  # one was asked for
        self.is_retried = False

    def __repr__(self) -> str:
        return f"<Exchange {self.request!r} upstream={self.upstream!r} status={self.status} reason={self.reason}>"

    # What happens to it, in this order.

    def admit(self) -> None:
        """Ask whoever has a say. The request's target and destination are then in the form that was judged, which is
        to go on.

        Raises :class:`MessageRefused`.
        """
        downstream, request = self.downstream, self.request
        if request.dropped_headers:
            downstream.account.dropped_headers(request.dropped_headers)
        if downstream.guard is not None:
            downstream.guard.judge_request(request)
        # Asked last: what is turned away by a route has not used up its client's rate.
        if downstream.admission is not None:
            downstream.admission.enter()
            self.is_admitted = True

    def wait(self) -> None:
        """An upstream connection is wanted."""
        self.holds_upstream = self.was_wanted = True

    def attach(self, upstream: str, now: float) -> None:
        """It has its upstream connection, to the address ``upstream``."""
        self.upstream = self.tried = upstream
        self.attached_at = now

    def knows_remote(
        self, identity: Identity | None, rule: str, side: Side = Side.LOCAL, party: Party | None = None
    ) -> None:
        """Who is at the upstream's end, where that shows a certificate; ``side`` tells who turned away whom if this was
        all that was learned of it."""
        self.identity = identity
        if party is not None:
            self.party = party
        self.rule = rule
        self.side = side

    def release(self) -> bool:
        """Let go of the upstream connection; whether it held one."""
        held, self.holds_upstream = self.holds_upstream, False
        return held

    def may_retry(self) -> bool:
        """Whether what the service has not begun with may be sent once more on another connection: it is idempotent,
        and this is the first time (RFC 9112 section 9.3.1). If so it waits for that from now on."""
        if self.is_retried or self.request.method not in IDEMPOTENT_METHODS:
            return False
        self.is_retried = True
        self.upstream = ""
        self.wait()
        return True

    def refuse(self, refusal: MessageRefused) -> None:
        """It is answered with this instead of a response."""
        self.status = refusal.status
        self.reason = refusal.reason
        self.detail = refusal.detail
        self.stage = refusal.stage
        if refusal.rule:
            self.rule = refusal.rule
        if self.request.method:
            self.downstream.headers.begin_trace(self.request)

    def cut(self, reason: Reason, detail: str = "") -> None:
        """It ends without an answer, or within one."""
        self.reason = reason
        self.detail = detail

    def finish(self, now: float) -> None:
        """It is over: reported once, and to be forgotten."""
        downstream = self.downstream
        account = downstream.account
        party = self.party
        party.answered(self.upstream, self.status, now - self.begun_at, self.bytes_in, self.bytes_out)
        if self.is_admitted:
            assert downstream.admission is not None
            downstream.admission.leave()
        reason = self.reason
        if reason is not None:
            self._report(reason)
        exchanged = account.exchanged
        if exchanged is not None:
            exchanged(self, now)

    # Its account.

    def _report(self, reason: Reason) -> None:
        """It was refused, or cut off."""
        account = self.downstream.account
        by_upstream = reason.culprit is _UPSTREAM
        if by_upstream and self.upstream:  # an address that was tried in vain has been counted as that
            account.upstream_failed(reason)
        if by_upstream and self.status < 500:
            account.answer_broke_off()
        if self.status >= 400:
            account.refused(self._refusal(reason), self.party)
        elif by_upstream:
            account.failed(Failure.of(self._refusal(reason)), self.party)

    def entry(self, now: float) -> AccessEntry:
        """Its line in the access log, and its span; it ended at ``now``."""
        downstream, request, identity = self.downstream, self.request, self.identity
        total_s = now - self.begun_at
        attached = bool(self.upstream)
        wait_s = self.attached_at - self.begun_at if attached else total_s if self.was_wanted else 0.0
        return AccessEntry(
            downstream.wall(),
            _PROTOCOL,
            downstream.listener,
            downstream.connection_id,
            downstream.generation,
            downstream.peer_address,
            identity.name if identity is not None else "",
            self.rule,
            self.reason or _COMPLETED,
            self.upstream or self.tried,
            self.bytes_in,
            self.bytes_out,
            downstream.handshake_s,
            wait_s,
            now - self.attached_at if attached else 0.0,
            total_s,
            request.method.decode("latin-1"),
            request.target.decode("latin-1"),
            self.status,
            request.request_id.decode("latin-1"),
            request.trace,
            downstream.own_identity,
        )

    def _refusal(self, reason: Reason) -> Refusal:
        downstream, request, identity = self.downstream, self.request, self.identity
        return Refusal(
            at=downstream.wall(),
            listener=downstream.listener,
            peer_address=downstream.peer_address,
            side=self.side,
            stage=self.stage,
            reason=reason,
            detail=self.detail,
            identity=identity.name if identity is not None else "",
            subject=identity.subject if identity is not None else "",
            issuer=identity.issuer if identity is not None else "",
            serial=identity.serial if identity is not None else "",
            not_after=identity.not_after.timestamp() if identity is not None else None,
            rule=self.rule,
            connection_id=downstream.connection_id,
            status=self.status,
            method=request.method.decode("latin-1"),
            target=request.target.decode("latin-1"),
            request_id=request.request_id.decode("latin-1"),
            upstream=self.tried,
            leaf=identity.sha256 if identity is not None else "",
            chain=downstream.chain_once() if identity is not None and identity is downstream.identity else (),
            own_identity=downstream.own_identity,
        )


# Looking a member up in its enumeration costs more than what is done with it.
_PROTOCOL = "http"  # as a listener's protocol is called, whichever version is spoken
_REQUEST = Stage.REQUEST
_LOCAL = Side.LOCAL
_COMPLETED = Reason.COMPLETED
_UPSTREAM = Culprit.UPSTREAM
