"""The targets. Each is judged for one variant of ours at a time."""

# ruff: noqa: RUF001 - written for people, with the signs people use

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.readings import (
    Bound,
    Ours,
    Read,
    access_log,
    against,
    against_cheapest,
    against_ours,
    at_most,
    two_workers,
)
from benchmarks.settings import (
    H2,
    HTTP,
    HTTP_NO_INTERMEDIATE,
    NO_INTERMEDIATE,
    SHIPPED,
    STREAMS,
    TCP,
)
from benchmarks.variants import OVER_TCP, RELOADING


@dataclass(frozen=True)
class Target:
    measure: str
    must: str
    aim: str
    read: Read


def _opened(measure: str, key: str, setting: str) -> Target:
    return Target(
        f"new connection, {measure}",
        "≤ 0.65 × nginx, ≤ 1.3 × Envoy",
        "≤ 1.0 × Envoy",
        against(key, setting, (Bound("nginx", 0.65), Bound("Envoy", 1.3)), (Bound("Envoy", 1.0),)),
    )


TARGETS: tuple[Target, ...] = (
    Target(
        "as shipped, so with an access log: HTTP/1.1, 64 connections, CPU per exchange",
        "≤ 0.45 × Envoy, ≤ 1.3 × nginx",
        "≤ 0.40 × Envoy, ≤ 1.1 × nginx",
        against(
            "exchange_64",
            SHIPPED,
            (Bound("Envoy", 0.45), Bound("nginx", 1.3)),
            (Bound("Envoy", 0.40), Bound("nginx", 1.1)),
        ),
    ),
    Target("what the access log costs", "≤ 8 µs", "≤ 4 µs", access_log),
    Target(
        "the same without a log",
        "≤ 0.50 × Envoy, ≤ 1.25 × nginx",
        "≤ 0.40 × Envoy, ≤ 1.00 × nginx and haproxy",
        against(
            "exchange_64",
            HTTP,
            (Bound("Envoy", 0.50), Bound("nginx", 1.25)),
            (Bound("Envoy", 0.40), Bound("nginx", 1.00), Bound("haproxy", 1.00)),
        ),
    ),
    *(
        Target(
            what,
            "≤ 0.5 × Envoy, ≤ 1.35 × nginx",
            "≤ 0.45 × Envoy, ≤ 1.1 × nginx",
            against(
                key,
                HTTP,
                (Bound("Envoy", 0.5), Bound("nginx", 1.35)),
                (Bound("Envoy", 0.45), Bound("nginx", 1.1)),
            ),
        )
        for key, what in (("chunked_1k", "chunked answer"), ("chunked_post_1k", "chunked upload"))
    ),
    Target(
        "request body of 1 KiB",
        "≤ 0.50 × Envoy, ≤ 1.15 × nginx",
        "≤ 0.45 × Envoy",
        against("post_1k", HTTP, (Bound("Envoy", 0.5), Bound("nginx", 1.15)), (Bound("Envoy", 0.45),)),
    ),
    Target(
        "HTTP/1.0: new connection, 1 request",
        "≤ 2 × the same as HTTP/1.1",
        "–",
        against_ours("http10", HTTP, (Ours("connection_full", HTTP, 2.0),)),
    ),
    *(
        Target(
            what,
            "≤ 2 × an exchange, ≤ 1.1 × the same bytes over TCP",
            "–",
            against_ours(key, HTTP, (Ours("exchange_64", HTTP, 2.0), Ours(key, HTTP, 1.1, OVER_TCP))),
        )
        for key, what in (("event", "Server-Sent Event"), ("frame", "WebSocket frame"))
    ),
    Target(
        "TCP, 64 connections, CPU per exchange",
        "≤ 1.05 × the cheapest peer",
        "≤ 1.00 ×",
        against_cheapest("exchange_64", TCP, 1.05, 1.00),
    ),
    *(
        _opened(f"{speaks}{with_what}{by}", key, setting)
        for speaks, setting, with_what in (
            ("TCP", TCP, ""),
            ("HTTP", HTTP, ""),
            ("TCP", NO_INTERMEDIATE, ", leaf of the root itself"),
            ("HTTP", HTTP_NO_INTERMEDIATE, ", leaf of the root itself"),
        )
        for key, by in (("connection_full", ""), ("connection_own", ", by a client that closes it"))
    ),
    *(
        Target(
            f"{way} over {setting.upper()}, MiB per CPU-second",
            "≥ 1.1 × nginx, ≥ 0.85 × Envoy",
            "≥ 1.0 × Envoy",
            against(way, setting, (Bound("nginx", 1.1), Bound("Envoy", 0.85)), (Bound("Envoy", 1.0),)),
        )
        for setting in (TCP, HTTP)
        for way in ("download", "upload")
    ),
    *(
        Target(
            f"p99 added latency at 70 % load, {setting.upper()}{', a reload a second' if variant else ''}",
            "≤ 1.2 × Envoy",
            "≤ 1.0 × Envoy",
            against("latency_p99", setting, (Bound("Envoy", 1.2),), (Bound("Envoy", 1.0),), variant),
        )
        for setting in (TCP, HTTP)
        for variant in ("", RELOADING)
    ),
    *(
        Target(
            f"HTTP/2, {what}",
            f"≤ {must} × Envoy",
            f"≤ {aim} × Envoy",
            against(key, setting, (Bound("Envoy", must),), (Bound("Envoy", aim),)),
        )
        for key, setting, what, must, aim in (
            ("h2_unary_64x1", H2, "unary call, 64 × 1", 0.65, 0.5),
            ("h2_unary_8x16", H2, "unary call, 8 × 16", 0.4, 0.3),
            ("h2_message", STREAMS, "a message of a stream", 0.4, 0.4),
        )
    ),
    *(
        Target(
            f"HTTP/2, 1 MiB {way}, MiB per CPU-second",
            "≥ 0.91 × Envoy",
            "≥ 1.0 × Envoy",
            against(key, H2, (Bound("Envoy", 0.91),), (Bound("Envoy", 1.0),)),
        )
        for key, way in (("h2_download", "down"), ("h2_upload", "up"))
    ),
    Target("memory, base", "≤ 40 MiB", "≤ 30 MiB", at_most("memory_base", TCP, 40, 30, "MiB", 1)),
    Target("memory, per idle connection, TCP", "≤ 33 KiB", "≤ 25 KiB", at_most("memory_idle", TCP, 33, 25, "KiB", 1)),
    Target("memory, per idle connection, HTTP", "≤ 33 KiB", "≤ 25 KiB", at_most("memory_idle", HTTP, 33, 25, "KiB", 1)),
    Target("memory, per idle connection, HTTP/2", "≤ 45 KiB", "≤ 38 KiB", at_most("memory_idle", H2, 45, 38, "KiB", 1)),
    Target("start to ready", "≤ 500 ms", "≤ 300 ms", at_most("start", TCP, 500, 300, "ms", 0)),
    Target("`tlsidecar health`", "≤ 150 ms", "≤ 100 ms", at_most("health", TCP, 150, 100, "ms", 0)),
    Target(
        "3,000 connections, UI at 1 Hz and Prometheus",
        "≤ 3 % of a core",
        "≤ 1 %",
        at_most("watched_cpu", TCP, 3, 1, "%", 2),
    ),
    Target("two workers, TCP, 64 connections", "≤ 1.05 × one, connections within 20 %", "–", two_workers(TCP)),
    Target("two workers, HTTP, 64 connections", "≤ 1.05 × one, connections within 20 %", "–", two_workers(HTTP)),
)
