"""What the exchange machine asks of the shell that owns the sockets, and what it tells of each exchange.

A ``memoryview`` in a command is a view on the buffer that was handed in: it is good until the call returns to the
event loop. What cannot be written at once has to be copied.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlsidecar.outcomes import Reason, Stage, Trace


@dataclass(slots=True)
class ExchangeRecord:
    """One request and what became of it. Text from the peer is as it was: escape it before it is shown.

    ``bytes_in`` and ``bytes_out`` are what was read from and sent to the client for it. ``reason`` is ``None`` for an
    exchange that ran its course. ``admitted`` says whether the admission hook let it pass (and is owed a release).
    """

    method: bytes = b""
    target: bytes = b""
    host: bytes = b""
    request_id: bytes = b""
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    reason: Reason | None = None
    detail: str = ""
    stage: Stage = Stage.REQUEST
    rule: str = ""
    admitted: bool = False
    retried: bool = False
    upgrade: bytes = b""
    trace: Trace | None = None


@dataclass(slots=True)
class Connect:
    """Get an upstream connection, a new one if ``fresh``, else one that idles if there is one. What is sent before it
    is established waits."""

    fresh: bool = False


@dataclass(slots=True)
class SendUpstream:
    data: bytes | memoryview


@dataclass(slots=True)
class SendDownstream:
    data: bytes | memoryview


@dataclass(slots=True)
class ReleaseUpstream:
    """Done with the upstream connection: keep it for reuse, or else close it now."""

    reusable: bool


@dataclass(slots=True)
class CloseDownstream:
    """Close once everything was sent. With ``linger`` the client may still be sending: read and drop for a moment, or
    the reset would cost it the answer."""

    linger: bool


@dataclass(slots=True)
class AbortDownstream:
    """Cut the connection so that the client can tell that its response is incomplete: no close_notify, a reset."""


@dataclass(slots=True)
class StartTunnel:
    """From now on both connections belong together and their bytes are no messages; relay them as a TCP relay does."""


@dataclass(slots=True)
class Finished:
    """An exchange is over; exactly one for each request that was begun or refused."""

    record: ExchangeRecord


Command = (
    Connect
    | SendUpstream
    | SendDownstream
    | ReleaseUpstream
    | CloseDownstream
    | AbortDownstream
    | StartTunnel
    | Finished
)
