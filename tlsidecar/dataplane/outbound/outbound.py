"""How one listener goes out: to which addresses, as whom, whom it expects there, and for how long it tries."""

from __future__ import annotations

from typing import NamedTuple

from tlsidecar.dataplane.choice import Current
from tlsidecar.dataplane.deadlines import DeadlineQueue
from tlsidecar.dataplane.handshake import HandshakeTerms
from tlsidecar.dataplane.outbound.network import Network
from tlsidecar.dataplane.outbound.upstreams import Upstreams
from tlsidecar.dataplane.policy import Policy
from tlsidecar.dataplane.shared import Shared
from tlsidecar.dataplane.starttls import words_of
from tlsidecar.dataplane.tally import Tally
from tlsidecar.settings import HTTP_1_1, Address, ListenerSettings, Mode


class Terms(NamedTuple):
    """On which terms an address of a listener is reached."""

    outbound: Outbound
    connect_deadlines: DeadlineQueue
    handshakes: HandshakeTerms
    header: bytes = b""  # said to a local service of ``starttls`` before all else


class Outbound:
    """How one listener goes out: to which addresses, whom it expects there, and for how long it tries."""

    def __init__(
        self,
        shared: Shared,
        network: Network,
        settings: ListenerSettings,
        policy: Policy,
        tally: Tally,
        current: Current,
    ) -> None:
        """``current`` is the identity of ours that is shown there."""
        loop = shared.reactor.loop
        self.current = current
        self.shared = shared
        self.network = network
        self.settings = settings
        self.policy = policy
        self.tally = tally
        self.shakes_hands = settings.mode is Mode.ORIGINATE
        self.words = words_of(settings.starttls)
        # What an upstream is used for by default; an HTTP/2 connection asks for its own.
        alpn = (HTTP_1_1,) if settings.is_http else settings.offered
        self.upstreams = Upstreams(loop, settings.upstreams, network.health)
        self.terms = Terms(
            self,
            DeadlineQueue(loop, settings.limits.upstream_connect_timeout_s),
            HandshakeTerms(
                shared.reactor,
                shared.turnstile,
                DeadlineQueue(loop, settings.limits.handshake_timeout_s),
                policy,
                shared.identities,
                alpn,
                server_side=False,
            ),
        )

    def __repr__(self) -> str:
        return f"<Outbound {self.settings.name} {self.upstreams.all}>"

    def server_name(self, address: Address) -> str:
        """The name asked of an upstream by SNI."""
        return self.settings.server_name or address.host

    def close(self) -> None:
        self.terms.connect_deadlines.clear()
        self.terms.handshakes.deadlines.clear()
