"""What a run found: samples by figure, setting and proxy, and the few statistics that the report is made of."""

# ruff: noqa: RUF001 - written for people, with the signs people use

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Samples = dict[str, list[float | None]]


@dataclass(frozen=True)
class Kind:
    """One figure of the catalogue."""

    key: str
    title: str
    unit: str
    higher_is_better: bool = False
    digits: int = 1


KINDS = {
    kind.key: kind
    for kind in (
        Kind("exchange_64", "small exchange, 64 connections", "µs CPU"),
        Kind("exchange_1", "small exchange, 1 connection", "µs CPU"),
        Kind("body_1k", "1 KiB answer, 64 connections", "µs CPU"),
        Kind("body_16k", "16 KiB answer, 64 connections", "µs CPU"),
        Kind("body_1m", "1 MiB answer, 64 connections", "µs CPU", digits=0),
        Kind("chunked_1k", "1 KiB answer in one chunk", "µs CPU"),
        Kind("gzip_16k", "16 KiB answer, packed by the service", "µs CPU"),
        Kind("close_1k", "1 KiB answer that ends with its connection", "µs CPU"),
        Kind("post_1k", "request body of 1 KiB", "µs CPU"),
        Kind("chunked_post_1k", "the same in one chunk", "µs CPU"),
        Kind("http10", "HTTP/1.0: new connection, 1 request", "µs CPU", digits=0),
        Kind("event", "Server-Sent Event of 41 bytes, 64 connections", "µs CPU"),
        Kind("frame", "WebSocket frame of 16 bytes, 64 connections", "µs CPU"),
        Kind("connection_own", "the same by a client that speaks TLS and closes", "µs CPU", digits=0),
        Kind("connection_full", "new connection, full handshake, 1 request", "µs CPU", digits=0),
        Kind("connection_resumed", "new connection, resumed where offered, 1 request", "µs CPU", digits=0),
        Kind("download", "download", "MiB per CPU-s", higher_is_better=True, digits=0),
        Kind("upload", "upload", "MiB per CPU-s", higher_is_better=True, digits=0),
        Kind("h2_unary_64x1", "unary call, 64 connections × 1 stream", "µs CPU"),
        Kind("h2_unary_8x16", "unary call, 8 × 16", "µs CPU"),
        Kind("h2_new_paths", "header blocks that never repeat, 1 × 64", "µs CPU"),
        Kind("h2_message", "message of a stream of 1,000", "µs CPU", digits=2),
        Kind("h2_download", "1 MiB answers, 8 × 2", "MiB per CPU-s", higher_is_better=True, digits=0),
        Kind("h2_upload", "1 MiB request bodies, 8 × 2", "MiB per CPU-s", higher_is_better=True, digits=0),
        Kind("latency_p50", "added latency, p50", "µs", digits=0),
        Kind("latency_p99", "added latency, p99", "µs", digits=0),
        Kind("memory_base", "memory, base", "MiB"),
        Kind("memory_alone", "memory, base, if nobody shared its files", "MiB"),
        Kind("memory_idle", "memory, per idle connection", "KiB"),
        Kind("start", "start to ready", "ms", digits=0),
        Kind("start_cpu", "start to ready, CPU", "ms", digits=0),
        Kind("health", "`tlsidecar health`", "ms", digits=0),
        Kind("idle_cpu", "idle connections, nobody watching", "% of a core", digits=2),
        Kind("watched_cpu", "idle connections, UI and Prometheus watching", "% of a core", digits=2),
    )
}


@dataclass
class Figure:
    """All samples of one kind for one setting; equal places in two lists are the same round."""

    key: str
    setting: str
    samples: Samples

    @property
    def kind(self) -> Kind:
        return KINDS[self.key]


@dataclass
class Run:
    """One run of the benchmark, as it is kept."""

    made_at: str
    commit: str
    quick: bool
    machine: dict[str, Any]
    versions: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)

    def add(self, key: str, setting: str, samples: Samples | dict[str, list[float]]) -> None:
        """Add samples to a figure; those of a proxy already there go behind what it has."""
        figure = self.figure(key, setting)
        if figure is None:
            figure = Figure(key, setting, {})
            self.figures.append(figure)
        for name, values in samples.items():
            figure.samples.setdefault(name, []).extend(values)

    def figure(self, key: str, setting: str) -> Figure | None:
        return next((figure for figure in self.figures if (figure.key, figure.setting) == (key, setting)), None)

    def proxies(self) -> list[str]:
        """Everyone with a sample, in the order of their first."""
        return list(dict.fromkeys(name for figure in self.figures for name in figure.samples))

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> Run:
        content = json.loads(path.read_text())
        return cls(**content | {"figures": [Figure(**figure) for figure in content["figures"]]})


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float
    count: int


def spread(samples: Sequence[float | None]) -> Spread | None:
    """None when there is no sample at all."""
    there = sorted(sample for sample in samples if sample is not None)
    if not there:
        return None
    low, _, high = statistics.quantiles(there, n=4, method="inclusive") if len(there) > 1 else (there[0],) * 3
    return Spread(statistics.median(there), low, high, len(there))


def ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Spread | None:
    """Ours by theirs, round by round."""
    pairs = zip(ours, theirs, strict=False)
    return spread([mine / other for mine, other in pairs if mine is not None and other is not None and other > 0])


def is_ours(name: str) -> bool:
    return name.startswith("tlsidecar")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return value
