"""What one HTTP listener's settings come to, put together once."""

from __future__ import annotations

from dataclasses import dataclass

from tlsidecar.dataplane.http import names
from tlsidecar.dataplane.http.grammar import fold
from tlsidecar.dataplane.http1.request_head import RequestRules, RequestScanner
from tlsidecar.dataplane.http1.response_head import ResponseScanner
from tlsidecar.settings import ClientCertificateHeader, Limits, Listener, Mode


@dataclass(frozen=True, slots=True)
class HttpRules:
    """Shared by all connections of a listener; has no state."""

    requests: RequestScanner
    responses: ResponseScanner
    limits: Limits
    trailers: frozenset[bytes]
    host_rewrite: bytes
    terminate: bool
    client_certificate_header: ClientCertificateHeader

    @classmethod
    def of(cls, listener: Listener, *, traced: bool = False) -> HttpRules:
        http = listener.http
        terminate = listener.mode is Mode.TERMINATE
        rules = RequestRules.of(
            listener.limits, http, authenticated=terminate, routed=bool(listener.routes), traced=traced
        )
        trailers = {name.encode("ascii").lower() for name in http.trailers}
        never = names.FRAMING | names.REQUEST_HOP_BY_HOP | names.RESPONSE_HOP_BY_HOP
        return cls(
            requests=RequestScanner(rules),
            responses=ResponseScanner(listener.limits),
            limits=listener.limits,
            trailers=frozenset(
                name for name in trailers if fold(name) not in never and fold(name) not in rules.removed
            ),
            host_rewrite=http.host_rewrite.encode("ascii"),
            terminate=terminate,
            client_certificate_header=http.client_certificate_header,
        )
