"""What HTTP/1.1 adds to a listener's rules: the scanners of its heads."""

from __future__ import annotations

from tlsidecar.dataplane.http.rules import HttpRules
from tlsidecar.dataplane.http1.request_scanner import RequestScanner
from tlsidecar.dataplane.http1.response_head import ResponseScanner


class Http1Rules:
    """Shared by all HTTP/1.1 connections of a listener; has no state."""

    __slots__ = ("host_rewrite", "limits", "requests", "responses", "trailers")

    def __init__(self, rules: HttpRules) -> None:
        self.requests = RequestScanner(rules.heads)
        self.responses = ResponseScanner(rules.limits)
        self.limits = rules.limits
        self.trailers = rules.trailers
        self.host_rewrite = rules.host_rewrite
