"""Which connections a listener makes of what it accepts, and how it asks its upstreams how they are.

What a protocol needs is loaded with the first listener that speaks it, when that is set up: most sidecars speak one,
and what is loaded stays.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.starttls import words_of
from tlsidecar.dataplane.tcp_connection import TcpConnection
from tlsidecar.settings import ListenerSettings, Mode, Protocol

if TYPE_CHECKING:
    from tlsidecar.dataplane.outbound.health import HealthChecks
    from tlsidecar.dataplane.outbound.outbound import Outbound

# Where the service is reached before the peer is known, so many of its connections may be held by strangers, unless
# max_handshakes says otherwise: MariaDB has 151 in all by default.
MOST_UNPROVED_SESSIONS = 32


def usual_handshakes(settings: ListenerSettings, max_connections: int) -> int:
    """How many may be under way at once, where nobody has said so."""
    words = words_of(settings.starttls)
    usual = max(1, max_connections // 4)
    return min(usual, MOST_UNPROVED_SESSIONS) if words is not None and words.passes_greeting else usual


def health_checks(outbound: Outbound, settings: ListenerSettings) -> HealthChecks | None:
    """What asks the upstreams how they are, where they are asked."""
    if settings.health_check is None:
        return None
    from tlsidecar.dataplane.outbound.health import HealthChecks

    if not settings.health_check.grpc:
        return HealthChecks(outbound, settings.health_check)
    from tlsidecar.dataplane.http2.health_call import GrpcHealthCall

    scheme = "http" if settings.mode is Mode.TERMINATE else "https"
    return HealthChecks(outbound, settings.health_check, partial(GrpcHealthCall, scheme=scheme))


def load_health_checks(settings: ListenerSettings) -> None:
    """Import what :func:`health_checks` needs for them: beside traffic that is for a thread."""
    if settings.health_check is not None:
        import_module("tlsidecar.dataplane.outbound.health")
        if settings.health_check.grpc:
            import_module("tlsidecar.dataplane.http2.health_call")


def connection_maker(frontend: Frontend) -> tuple[Callable[[socket.socket, str], Connection], Callable[[], None]]:
    """What makes a connection of what was accepted; and what lets go of all that these connections share."""
    if frontend.settings.protocol is not Protocol.HTTP:
        if frontend.settings.starttls:
            from tlsidecar.dataplane.starttls_connection import StarttlsConnection

            return partial(StarttlsConnection, frontend), lambda: None
        return partial(TcpConnection, frontend), lambda: None
    from tlsidecar.dataplane.http.services import HttpServices
    from tlsidecar.dataplane.http1.connection import Http1Connection
    from tlsidecar.dataplane.http1.rules import Http1Rules

    services = HttpServices(frontend)
    http1 = partial(Http1Connection, frontend, services, rules=Http1Rules(services.rules))
    if frontend.settings.http2 == "off":
        return http1, services.close
    from tlsidecar.dataplane.http2.choosing import ChoosingConnection
    from tlsidecar.dataplane.http2.connection import Http2Connection
    from tlsidecar.dataplane.http2.heads import Heads

    heads = Heads(services.rules, terminates=frontend.terminates)
    http2 = partial(Http2Connection, frontend, services, heads=heads)
    if frontend.settings.http2 == "only":
        return http2, services.close
    return partial(ChoosingConnection, frontend, http1, http2), services.close
