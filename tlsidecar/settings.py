"""The effective settings: frozen dataclasses, made once by :mod:`tlsidecar.config` and read by everything else.

Durations are in seconds, sizes in bytes. Nothing here validates: a ``Settings`` that exists has been validated.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from pathlib import Path

from tlsidecar.lazy_dataclass import dataclass

KIB = 1024

METRICS_LISTENER = "metrics"
"""The name of the listener that stands before ``[metrics]`` when that asks for mutual TLS."""

DEFAULT_IDENTITY = "default"
"""What the only identity is called where it has no name."""

# Names of protocols in ALPN (RFC 7301 section 6).
HTTP_1_1 = b"http/1.1"
H2 = b"h2"


class Mode(StrEnum):
    """Which side of a listener speaks mutual TLS: the one that comes in, or the one that goes out."""

    TERMINATE = "terminate"
    ORIGINATE = "originate"


class Protocol(StrEnum):
    """What is spoken inside TLS, as far as we look."""

    TCP = "tcp"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class Address:
    """``host:port`` or ``unix:/path``; exactly one of ``host`` and ``path`` is set. IPv6 hosts carry no brackets."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one listener. ``None`` means no bound, or where said a bound derived from the fd limit."""

    handshake_timeout_s: float = 10.0
    max_connections: int | None = None  # None: 45 % of the file-descriptor limit
    max_handshakes: int | None = None  # None: a quarter of max_connections
    idle_timeout_s: float = 3600.0
    keepalive_timeout_s: float = 75.0
    head_timeout_s: float = 10.0
    body_idle_timeout_s: float = 60.0  # of requests
    response_idle_timeout_s: float = 3600.0  # of responses: event streams may be silent for long
    response_timeout_s: float = 60.0
    upstream_connect_timeout_s: float = 5.0
    close_timeout_s: float = 60.0
    write_timeout_s: float = 300.0  # a reader that takes nothing, while something waits for it
    drain_timeout_s: float = 30.0
    max_header_bytes: int = 32 * KIB
    max_header_fields: int = 100
    max_line_bytes: int = 32 * KIB
    max_target_bytes: int = 8 * KIB
    max_body_bytes: int | None = None
    max_requests_per_connection: int | None = None
    max_concurrent_requests: int | None = None
    max_upstream_idle: int = 64
    request_rate: float | None = None  # requests a second, per identity
    request_burst: int | None = None
    buffer_bytes: int = 64 * KIB
    max_connection_age_s: float | None = None
    stream_idle_timeout_s: float = 3600.0  # an HTTP/2 stream without a frame


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP route rule; the first whose path and method match decides who may pass."""

    path: str
    methods: tuple[str, ...]
    allow: tuple[str, ...]
    allow_encoded_slashes: bool = False  # %2F in the path; judged as a slash and as none


class ClientCertificateHeader(StrEnum):
    """What becomes of X-Forwarded-Client-Cert (Envoy: forward_client_cert_details)."""

    SANITIZE_SET = "sanitize_set"
    APPEND_FORWARD = "append_forward"
    SANITIZE = "sanitize"
    FORWARD_ONLY = "forward_only"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An active check of the upstream addresses; feeds readiness only when ``readiness`` says so."""

    path: str = ""  # empty: TCP connect
    interval_s: float = 5.0
    timeout_s: float = 2.0
    unhealthy_threshold: int = 2  # failures in a row
    healthy_threshold: int = 1  # successes in a row
    readiness: bool = False
    grpc: bool = False  # grpc.health.v1.Health/Check instead of the path


@dataclass(frozen=True, slots=True)
class Http:
    """How one HTTP listener treats requests."""

    client_certificate_header: ClientCertificateHeader = ClientCertificateHeader.SANITIZE_SET
    client_certificate_details: tuple[str, ...] = ()  # of "cert", "chain"
    remove_headers: tuple[str, ...] = ()
    unsafe_keep_headers: tuple[str, ...] = ()  # of those that are removed by default
    underscores: str = "drop"  # drop | refuse | allow
    http10_without_host: str = "listener_name"  # listener_name | refuse
    trust_forwarded: bool = False
    host_rewrite: str = ""
    upgrades: tuple[str, ...] = ("websocket",)
    trailers: tuple[str, ...] = ()  # trailer names that are passed on


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One address accepted on, with a mode. ``allow`` and ``expect`` are rule texts, already known to parse."""

    name: str
    mode: Mode
    listen: Address
    upstreams: tuple[Address, ...]
    identities: tuple[str, ...] = (DEFAULT_IDENTITY,)  # terminate: several are chosen from by SNI, else by the first
    protocol: Protocol = Protocol.TCP
    http2: str = "off"  # off | also | only
    alpn: tuple[str, ...] = ()  # tcp: what is agreed on with the TLS peer, the best first
    allow: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()
    server_name: str = ""  # originate: SNI and the name checked; default the upstream's host
    routes: tuple[Route, ...] = ()
    limits: Limits = field(default_factory=Limits)
    http: Http = field(default_factory=Http)
    proxy_protocol: str = ""  # "" | "v2"
    starttls: str = ""  # "" | "postgres" | "mysql" | "smtp"
    unsafe_upstream: bool = False
    unsafe_listen: bool = False
    close_on_peer_expiry: bool = False
    close_on_revocation: bool = False
    close_on_policy_change: bool = False
    require_client_certificate_request: bool = True  # originate
    health_check: HealthCheck | None = None

    @property
    def is_http(self) -> bool:
        return self.protocol is Protocol.HTTP

    @property
    def offered(self) -> tuple[bytes, ...]:
        """What ALPN offers or agrees on, the best first."""
        if self.protocol is Protocol.TCP:
            return tuple(name.encode("ascii") for name in self.alpn)
        return {"off": (HTTP_1_1,), "also": (H2, HTTP_1_1), "only": (H2,)}[self.http2]


@dataclass(frozen=True, slots=True)
class TrustFile:
    """A PEM file or a directory of them: CAs that may vouch for peers, or for those of one SPIFFE trust domain only."""

    path: Path
    trust_domain: str = ""


@dataclass(frozen=True, slots=True)
class Acme:
    """An ACME server that issues our material (RFC 8555), and the account with it."""

    directory: str
    state: Path
    contact: tuple[str, ...] = ()
    terms_agreed: bool = False
    challenge: str = "tls-alpn-01"  # tls-alpn-01 | http-01
    http: Address | None = None  # where http-01 is answered
    key_type: str = "ecdsa-p256"  # ecdsa-p256 | ecdsa-p384 | rsa-2048 | rsa-3072
    profile: str = ""
    eab_key_id: str = ""
    eab_key_file: Path | None = None
    server_trust: Path | None = None  # the CAs of the server's own certificate; None: the system's


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Where our own material comes from: files, a program, a local authority, a SPIFFE agent or an ACME server; and
    whom we trust."""

    cert: Path | None = None
    key: Path | None = None  # None with cert: one combined PEM
    trust: tuple[TrustFile, ...] = ()
    crl: Path | None = None
    crl_urls: tuple[str, ...] = ()
    crl_cache: Path | None = None  # the directory where what is fetched is kept
    passphrase_file: Path | None = None
    key_group_readable: bool = False
    crl_policy: str = "strict"  # strict | soft
    command: tuple[str, ...] = ()
    command_env: tuple[str, ...] = ()  # names of variables that the command gets
    authority: Path | None = None
    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    spiffe: str = ""
    common_name: str = ""
    ttl_s: float = 86400.0
    spiffe_socket: str = ""
    spiffe_hint: str = ""
    acme: Acme | None = None
    poll_interval_s: float = 1.0
    source_timeout_s: float = 30.0  # one attempt to read, or to have something issued
    clock_skew_s: float = 300.0
    name: str = DEFAULT_IDENTITY


@dataclass(frozen=True, slots=True)
class Admin:
    """The control socket, the optional view socket and the optional loopback HTTP port. ``http`` serves no control."""

    socket: Path
    view_socket: Path | None = None
    view_group: str = ""
    http: Address | None = None


# The groups that may be asked for, by their usual names, and what OpenSSL calls them.
TLS_GROUPS = {
    "X25519MLKEM768": "X25519MLKEM768",
    "SecP256r1MLKEM768": "SecP256r1MLKEM768",
    "SecP384r1MLKEM1024": "SecP384r1MLKEM1024",
    "X25519": "X25519",
    "P-256": "secp256r1",
    "P-384": "secp384r1",
    "P-521": "secp521r1",
    "X448": "X448",
    "ffdhe2048": "ffdhe2048",
    "ffdhe3072": "ffdhe3072",
}


@dataclass(frozen=True, slots=True)
class Metrics:
    """A port for scraping and probes from outside; off without ``listen``. With ``allow`` it speaks mutual TLS, as
    ``identity``, or as the first where that is empty."""

    listen: Address | None = None
    allow: tuple[str, ...] = ()
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Tls:
    """``groups``: those for the key exchange, in order of preference. Others are slow (one hello with ffdhe3072 costs
    2.5 ms) or in nobody's guide."""

    min_version: str = "1.2"  # "1.2" | "1.3"
    groups: tuple[str, ...] = ("X25519MLKEM768", "X25519", "P-256", "P-384")


@dataclass(frozen=True, slots=True)
class Log:
    """``file``: of the access log and the process log alike, in place of standard error."""

    access: str = "json"  # json | text | off
    level: str = "info"
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Tracing:
    """OpenTelemetry spans of HTTP requests; off without an endpoint."""

    endpoint: str = ""
    service_name: str = ""  # empty: what OTEL_SERVICE_NAME says
    sample_ratio: float = 1.0  # of the traces that begin here


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one process runs by."""

    admin: Admin
    identities: tuple[IdentitySettings, ...]  # at least one, each with a name of its own
    listeners: tuple[ListenerSettings, ...]
    metrics: Metrics = field(default_factory=Metrics)
    tls: Tls = field(default_factory=Tls)
    log: Log = field(default_factory=Log)
    tracing: Tracing = field(default_factory=Tracing)
    limits: Limits = field(default_factory=Limits)  # what [limits] says; listeners have inherited it
    workers: int = 1
    watchdog_timeout_s: float = 10.0  # a worker whose loop stands still for so long is replaced
    shutdown_delay_s: float = 0.0  # how long after TERM new connections are still accepted
    wait_for_material_s: float = 0.0  # at the start: how long a certificate is waited for
    event_loop: str = "auto"  # auto | asyncio | uvloop
    sandbox: str = "auto"  # auto | off | required
    config_file: Path | None = None

    @property
    def identity(self) -> IdentitySettings:
        """The first: that of listeners which name none."""
        return self.identities[0]

    def identity_called(self, name: str) -> IdentitySettings:
        """Raises KeyError."""
        found = next((each for each in self.identities if each.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def listeners_of(self, identity: str) -> tuple[ListenerSettings, ...]:
        """Those that show the identity of this name, always or to some."""
        return tuple(each for each in self.listeners if identity in each.identities)

    @property
    def names_identities(self) -> bool:
        """Whether one has to be told from another: it has a name, or there are several."""
        return len(self.identities) > 1 or self.identity.name != DEFAULT_IDENTITY
