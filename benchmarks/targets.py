"""The targets, and whether a run meets them. Each is judged for one variant of ours at a time."""

# ruff: noqa: RUF001 - written for people, with the signs people use

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.contenders import H2, HTTP, LOGGED, STREAMS, TCP
from benchmarks.latency import RELOADING
from benchmarks.results import Run, Spread, is_ours, ratio, spread

TWO_WORKERS = " 2 workers"
MOST_UNEVEN = 0.20


@dataclass(frozen=True)
class Reading:
    """What was measured, in words, and whether it reaches the "must" and the "aim"; None where nothing can be said."""

    text: str
    must: bool | None
    aim: bool | None


@dataclass(frozen=True)
class Target:
    measure: str
    must: str
    aim: str
    read: Callable[[Run, str], Reading | None]


@dataclass(frozen=True)
class Bound:
    """A bound on the ratio of ours to a peer's."""

    peer: str
    limit: float


def _figures(
    run: Run, key: str, protocol: str, ours: str
) -> tuple[list[float | None], dict[str, list[float | None]]] | None:
    figure = run.figure(key, protocol)
    if figure is None or spread(figure.samples.get(ours, [])) is None:
        return None
    peers = {name: values for name, values in figure.samples.items() if not is_ours(name) and spread(values)}
    return figure.samples[ours], peers


def _against(
    key: str, protocol: str, must: Sequence[Bound], aim: Sequence[Bound], variant: str = ""
) -> Callable[[Run, str], Reading | None]:
    """Ratios to named peers; those that did not take part say nothing."""
    by_medians = key.startswith("latency")  # what one round adds may be next to nothing: no divisor

    def read(run: Run, ours: str) -> Reading | None:
        found = _figures(run, key, protocol, ours + variant)
        if found is None:
            return None
        mine, peers = found
        figure = run.figure(key, protocol)
        assert figure is not None
        higher = figure.kind.higher_is_better
        ratios: dict[str, float] = {}
        for bound in (*must, *aim):
            if bound.peer in peers:
                ratios[bound.peer] = (
                    _ratio_of_medians(mine, peers[bound.peer]) if by_medians else _median_ratio(mine, peers[bound.peer])
                )
        text = " · ".join(f"{value:.2f} × {peer}" for peer, value in ratios.items())
        return Reading(text or "no peer to compare with", _holds(must, ratios, higher), _holds(aim, ratios, higher))

    return read


def _against_cheapest(key: str, protocol: str, must: float, aim: float) -> Callable[[Run, str], Reading | None]:
    def read(run: Run, ours: str) -> Reading | None:
        found = _figures(run, key, protocol, ours)
        if found is None or not found[1]:
            return None
        mine, peers = found
        cheapest = min(peers, key=lambda name: _median(peers[name]))
        value = _median_ratio(mine, peers[cheapest])
        return Reading(f"{value:.2f} × {cheapest}", value <= must, value <= aim)

    return read


def _at_most(
    key: str, protocol: str, must: float, aim: float, unit: str, digits: int
) -> Callable[[Run, str], Reading | None]:
    def read(run: Run, ours: str) -> Reading | None:
        figure = run.figure(key, protocol)
        found = spread(figure.samples.get(ours, [])) if figure else None
        if found is None:
            return None
        return Reading(f"{found.median:.{digits}f} {unit}", found.median <= must, found.median <= aim)

    return read


def _two_workers(protocol: str) -> Callable[[Run, str], Reading | None]:
    def read(run: Run, ours: str) -> Reading | None:
        figure = run.figure("exchange_64", protocol)
        if figure is None or not {ours, ours + TWO_WORKERS} <= set(figure.samples):
            return None
        value = _median_ratio(figure.samples[ours + TWO_WORKERS], figure.samples[ours])
        shares: list[float] = run.notes.get("spread_of_two_workers", {}).get(protocol, {}).get(ours + TWO_WORKERS, [])
        uneven = abs(shares[0] - shares[1]) / sum(shares) * 2 if len(shares) == 2 else None
        text = f"{value:.2f} × one worker" + (f" · {uneven:.0%} apart" if uneven is not None else "")
        return Reading(text, value <= 1.05 and uneven is not None and uneven <= MOST_UNEVEN, None)

    return read


def _access_log(run: Run, ours: str) -> Reading | None:
    """The difference of two medians: the two are not measured in the same rounds."""
    found = [run.figure("exchange_64", protocol) for protocol in (HTTP, LOGGED)]
    spreads = [spread(figure.samples.get(ours, [])) for figure in found if figure is not None]
    if len(spreads) != 2 or spreads[0] is None or spreads[1] is None:
        return None
    cost = spreads[1].median - spreads[0].median
    return Reading(f"{cost:.1f} µs", cost <= 8, cost <= 4)


TARGETS: tuple[Target, ...] = (
    Target(
        "TCP, 64 connections, CPU per exchange",
        "≤ 1.10 × the cheapest peer",
        "≤ 1.00 ×",
        _against_cheapest("exchange_64", TCP, 1.10, 1.00),
    ),
    Target(
        "new mTLS connection, CPU",
        "≤ 0.65 × nginx, ≤ 1.3 × Envoy",
        "≤ 1.0 × Envoy and ghostunnel",
        _against(
            "connection_full",
            TCP,
            (Bound("nginx", 0.65), Bound("Envoy", 1.3)),
            (Bound("Envoy", 1.0), Bound("ghostunnel", 1.0)),
        ),
    ),
    *(
        Target(
            f"{way}, MiB per CPU-second",
            "≥ 1.1 × nginx, ≥ 0.85 × Envoy",
            "≥ 1.0 × Envoy",
            _against(way, TCP, (Bound("nginx", 1.1), Bound("Envoy", 0.85)), (Bound("Envoy", 1.0),)),
        )
        for way in ("download", "upload")
    ),
    Target(
        "HTTP/1.1, 64 connections, CPU per exchange",
        "≤ 0.50 × Envoy, ≤ 1.25 × nginx",
        "≤ 0.40 × Envoy, ≤ 1.00 × nginx and haproxy",
        _against(
            "exchange_64",
            HTTP,
            (Bound("Envoy", 0.50), Bound("nginx", 1.25)),
            (Bound("Envoy", 0.40), Bound("nginx", 1.00), Bound("haproxy", 1.00)),
        ),
    ),
    Target(
        "the same as shipped, with a JSON access log in all",
        "≤ 0.45 × Envoy, ≤ 1.3 × nginx",
        "≤ 0.40 × Envoy, ≤ 1.1 × nginx",
        _against(
            "exchange_64",
            LOGGED,
            (Bound("Envoy", 0.45), Bound("nginx", 1.3)),
            (Bound("Envoy", 0.40), Bound("nginx", 1.1)),
        ),
    ),
    Target("what the access log costs", "≤ 8 µs", "≤ 4 µs", _access_log),
    *(
        Target(
            what,
            "≤ 0.5 × Envoy, ≤ 1.35 × nginx",
            "≤ 0.45 × Envoy, ≤ 1.1 × nginx",
            _against(
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
        _against("post_1k", HTTP, (Bound("Envoy", 0.5), Bound("nginx", 1.15)), (Bound("Envoy", 0.45),)),
    ),
    *(
        Target(
            f"p99 added latency at 70 % load, {protocol.upper()}{', a reload a second' if variant else ''}",
            "≤ 1.2 × Envoy",
            "≤ 1.0 × Envoy",
            _against("latency_p99", protocol, (Bound("Envoy", 1.2),), (Bound("Envoy", 1.0),), variant),
        )
        for protocol in (TCP, HTTP)
        for variant in ("", RELOADING)
    ),
    *(
        Target(
            f"HTTP/2, {what}",
            f"≤ {must} × Envoy",
            f"≤ {aim} × Envoy",
            _against(key, protocol, (Bound("Envoy", must),), (Bound("Envoy", aim),)),
        )
        for key, protocol, what, must, aim in (
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
            _against(key, H2, (Bound("Envoy", 0.91),), (Bound("Envoy", 1.0),)),
        )
        for key, way in (("h2_download", "down"), ("h2_upload", "up"))
    ),
    Target("memory, base", "≤ 40 MiB", "≤ 30 MiB", _at_most("memory_base", TCP, 40, 30, "MiB", 1)),
    Target("memory, per idle connection, TCP", "≤ 33 KiB", "≤ 25 KiB", _at_most("memory_idle", TCP, 33, 25, "KiB", 1)),
    Target(
        "memory, per idle connection, HTTP", "≤ 33 KiB", "≤ 25 KiB", _at_most("memory_idle", HTTP, 33, 25, "KiB", 1)
    ),
    Target(
        "memory, per idle connection, HTTP/2", "≤ 45 KiB", "≤ 38 KiB", _at_most("memory_idle", H2, 45, 38, "KiB", 1)
    ),
    Target("start to ready", "≤ 500 ms", "≤ 300 ms", _at_most("start", TCP, 500, 300, "ms", 0)),
    Target("`tlsidecar health`", "≤ 150 ms", "≤ 100 ms", _at_most("health", TCP, 150, 100, "ms", 0)),
    Target(
        "3,000 connections, UI at 1 Hz and Prometheus",
        "≤ 3 % of a core",
        "≤ 1 %",
        _at_most("watched_cpu", TCP, 3, 1, "%", 2),
    ),
    Target("two workers, TCP, 64 connections", "≤ 1.05 × one, connections within 20 %", "–", _two_workers(TCP)),
    Target("two workers, HTTP, 64 connections", "≤ 1.05 × one, connections within 20 %", "–", _two_workers(HTTP)),
)


def _holds(bounds: Sequence[Bound], ratios: dict[str, float], higher_is_better: bool) -> bool | None:
    judged = [bound for bound in bounds if bound.peer in ratios]
    if not judged:
        return None
    if higher_is_better:
        return all(ratios[bound.peer] >= bound.limit for bound in judged)
    return all(ratios[bound.peer] <= bound.limit for bound in judged)


def _median_ratio(mine: Sequence[float | None], theirs: Sequence[float | None]) -> float:
    found = ratio(mine, theirs)
    return found.median if found else float("nan")


def _ratio_of_medians(mine: Sequence[float | None], theirs: Sequence[float | None]) -> float:
    divisor = _median(theirs)
    return _median(mine) / divisor if divisor > 0 else float("nan")


def _median(samples: Sequence[float | None]) -> float:
    found: Spread | None = spread(samples)
    return found.median if found else float("nan")
