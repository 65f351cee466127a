"""The tables and keys of ``tlsidecar.toml``: one declaration, from which the file is judged, ``config show`` and the
JSON Schema are made, and flags and environment variables get their names.

Defaults are not here: they are those of the dataclasses in :mod:`tlsidecar.settings`, whose field each key fills.
What one value must look like is in :mod:`tlsidecar.config.forms`; what the values together must satisfy is in
:mod:`tlsidecar.config.checks`.
"""

from __future__ import annotations

from tlsidecar import settings
from tlsidecar.config.forms import (
    DURATION,
    DURATION_OR_ZERO,
    HTTP_URL,
    LISTEN_ADDRESS,
    NAME,
    PATH,
    RULES,
    SHARE,
    TEXT,
    WORKERS,
    Many,
    one_of,
)
from tlsidecar.config.identity_tables import IDENTITY
from tlsidecar.config.listener_tables import LIMITS, LISTENER
from tlsidecar.config.tables import Entry, Table, defaults_of

ADMIN = Table(
    "Admin",
    "The admin sockets.",
    defaults_of(settings.Admin),
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
    defaults_of(settings.Metrics),
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
    defaults_of(settings.Tls),
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
    defaults_of(settings.Log),
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
    defaults_of(settings.Tracing),
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
    defaults_of(settings.Settings),
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
            "The event loop. `auto` is asyncio's, which measures as fast as uvloop's; that one is in the extra `fast`.",
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
