"""What a conversation asks of the shell that owns the sockets.

A ``memoryview`` in a command is a view on the buffer that was handed in: it is good until the call returns to the
event loop. What cannot be written at once has to be copied.
"""

from __future__ import annotations

from tlsidecar.dataplane.http.exchange import Exchange
from tlsidecar.lazy_dataclass import dataclass


@dataclass(slots=True)
class Connect:
    """Get an upstream connection for ``exchange``, a new one if ``fresh``, else one that idles if there is one. What is
    sent before it is established waits."""

    exchange: Exchange
    fresh: bool = False


@dataclass(slots=True)
class SendUpstream:
    """For the upstream connection at hand, in the order in which these come."""

    data: bytes | memoryview


@dataclass(slots=True)
class SendDownstream:
    """For the client."""

    data: bytes | memoryview


@dataclass(slots=True)
class ReleaseUpstream:
    """Done with the upstream connection: keep it for reuse, where ``bound`` by this client alone, or else close it
    now."""

    reusable: bool
    bound: bool = False


@dataclass(slots=True)
class CloseDownstream:
    """Close once everything was sent."""


@dataclass(slots=True)
class AbortDownstream:
    """Cut the connection so that the client can tell that its response is incomplete: no close_notify, a reset."""


@dataclass(slots=True)
class StartTunnel:
    """From now on both connections belong together and their bytes are no messages; relay them as a TCP relay does."""


@dataclass(slots=True)
class Finished:
    """The exchange is over: finish it. Exactly one for each request that was begun or refused."""

    exchange: Exchange


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
