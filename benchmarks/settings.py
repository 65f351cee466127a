"""What is measured under which terms: a setting is a protocol, with the log, the service and the certificates that go
with it. Its name is that of its part of the report."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.variants import OVER_TCP, TWO_WORKERS, WITHOUT_LOG

TCP, HTTP = "tcp", "http"
# As shipped: every exchange in an access log, as JSON, with the same fields in all, to a file.
SHIPPED = "http as shipped"
H2 = "http/2"
STREAMS = "http/2, streams"  # behind it a service that answers with a thousand small messages
NO_INTERMEDIATE, HTTP_NO_INTERMEDIATE = "tcp, no intermediate", "http, no intermediate"
RSA, P384 = "tcp, RSA-2048", "tcp, P-384"


@dataclass(frozen=True)
class Setting:
    """``speaks`` is TCP, HTTP or H2; ``pki`` the name of a set of certificates (:mod:`benchmarks.credentials`)."""

    speaks: str
    pki: str = ""
    is_shipped: bool = False
    variants: tuple[str, ...] = ()  # of ours, beside the plain one
    is_measured_alone: bool = False  # memory and start, one proxy after the other


SETTINGS = {
    SHIPPED: Setting(HTTP, is_shipped=True, variants=(WITHOUT_LOG,)),
    TCP: Setting(TCP, variants=(TWO_WORKERS,), is_measured_alone=True),
    HTTP: Setting(HTTP, variants=(TWO_WORKERS, OVER_TCP), is_measured_alone=True),
    NO_INTERMEDIATE: Setting(TCP, pki=NO_INTERMEDIATE),
    HTTP_NO_INTERMEDIATE: Setting(HTTP, pki=NO_INTERMEDIATE),
    RSA: Setting(TCP, pki=RSA),
    P384: Setting(TCP, pki=P384),
    H2: Setting(H2, is_measured_alone=True),
    STREAMS: Setting(H2),
}
