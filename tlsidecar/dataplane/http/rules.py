"""What one HTTP listener's settings come to, put together once."""

from __future__ import annotations

from dataclasses import replace

from tlsidecar.dataplane.http import names
from tlsidecar.dataplane.http.grammar import fold
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.settings import ClientCertificateHeader, Http, Limits, ListenerSettings, Mode


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What one listener accepts and removes."""

    limits: Limits
    removed: names.RemovedNames
    kept: frozenset[bytes]
    judges_destination: bool  # a WebDAV Destination is a path that route rules are for
    underscores: str
    host_without: bytes  # of a request of HTTP/1.0 that has none; empty: it is refused
    upgrades: frozenset[bytes]

    @classmethod
    def of(
        cls, name: str, limits: Limits, http: Http, *, authenticated: bool, routed: bool, traced: bool = False
    ) -> RequestRules:
        """``name`` is the listener's. ``authenticated``: the client showed a certificate, so the modes that keep its
        word may apply. ``traced``: the trace context is ours to write, after the client's, unless that is to be
        removed."""
        kept = set(names.FORWARDED) if http.trust_forwarded else set()
        mode = http.client_certificate_header
        keeps_certificate = (ClientCertificateHeader.APPEND_FORWARD, ClientCertificateHeader.FORWARD_ONLY)
        if authenticated and mode in keeps_certificate:
            kept.add(names.CLIENT_CERTIFICATE)
        removed = names.RemovedNames.of(
            http.remove_headers, terminates=authenticated, routed=routed, unsafely_kept=http.unsafe_keep_headers
        )
        if traced:
            kept.update(name for name in names.TRACE_CONTEXT if name not in removed)
            removed = replace(removed, exact=removed.exact | names.TRACE_CONTEXT)
        return cls(
            limits=limits,
            removed=removed,
            kept=frozenset(kept),
            judges_destination=routed and names.DESTINATION not in removed,
            underscores=http.underscores,
            host_without=name.encode("ascii") if http.http10_without_host == "listener_name" else b"",
            upgrades=frozenset(name.encode("ascii").lower() for name in http.upgrades),
        )


@dataclass(frozen=True, slots=True)
class HttpRules:
    """Shared by all connections of a listener, whatever version of HTTP they speak; has no state."""

    heads: RequestRules
    limits: Limits
    trailers: frozenset[bytes]
    host_rewrite: bytes
    client_certificate_header: ClientCertificateHeader

    @classmethod
    def of(cls, listener: ListenerSettings, *, traced: bool = False) -> HttpRules:
        http = listener.http
        terminates = listener.mode is Mode.TERMINATE
        heads = RequestRules.of(
            listener.name, listener.limits, http, authenticated=terminates, routed=bool(listener.routes), traced=traced
        )
        trailers = {name.encode("ascii").lower() for name in http.trailers}
        never = names.FRAMING | names.REQUEST_HOP_BY_HOP | names.RESPONSE_HOP_BY_HOP
        return cls(
            heads=heads,
            limits=listener.limits,
            trailers=frozenset(
                name for name in trailers if fold(name) not in never and fold(name) not in heads.removed
            ),
            host_rewrite=http.host_rewrite.encode("ascii"),
            client_certificate_header=http.client_certificate_header,
        )
