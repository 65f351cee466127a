"""What the file says of a listener: its own keys, its limits, its routes and its health check."""

from __future__ import annotations

import dataclasses

from tlsidecar import settings
from tlsidecar.config.forms import (
    ALPN_NAME,
    COUNT,
    COUNT_OR_ZERO,
    DNS_NAME,
    DURATION,
    FLAG,
    HEADER_NAME,
    HEALTH_PATH,
    IDENTITY_NAMES,
    LISTEN_ADDRESS,
    METHOD,
    NAME,
    RATE,
    ROUTE_PATH,
    RULES,
    SIZE,
    TEXT,
    TRAILER_NAME,
    UPGRADE,
    UPSTREAM_ADDRESSES,
    Many,
    one_of,
)
from tlsidecar.config.tables import Entry, Table, defaults_of

LIMITS = Table(
    "Limits",
    "Bounds. `[limits]` holds for every listener; `[listener.limits]` has the last word for one.",
    defaults_of(settings.Limits),
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
            "HTTP: how long the upstream may take to begin its response, but for gRPC calls.",
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
            'HTTP: requests of one identity, in all workers together, as "100/s"; more are answered 429.',
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
    defaults_of(settings.Route),
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
    defaults_of(settings.HealthCheck),
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
    {**defaults_of(settings.ListenerSettings, settings.Http), "mode": settings.Mode.TERMINATE},
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
            one_of("postgres", "mysql", "smtp"),
            "TCP: the protocol whose own words agree on TLS before it begins. `postgres`: a peer's SSLRequest is "
            "answered, GSSENCRequest declined, CancelRequest passed on; a local application needs no TLS; a remote is "
            "asked. `mysql`: the server's greeting is passed on with TLS on offer, so the service is reached before "
            "the peer is known (at most 32 at once, unless max_handshakes is set); a local application needs no TLS. "
            "`smtp`: STARTTLS is required of a peer, and said to a remote; the service and a local application see a "
            "session in the clear.",
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
