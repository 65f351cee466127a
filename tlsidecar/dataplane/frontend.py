"""What a connection knows of the listener that accepted it.

The listener makes one of these and hands it to every connection: the settings, as whom it is served, who may talk,
where to go, what bounds it, and where to report. Connections know nothing of accepting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tlsidecar.dataplane.choice import Choice
from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.handshake import HandshakeTerms
from tlsidecar.dataplane.outbound.network import Network
from tlsidecar.dataplane.outbound.outbound import Outbound
from tlsidecar.dataplane.policy import Policy
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.tally import Tally
from tlsidecar.settings import ListenerSettings, Mode

# Called with the id of a connection that is over, and the bytes it had carried in and out.
Gone = Callable[[int, int, int], None]

# Called with the connection that has taken the place and the id of another. Any, for connections import this module.
Replaced = Callable[[Any], None]


class Frontend:
    """One listener as its connections see it."""

    __slots__ = (
        "current",
        "gone",
        "handshake_deadlines",
        "handshake_terms",
        "limits",
        "mode",
        "name",
        "offered",
        "outbound",
        "policy",
        "protocol",
        "replaced",
        "settings",
        "shared",
        "tally",
        "terminates",
    )

    def __init__(
        self,
        shared: Shared,
        network: Network,
        settings: ListenerSettings,
        gone: Gone,
        replaced: Replaced,
        tally: Tally | None = None,
    ) -> None:
        """``tally`` is the listener's, where it has one already."""
        self.shared = shared
        self.settings = settings
        self.gone = gone
        self.replaced = replaced
        own = [shared.current[name] for name in settings.identities]
        self.current = own[0]
        self.offered = settings.offered
        self.name = settings.name
        self.mode = settings.mode.value
        self.protocol = settings.protocol.value
        self.terminates = settings.mode is Mode.TERMINATE
        self.limits = settings.limits
        self.policy = Policy.of(settings)
        self.tally = tally or Tally(settings.name, shared.observer, shared.worker)
        self.outbound = Outbound(shared, network, settings, self.policy, self.tally, self.current)
        self.handshake_deadlines = DeadlineQueue(shared.reactor.loop, settings.limits.handshake_timeout_s)
        self.handshake_terms = HandshakeTerms(
            shared.reactor,
            shared.turnstile,
            self.handshake_deadlines,
            self.policy,
            shared.identities,
            self.offered,
            server_side=True,
            denial=shared.denials.of,
            choice=Choice(own) if len(own) > 1 else None,
        )

    def __repr__(self) -> str:
        return f"<Frontend {self.name}>"

    def close(self) -> None:
        """Nobody is waited for any more."""
        self.handshake_deadlines.clear()
        self.outbound.close()
