"""What the connections of one HTTP listener share: its rules, its upstream connections, its bounds."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Hashable, Sequence

from certs.identity import Identity
from certs.material import Material
from tlsidecar.dataplane.connection import Connection
from tlsidecar.dataplane.frontend import Frontend
from tlsidecar.dataplane.http import xfcc
from tlsidecar.dataplane.http.exchange import Admission, Clock, Downstream
from tlsidecar.dataplane.http.identity_headers import (
    REQUEST_ID_PREFIX_BYTES,
    ClientIdentity,
    IdentityHeaders,
    RequestIds,
)
from tlsidecar.dataplane.http.rate import Bucket, InFlight, TokenBuckets, usual_burst
from tlsidecar.dataplane.http.refusal import RETRY_AFTER_S, MessageRefused
from tlsidecar.dataplane.http.routes import RouteTable
from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.dataplane.outbound.pool import upstream_pool
from tlsidecar.dataplane.parties import names_of
from tlsidecar.dataplane.policy import kept_chain
from tlsidecar.dataplane.rate_table import SharedBuckets
from tlsidecar.outcomes import Reason, Stage
from tlsidecar.settings import Mode

# The elements about so many certificates are kept ready-made.
_ELEMENTS_KEPT = 1024


class HttpServices:
    """Made once for each HTTP listener."""

    def __init__(self, frontend: Frontend) -> None:
        settings = frontend.settings
        limits = settings.limits
        self._settings = settings
        self._terminates = settings.mode is Mode.TERMINATE
        self._reactor = frontend.shared.reactor
        self._request_ids = RequestIds(os.urandom(REQUEST_ID_PREFIX_BYTES))
        self._elements: dict[tuple[str, str, int], bytes] = {}
        ratio = frontend.shared.trace_ratio
        self.rules = HttpRules.of(settings, traced=ratio is not None)
        self._headers: type[IdentityHeaders] = IdentityHeaders
        if ratio is not None:
            from random import Random

            from tlsidecar.dataplane.http.tracing import TraceStarter, traced_headers

            random_bits = Random().getrandbits  # noqa: S311 - ids are to be unique, not secret
            self._headers = traced_headers(TraceStarter(ratio, random_bits, terminate=self._terminates))
        self.routes = RouteTable(settings.routes, settings.allow) if settings.routes else None
        self.pool = upstream_pool(frontend.outbound)
        self.rate = _rate(frontend)
        self.in_flight = InFlight(limits.max_concurrent_requests)

    def close(self) -> None:
        self.pool.close()

    @property
    def admits_all(self) -> bool:
        """Whether no request need be asked for: there is neither a rate nor a bound on those at once."""
        return self.rate is None and self.in_flight.limit is None

    def admission(self, identity: Identity | None, host: str) -> Admission | None:
        """What bounds the requests of one client, or None where nothing does; ``host`` is its address."""
        if self.admits_all:
            return None
        bucket = self.rate.bucket(rate_key(identity, host)) if self.rate is not None else None
        return _Admission(self.in_flight, bucket, self._reactor)

    def downstream(self, connection: Connection, chain: Callable[[], Sequence[bytes]]) -> Downstream:
        """What the requests of an authorised connection have in common; ``chain`` as for :meth:`identity_headers`."""
        frontend, identity = connection.frontend, connection.identity
        host = connection.peer_address.rpartition(":")[0].strip("[]") if connection.peer_address != "unix" else ""
        return Downstream(
            frontend.tally,
            self.identity_headers(host, identity, connection.contexts.material, chain),
            self.routes.guard(identity) if self.routes is not None else None,
            self.admission(identity, host),
            wall=connection.shared.wall,
            listener=frontend.name,
            connection_id=connection.id,
            generation=connection.contexts.generation,
            own_identity=connection.contexts.identity,
            peer_address=connection.peer_address,
            handshake_s=connection.handshake_s,
            identity=identity,
            party=connection.party or frontend.tally.parties.rest,
            rule=connection.rule,
            chain=lambda: kept_chain(chain()),
        )

    def identity_headers(
        self, peer_host: str, identity: Identity | None, ours: Material, chain: Callable[[], Sequence[bytes]]
    ) -> IdentityHeaders:
        """``chain`` gives what the client presented, leaf first, as DER; asked for only where it is told."""
        element = b""
        if self._terminates and identity is not None:
            element = self._element(identity, ours, chain)
        return self._headers(
            ClientIdentity(peer_host, element),
            self._settings.http.client_certificate_header,
            self._request_ids,
            terminate=self._terminates,
        )

    def _element(self, identity: Identity, ours: Material, chain: Callable[[], Sequence[bytes]]) -> bytes:
        details = self._settings.http.client_certificate_details
        shown = tuple(chain()) if details else ()
        key = (identity.sha256, ours.identity.sha256, len(shown))
        element = self._elements.get(key)
        if element is None:
            if len(self._elements) >= _ELEMENTS_KEPT:
                self._elements.clear()
            element = self._elements[key] = xfcc.element(
                identity,
                by=ours.identity.uris,
                certificate_pem=_pem(shown[:1]) if "cert" in details else "",
                chain_pem=_pem(shown) if "chain" in details else "",
            )
        return element


class _Admission:
    """One client's way in; see :class:`.exchange.Admission`."""

    __slots__ = ("_bucket", "_clock", "_in_flight", "leave")

    def __init__(self, in_flight: InFlight, bucket: Bucket | None, clock: Clock) -> None:
        self._in_flight = in_flight
        self._bucket = bucket
        self._clock = clock
        self.leave = in_flight.leave

    def enter(self) -> None:
        if not self._in_flight.enter():
            detail = f"the limit is {self._in_flight.limit}"
            raise MessageRefused(503, Reason.SHED, detail, stage=Stage.REQUEST, retry_after_s=RETRY_AFTER_S)
        # Asked last: what is turned away for the load has not used up its identity's rate.
        bucket = self._bucket
        if bucket is not None and not bucket.take(self._clock.now):
            self._in_flight.leave()
            wait_s = bucket.retry_after_s(self._clock.now)
            raise MessageRefused(429, Reason.RATE_LIMITED, stage=Stage.AUTHORIZE, retry_after_s=wait_s)


def _rate(frontend: Frontend) -> TokenBuckets | SharedBuckets | None:
    """The buckets of a listener's clients, those of all workers where there are several."""
    limits, shared = frontend.settings.limits, frontend.shared.rates
    if not limits.request_rate:
        return None
    burst = limits.request_burst or usual_burst(limits.request_rate)
    if shared is None:
        return TokenBuckets(limits.request_rate, burst)
    return SharedBuckets(shared, frontend.name, limits.request_rate, burst)


def rate_key(identity: Identity | None, host: str) -> Hashable:
    """What a client's rate is counted by: who it is, else where it is."""
    return host if identity is None else names_of(identity)


def _pem(chain: Sequence[bytes]) -> str:
    blocks = []
    for der in chain:
        text = b64encode(der).decode("ascii")
        lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
        blocks.append(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    return "".join(blocks)
