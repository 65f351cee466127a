"""The tables and keys of ``tlsidecar.toml``: one declaration, from which the file is judged, ``config show`` and the
JSON Schema are made, and flags and environment variables get their names.

Defaults are not here: they are those of the dataclasses in :mod:`tlsidecar.settings`, whose field each key fills.
What one value must look like is in :mod:`tlsidecar.config.forms`; what the values together must satisfy is in
:mod:`tlsidecar.config.checks`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tlsidecar import settings
from tlsidecar.config.forms import (
    ALPN_NAME,
    COUNT,
    COUNT_OR_ZERO,
    DNS_NAME,
    DURATION,
    DURATION_OR_ZERO,
    FLAG,
    HEADER_NAME,
    HEALTH_PATH,
    HTTP_URL,
    HTTPS_URL,
    IDENTITY_NAMES,
    IP_ADDRESS,
    LISTEN_ADDRESS,
    METHOD,
    NAME,
    PATH,
    RATE,
    ROUTE_PATH,
    RULES,
    SHARE,
    SIZE,
    SPIFFE_ENDPOINT,
    SPIFFE_ID,
    TEXT,
    TRAILER_NAME,
    TRUST,
    UPGRADE,
    UPSTREAM_ADDRESSES,
    WORKERS,
    Form,
    Many,
    one_of,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a table. ``field`` is its name in the settings; ``worked_out`` describes a default that is not a
    constant."""

    key: str
    form: Form
    description: str
    field: str = ""
    required: bool = False
    worked_out: str = ""

    @property
    def field_name(self) -> str:
        return self.field or self.key

    def show(self, value: Any) -> object:
        """A value as TOML would write it; None where it is unset."""
        if value is None or value == "":
            return None
        if isinstance(self.form, Many):
            return [self.form.item.show(item) for item in value]
        return self.form.show(value)


@dataclass(frozen=True)
class Table:
    """One table: its keys, the tables in it, and the dataclass whose defaults it has."""

    title: str
    description: str
    defaults: Mapping[str, object]
    entries: tuple[Entry, ...]
    tables: Mapping[str, Table] = dataclasses.field(default_factory=dict)
    arrays: Mapping[str, Table] = dataclasses.field(default_factory=dict)  # arrays of tables
    repeatable: frozenset[str] = frozenset()  # of ``tables``, those that may be an array of tables instead

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def entry(self, key: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)

    def keys(self) -> list[str]:
        """Everything that may stand in it."""
        return [*(entry.key for entry in self.entries), *self.tables, *self.arrays]

    def default(self, entry: Entry) -> object:
        """The default as TOML would write it; None where there is none or it is worked out."""
        return entry.show(self.defaults.get(entry.field_name))


def _defaults(*types: type) -> dict[str, object]:
    return {
        field.name: field.default
        for settings_type in types
        for field in dataclasses.fields(settings_type)
        if field.default is not dataclasses.MISSING
    }


LIMITS = Table(
    "Limits",
    "Bounds. `[limits]` holds for every listener; `[listener.limits]` has the last word for one.",
    _defaults(settings.Limits),
    (
        Entry(
            "handshake_timeout", DURATION, "A TLS handshake not complete after this is ended.", "handshake_timeout_s"
        ),
        Entry(
            "max_connections",
            COUNT,
            "Connections at once; more are closed on accept.",
            worked_out="45 % of the file-descriptor limit",
        ),
        Entry(
            "max_handshakes",
            COUNT,
            "Handshakes at once; more are closed on accept.",
            worked_out="a quarter of `max_connections`",
        ),
        Entry(
            "idle_timeout",
            DURATION,
            "TCP: a connection with no byte either way for this long ends.",
            "idle_timeout_s",
        ),
        Entry("keepalive_timeout", DURATION, "HTTP: how long to wait for the next request.", "keepalive_timeout_s"),
        Entry("head_timeout", DURATION, "HTTP: a request head takes at most this long in total.", "head_timeout_s"),
        Entry("body_idle_timeout", DURATION, "HTTP: the longest pause within a request's body.", "body_idle_timeout_s"),
        Entry(
            "response_idle_timeout",
            DURATION,
            "HTTP: the longest pause within a response's body: event streams are silent for long.",
            "response_idle_timeout_s",
        ),
        Entry(
            "response_timeout",
            DURATION,
            "HTTP: how long the upstream may take to begin its response.",
            "response_timeout_s",
        ),
        Entry(
            "upstream_connect_timeout",
            DURATION,
            "How long connecting to the upstream may take.",
            "upstream_connect_timeout_s",
        ),
        Entry(
            "write_timeout",
            DURATION,
            "How long a side may read nothing of what waits for it.",
            "write_timeout_s",
        ),
        Entry(
            "close_timeout",
            DURATION,
            "How long a side may take to finish after the other has ended.",
            "close_timeout_s",
        ),
        Entry(
            "drain_timeout", DURATION, "How long a drain waits before it cuts what is still open.", "drain_timeout_s"
        ),
        Entry(
            "stream_idle_timeout",
            DURATION,
            "HTTP/2: a stream without a frame for this long ends; gRPC streams are silent for long.",
            "stream_idle_timeout_s",
        ),
        Entry("max_header_bytes", SIZE, "HTTP: the largest head."),
        Entry("max_header_fields", COUNT, "HTTP: the most header fields."),
        Entry("max_line_bytes", SIZE, "HTTP: the longest line in a head."),
        Entry("max_target_bytes", SIZE, "HTTP: the longest target of a request."),
        Entry("max_body_bytes", SIZE, "HTTP: the largest request body."),
        Entry("max_requests_per_connection", COUNT, "HTTP: a connection is closed after this many requests."),
        Entry("max_concurrent_requests", COUNT, "HTTP: requests at once on a listener; more are answered 503."),
        Entry("max_upstream_idle", COUNT_OR_ZERO, "HTTP: idle upstream connections kept for reuse; 0 keeps none."),
        Entry(
            "request_rate",
            RATE,
            'HTTP: requests of one identity, as "100/s"; more are answered 429. With several workers: on each of them.',
        ),
        Entry("request_burst", COUNT, "HTTP: how many requests may come at once before `request_rate` counts."),
        Entry("buffer", SIZE, "The high-water mark of each direction of a connection.", "buffer_bytes"),
        Entry(
            "max_connection_age",
            DURATION,
            "A connection older than this ends gracefully (HTTP: after the current exchange).",
            "max_connection_age_s",
        ),
    ),
)

ROUTE = Table(
    "Route",
    "HTTP, terminate: one rule for requests; the first whose path and method match decides. "
    "No match: the listener's own `allow`.",
    _defaults(settings.Route),
    (
        Entry("path", ROUTE_PATH, "A path; `*` stands for one segment, a last `**` for the rest.", required=True),
        Entry("methods", Many(METHOD, at_least=1), "The methods it is for; all when left out."),
        Entry("allow", RULES, "Who may pass; any one rule suffices.", required=True),
        Entry(
            "allow_encoded_slashes",
            FLAG,
            "Whether a path may have `%2F`, which services read as a slash or as none: the rules then have to let it "
            "pass either way. Otherwise it is answered 400.",
        ),
    ),
)

HEALTH_CHECK = Table(
    "HealthCheck",
    "An active check of the upstream addresses.",
    _defaults(settings.HealthCheck),
    (
        Entry(
            "path",
            HEALTH_PATH,
            "HTTP: the path to GET, expecting 2xx or 3xx. Left out: a TCP connection is enough, and with "
            "`originate` the TLS handshake.",
        ),
        Entry("grpc", FLAG, "HTTP/2: ask `grpc.health.v1.Health` for the health of the whole server, instead."),
        Entry("interval", DURATION, "How often.", "interval_s"),
        Entry("timeout", DURATION, "How long one check may take.", "timeout_s"),
        Entry("unhealthy_threshold", COUNT, "Failures in a row that make a healthy address unhealthy."),
        Entry("healthy_threshold", COUNT, "Successes in a row that make it healthy again."),
        Entry("readiness", FLAG, "Whether readiness depends on it: on one address of the listener that passes."),
    ),
)

LISTENER = Table(
    "Listener",
    "One address accepted on, with a mode.",
    {**_defaults(settings.Listener, settings.Http), "mode": settings.Mode.TERMINATE},
    (
        Entry("name", NAME, "Its name in logs, metrics and the terminal UI.", required=True),
        Entry(
            "mode",
            one_of("terminate", "originate"),
            "`terminate`: mutual TLS comes in, plaintext goes out to the local service. "
            "`originate`: plaintext comes in from the local application, mutual TLS goes out.",
        ),
        Entry(
            "listen",
            LISTEN_ADDRESS,
            "Where to accept: `host:port`, `[v6]:port` or `unix:/path`. With `originate`, loopback or a Unix socket.",
            required=True,
        ),
        Entry(
            "upstream",
            UPSTREAM_ADDRESSES,
            "Where to connect to, one address or several. With `terminate`, loopback or a Unix socket.",
            "upstreams",
            required=True,
        ),
        Entry(
            "identity",
            IDENTITY_NAMES,
            "The `[[identity]]` to show, by its name. Terminate: or several, of which the client's SNI chooses: the "
            "first that has a certificate for it, else the first of all.",
            "identities",
            worked_out="the first identity",
        ),
        Entry("protocol", one_of("tcp", "http", "grpc"), 'What is carried; `grpc` is `http` with `http2 = "only"`.'),
        Entry(
            "http2",
            one_of("off", "also", "only"),
            "HTTP: whether HTTP/2 is spoken, beside HTTP/1.1 or alone. The service (terminate) or the application "
            "(originate) speaks it in the clear with prior knowledge.",
        ),
        Entry(
            "alpn",
            Many(ALPN_NAME, at_least=1),
            "TCP: the protocols to agree on with the TLS peer, the best first. The bytes are not looked at.",
        ),
        Entry(
            "allow",
            RULES,
            "Terminate, and needed there: who may connect; any one rule suffices. "
            '`["any"]` is any certificate that the trust bundle vouches for.',
        ),
        Entry(
            "expect",
            RULES,
            "Originate: who the remote must be; any one rule suffices.",
            worked_out="the upstream's DNS name or IP address",
        ),
        Entry(
            "server_name",
            DNS_NAME,
            "Originate: the name sent as SNI.",
            worked_out="the upstream's DNS name",
        ),
        Entry(
            "starttls",
            one_of("postgres"),
            "TCP: the protocol whose own words agree on TLS before it begins. `postgres`: a peer's SSLRequest is "
            "answered, GSSENCRequest declined, CancelRequest passed on; a local application needs no TLS; a remote is "
            "asked.",
        ),
        Entry(
            "proxy_protocol",
            one_of("v2"),
            "TCP, terminate: send a PROXY protocol header, with the TLS TLVs, to the service.",
        ),
        Entry(
            "client_certificate_header",
            one_of("sanitize_set", "append_forward", "sanitize", "forward_only"),
            "HTTP, terminate: what becomes of X-Forwarded-Client-Cert, in Envoy's words.",
        ),
        Entry(
            "client_certificate_details",
            Many(one_of("cert", "chain")),
            "HTTP, terminate: what X-Forwarded-Client-Cert holds beside the names.",
        ),
        Entry("remove_headers", Many(HEADER_NAME), "HTTP: more request headers to remove, from trailers, too."),
        Entry(
            "unsafe_keep_headers",
            Many(HEADER_NAME),
            "HTTP: request headers to keep of those that are removed because other proxies write them "
            "(`cf-connecting-ip`, say): whoever may connect may then say what it likes in them.",
        ),
        Entry(
            "underscores",
            one_of("drop", "refuse", "allow"),
            "HTTP: what to do with a request header whose name has an underscore. What is dropped is counted.",
        ),
        Entry(
            "http10_without_host",
            one_of("listener_name", "refuse"),
            "HTTP: what to do with a request of HTTP/1.0 that has no Host: give it the listener's name, or 400.",
        ),
        Entry(
            "trust_forwarded",
            FLAG,
            "HTTP: keep what the client says of how it came: Forwarded, X-Forwarded-For, -Proto, -Host and their like.",
        ),
        Entry("host_rewrite", TEXT, "HTTP: the Host to send upstream instead of the client's."),
        Entry("upgrades", Many(UPGRADE), "HTTP: protocols that a connection may be upgraded to."),
        Entry("trailers", Many(TRAILER_NAME), "HTTP: trailer fields that are passed on."),
        Entry(
            "max_connection_age",
            DURATION,
            "The same as `max_connection_age` in `listener.limits`.",
            "max_connection_age_s",
        ),
        Entry("close_on_peer_expiry", FLAG, "End a connection gracefully when the peer's certificate expires."),
        Entry("close_on_revocation", FLAG, "End a connection gracefully when the peer's certificate is revoked."),
        Entry(
            "close_on_policy_change",
            FLAG,
            "End a connection gracefully when rules that were changed live let its peer in no more.",
        ),
        Entry(
            "require_client_certificate_request",
            FLAG,
            "Originate: refuse a remote that does not ask for our certificate, for it would not be mutual TLS.",
        ),
        Entry("unsafe_upstream", FLAG, "Terminate: allow an upstream that is not on this machine, in the clear."),
        Entry("unsafe_listen", FLAG, "Originate: accept plaintext from other machines."),
    ),
    tables={"limits": LIMITS, "health_check": HEALTH_CHECK},
    arrays={"route": ROUTE},
)

HTTP_FIELDS = frozenset(field.name for field in dataclasses.fields(settings.Http))
"""Fields that the file has among the listener's own, and the settings have in ``Listener.http``."""

ACME = Table(
    "Acme",
    "An ACME server (RFC 8555) that issues our certificate: ordered when it is due, kept in `state` between runs.",
    _defaults(settings.Acme),
    (
        Entry("directory", HTTPS_URL, "The server's directory.", required=True),
        Entry("state", PATH, "A directory of our own for the account's key and what was issued.", required=True),
        Entry("contact", Many(TEXT), 'How the CA reaches you, as `"mailto:ops@example.com"`.'),
        Entry("terms_agreed", FLAG, "Whether you agree to the CA's terms of service."),
        Entry(
            "challenge",
            one_of("tls-alpn-01", "http-01"),
            "How the CA is shown that the names are ours: by a TLS handshake on our `terminate` listeners, which it "
            "begins at port 443 of the names, or over HTTP, which it asks for at port 80.",
        ),
        Entry("http", LISTEN_ADDRESS, "http-01: where to answer; open only while the CA may ask."),
        Entry(
            "key_type", one_of("ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072"), "The kind of key, new each time."
        ),
        Entry("profile", TEXT, "The profile to ask for, where the CA has several."),
        Entry("eab_key_id", TEXT, "External account binding: the key's name, as the CA gave it."),
        Entry("eab_key_file", PATH, "External account binding: a file with the MAC key, in base64url."),
        Entry(
            "server_trust",
            PATH,
            "PEM: the CAs that may vouch for the ACME server itself.",
            worked_out="the system's",
        ),
    ),
)

IDENTITY = Table(
    "Identity",
    "Where our own certificate comes from: files (`cert`), a program (`command`), a local CA (`authority`), a SPIFFE "
    "agent (`spiffe_socket`) or an ACME server (`acme`).",
    _defaults(settings.Identity),
    (
        Entry(
            "name",
            NAME,
            "Of several, `[[identity]]`: what listeners, commands and metrics call it.",
            worked_out="`default`, where there is one `[identity]`",
        ),
        Entry("cert", PATH, "PEM: the leaf, then intermediates; may hold the key, too. Or PKCS #12."),
        Entry("key", PATH, "PEM: the private key.", worked_out="the key in `cert`"),
        Entry(
            "trust",
            TRUST,
            "The CAs that may vouch for peers: PEM files and directories of them (`*.pem`, `*.crt`, `*.cer`). "
            '`{ path = "…", trust_domain = "…" }` are good for SPIFFE IDs of that domain only. '
            "Our own chain need not lead there.",
        ),
        Entry("crl", PATH, "Revocation lists."),
        Entry(
            "crl_urls",
            Many(HTTP_URL, at_least=1),
            "Revocation lists on the web, fetched again at half of their life and kept in `crl_cache`.",
        ),
        Entry("crl_cache", PATH, "A directory of our own for what is fetched from `crl_urls`."),
        Entry("passphrase_file", PATH, "A file with the key's passphrase, which is never asked for."),
        Entry("key_group_readable", FLAG, "Accept a key that its group may read, as Kubernetes `fsGroup` needs."),
        Entry(
            "crl_policy",
            one_of("strict", "soft"),
            "Whether a missing or expired revocation list refuses the peer (`strict`) or raises an alarm (`soft`).",
        ),
        Entry(
            "command",
            Many(TEXT, at_least=1),
            "A program that prints one combined PEM: leaf, intermediates, key, and who is trusted where `trust` does "
            "not say. No shell; run again at about two thirds of the certificate's life.",
        ),
        Entry("command_env", Many(TEXT), "Command: the environment variables that it gets, besides PATH."),
        Entry("authority", PATH, "The directory of a local CA, which issues and renews for us."),
        Entry(
            "spiffe_socket",
            SPIFFE_ENDPOINT,
            "The SPIFFE Workload API, whose agent renews for us: `unix:///path` or `tcp://IP:PORT`.",
            worked_out="`$SPIFFE_ENDPOINT_SOCKET`, where no other source is given",
        ),
        Entry("spiffe_hint", TEXT, "SPIFFE: the hint of the identity to take, where the agent has several."),
        Entry("dns", Many(DNS_NAME), "Authority, ACME: DNS names to ask for."),
        Entry("ip", Many(IP_ADDRESS), "Authority, ACME: IP addresses to ask for."),
        Entry(
            "spiffe", SPIFFE_ID, "The SPIFFE ID: authority: to ask for; spiffe_socket: to take of those the agent has."
        ),
        Entry("cn", TEXT, "Authority: the common name to ask for.", "common_name"),
        Entry("ttl", DURATION, "Authority: the lifetime to ask for; renewed at about two thirds of it.", "ttl_s"),
        Entry("poll_interval", DURATION, "How often files, or the authority, are looked at.", "poll_interval_s"),
        Entry(
            "source_timeout",
            DURATION,
            "How long one attempt may take to read material, or to have it issued.",
            "source_timeout_s",
        ),
        Entry(
            "clock_skew", DURATION_OR_ZERO, "How far another machine's clock may be ahead or behind.", "clock_skew_s"
        ),
    ),
    {"acme": ACME},
)

# Each source of an identity with the keys that say something to it.
IDENTITY_SOURCES: Mapping[str, frozenset[str]] = {
    "cert": frozenset({"cert", "key", "passphrase_file", "key_group_readable", "trust", "crl"}),
    "command": frozenset({"command", "command_env", "trust", "crl"}),
    "authority": frozenset({"authority", "dns", "ip", "spiffe", "cn", "ttl", "trust", "crl"}),
    "spiffe_socket": frozenset({"spiffe_socket", "spiffe", "spiffe_hint"}),
    "acme": frozenset({"acme", "dns", "ip", "trust", "crl"}),
}

ADMIN = Table(
    "Admin",
    "The admin sockets.",
    _defaults(settings.Admin),
    (
        Entry(
            "socket",
            PATH,
            "The control socket, for its owner and root only.",
            worked_out="`$XDG_RUNTIME_DIR/tlsidecar/admin.sock`, else `/run/tlsidecar/admin.sock`",
        ),
        Entry("view_socket", PATH, "A second socket, in another directory, that only reads."),
        Entry("view_group", TEXT, "The group that may connect to `view_socket`."),
        Entry("http", LISTEN_ADDRESS, "A loopback address for `/healthz`, `/readyz` and `/metrics`, never a control."),
    ),
)

METRICS = Table(
    "Metrics",
    "A port for scrapers and probes on other machines: `/metrics`, `/healthz`, `/readyz`, and nothing else.",
    _defaults(settings.Metrics),
    (
        Entry("listen", LISTEN_ADDRESS, "Where: any address."),
        Entry(
            "allow",
            RULES,
            "Who may ask: mutual TLS, by a listener with the name `metrics`. Without it, plain HTTP.",
        ),
        Entry(
            "identity",
            NAME,
            "With `allow`: the `[[identity]]` to show, by its name.",
            worked_out="the first identity",
        ),
    ),
)

TLS = Table(
    "Tls",
    "TLS on both sides. Only AEAD cipher suites are ever offered.",
    _defaults(settings.Tls),
    (
        Entry("min_version", one_of("1.2", "1.3"), "The lowest version spoken."),
        Entry(
            "groups",
            Many(one_of(*settings.TLS_GROUPS), at_least=1),
            "The groups for the key exchange, in order of preference; for peers that have none of these.",
        ),
    ),
)

LOG = Table(
    "Log",
    "The log, one line an event, to standard error unless `file` is set.",
    _defaults(settings.Log),
    (
        Entry(
            "access",
            one_of("json", "text", "off"),
            "The access log: one line a request (HTTP) or a connection (TCP).",
        ),
        Entry("level", one_of("debug", "info", "warning", "error"), "The lowest level written."),
        Entry("file", PATH, "Write here instead of to standard error; SIGHUP opens it anew, as logrotate expects."),
    ),
)

TRACING = Table(
    "Tracing",
    "OpenTelemetry spans of HTTP requests, by OTLP over HTTP; off without an endpoint.",
    _defaults(settings.Tracing),
    (
        Entry("endpoint", HTTP_URL, "Where the collector takes traces. Needs the extra `otel`."),
        Entry("service_name", TEXT, "The name of the service in them.", worked_out="`$OTEL_SERVICE_NAME`"),
        Entry(
            "sample",
            SHARE,
            "How many of the traces that begin here are told; a client's own word stands.",
            "sample_ratio",
        ),
    ),
)

ROOT = Table(
    "tlsidecar.toml",
    "The configuration of tlsidecar.",
    _defaults(settings.Settings),
    (
        Entry("workers", WORKERS, 'Worker processes; `"auto"` is one for each CPU this process may use.'),
        Entry(
            "watchdog_timeout",
            DURATION,
            "With several workers: one whose event loop stands still for so long is killed and replaced.",
            "watchdog_timeout_s",
        ),
        Entry(
            "wait_for_material",
            DURATION_OR_ZERO,
            "At the start: how long to wait for material that can be used, instead of failing at once.",
            "wait_for_material_s",
        ),
        Entry(
            "shutdown_delay",
            DURATION_OR_ZERO,
            "After TERM: not ready, and still accepting for so long, while endpoints are withdrawn; part of "
            "`drain_timeout`.",
            "shutdown_delay_s",
        ),
        Entry(
            "event_loop",
            one_of("auto", "asyncio", "uvloop"),
            "The event loop; `auto` takes the one that measures best.",
        ),
        Entry(
            "sandbox",
            one_of("auto", "off", "required"),
            "Whether the kernel (Landlock) holds the process to the files and TCP ports that this configuration needs: "
            "`auto`: as far as it can; `required`: with files and ports, or not start.",
        ),
    ),
    tables={
        "admin": ADMIN,
        "identity": IDENTITY,
        "metrics": METRICS,
        "tls": TLS,
        "log": LOG,
        "tracing": TRACING,
        "limits": LIMITS,
    },
    arrays={"listener": LISTENER},
    repeatable=frozenset({"identity"}),
)
