"""The upstream's end of an HTTP/2 connection: what is read from it, and how it is lost."""

from __future__ import annotations

from typing import Protocol

from tlsidecar.dataplane.endpoint import Endpoint
from tlsidecar.dataplane.handshake import Peer
from tlsidecar.dataplane.http2.frames import COPIED_BYTES
from tlsidecar.dataplane.http2.session import Session
from tlsidecar.dataplane.http2.streams import ALONE
from tlsidecar.dataplane.outbound.upstreams import Upstream
from tlsidecar.dataplane.stream import BUFFER, CLOSED, VIEW, WANT_READ, WANT_WRITE
from tlsidecar.dataplane.tls_failure import FailureKind
from tlsidecar.outcomes import Reason, Side, Stage


class UpstreamOwner(Protocol):
    """The connection that it is a part of."""

    def pump(self) -> None:
        """Write what the session has for either side, and do what it wants done."""
        ...

    def tell_client(self) -> bool:
        """Write what the session has for the client alone; False once that is gone."""
        ...

    def drained(self) -> None:
        """As :class:`.endpoint.Holder` says; so is :meth:`fail`."""
        ...

    def fail(self) -> None: ...

    def upstream_ended(self, reason: Reason, detail: str, stage: Stage) -> None:
        """Nothing more comes from it, or goes there: it is to be let go of, and the session told."""
        ...


class UpstreamEnd:
    """Reads for the session. ``peer`` is who proved to be there, when originating."""

    __slots__ = ("_owner", "_peer", "_session", "_upstream", "endpoint")

    def __init__(
        self, owner: UpstreamOwner, session: Session, upstream: Upstream, endpoint: Endpoint, peer: Peer | None
    ) -> None:
        """Counts among ``upstream.active`` already, and does so until :meth:`leave`."""
        self._owner = owner
        self._session = session
        self._upstream = upstream
        self.endpoint = endpoint
        self._peer = peer

    def __repr__(self) -> str:
        return f"<UpstreamEnd {self._upstream.text}>"

    def attach(self) -> None:
        """Read from it from now on."""
        self.endpoint.attach(self.readable, self)

    def leave(self) -> None:
        """Let go of it."""
        self._upstream.active -= 1
        self.endpoint.close()

    def readable(self, _events: int) -> None:
        count = self.endpoint.read()
        if count > 0:
            self._session.receive_upstream(bytes(VIEW[:count]) if count <= COPIED_BYTES else BUFFER, count)
            self._owner.pump()
        elif count == CLOSED:
            self._owner.upstream_ended(Reason.UPSTREAM_CLOSED, "", Stage.UPSTREAM)
        elif count not in (WANT_READ, WANT_WRITE):
            self._failed()

    def drained(self) -> None:
        self._owner.drained()

    def broken(self) -> None:
        """A write to it failed. It may still have answers for us: that a service refuses an upload, say, and closes
        over the rest of it."""
        endpoint, session = self.endpoint, self._session
        while (
            (endpoint.failure is None or endpoint.failure.kind is not FailureKind.ALERT)
            and session.state is not ALONE
            and (count := endpoint.read()) > 0
        ):
            session.receive_upstream(bytes(VIEW[:count]), count)  # no more than the kernel has kept of it
            session.to_upstream.clear()
            if not self._owner.tell_client():
                return
        if session.state is not ALONE:
            self._failed()
        else:
            self._owner.pump()

    def fail(self) -> None:
        self._owner.fail()

    def _failed(self) -> None:
        """A read from it failed, or a write to it that nothing more can be read after."""
        failure = self.endpoint.failure
        peer = self._peer
        if peer is not None and failure is not None and failure.kind is FailureKind.ALERT:
            # In TLS 1.3 the remote's judgement of our certificate comes after our handshake is over (RFC 8446 section
            # 4.4.2.4).
            self._session.knows_remote(peer.identity, peer.rule, Side.PEER, peer.party)
            self._owner.upstream_ended(Reason.REFUSED_BY_PEER, failure.text, Stage.VERIFY)
            return
        truncated = failure is not None and failure.kind is FailureKind.TRUNCATED
        reason = Reason.UPSTREAM_CLOSED if truncated else Reason.UPSTREAM_RESET
        detail = failure.text if failure is not None and not truncated else ""
        self._owner.upstream_ended(reason, detail, Stage.UPSTREAM)
