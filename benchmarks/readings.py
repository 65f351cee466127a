"""Ways to read a target off a run, for one variant of ours at a time."""

# ruff: noqa: RUF001 - written for people, with the signs people use

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.results import Run, Spread, is_ours, ratio, spread
from benchmarks.settings import HTTP, SHIPPED

TWO_WORKERS = " 2 workers"
MOST_UNEVEN = 0.20


@dataclass(frozen=True)
class Reading:
    """What was measured, in words, and whether it reaches the "must" and the "aim"; None where nothing can be said."""

    text: str
    must: bool | None
    aim: bool | None


Read = Callable[[Run, str], Reading | None]


@dataclass(frozen=True)
class Bound:
    """A bound on the ratio of ours to a peer's."""

    peer: str
    limit: float


def _figures(
    run: Run, key: str, setting: str, ours: str
) -> tuple[list[float | None], dict[str, list[float | None]]] | None:
    figure = run.figure(key, setting)
    if figure is None or spread(figure.samples.get(ours, [])) is None:
        return None
    peers = {name: values for name, values in figure.samples.items() if not is_ours(name) and spread(values)}
    return figure.samples[ours], peers


def against(key: str, setting: str, must: Sequence[Bound], aim: Sequence[Bound], variant: str = "") -> Read:
    """Ratios to named peers; those that did not take part say nothing."""
    by_medians = key.startswith("latency")  # what one round adds may be next to nothing: no divisor

    def read(run: Run, ours: str) -> Reading | None:
        found = _figures(run, key, setting, ours + variant)
        if found is None:
            return None
        mine, peers = found
        figure = run.figure(key, setting)
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


def against_cheapest(key: str, setting: str, must: float, aim: float) -> Read:
    def read(run: Run, ours: str) -> Reading | None:
        found = _figures(run, key, setting, ours)
        if found is None or not found[1]:
            return None
        mine, peers = found
        cheapest = min(peers, key=lambda name: _median(peers[name]))
        value = _median_ratio(mine, peers[cheapest])
        return Reading(f"{value:.2f} × {cheapest}", value <= must, value <= aim)

    return read


def against_ours(key: str, setting: str, others: Sequence[tuple[str, str, float]]) -> Read:
    """Ratios to other figures of the same variant, each by its key, its setting and the most; all of them decide. Of
    two medians: the two are not measured in the same rounds."""

    def read(run: Run, ours: str) -> Reading | None:
        found = [_figures(run, each, where, ours) for each, where in ((key, setting), *(pair[:2] for pair in others))]
        if any(figure is None for figure in found):
            return None
        mine, *theirs = (_median(figure[0]) for figure in found if figure is not None)
        ratios = [mine / other for other in theirs]
        text = " · ".join(f"{value:.2f} ×" for value in ratios)
        return Reading(text, all(value <= most for value, (*_, most) in zip(ratios, others, strict=True)), None)

    return read


def at_most(key: str, setting: str, must: float, aim: float, unit: str, digits: int) -> Read:
    def read(run: Run, ours: str) -> Reading | None:
        figure = run.figure(key, setting)
        found = spread(figure.samples.get(ours, [])) if figure else None
        if found is None:
            return None
        return Reading(f"{found.median:.{digits}f} {unit}", found.median <= must, found.median <= aim)

    return read


def two_workers(setting: str) -> Read:
    def read(run: Run, ours: str) -> Reading | None:
        figure = run.figure("exchange_64", setting)
        if figure is None or not {ours, ours + TWO_WORKERS} <= set(figure.samples):
            return None
        value = _median_ratio(figure.samples[ours + TWO_WORKERS], figure.samples[ours])
        shares: list[float] = run.notes.get("spread_of_two_workers", {}).get(setting, {}).get(ours + TWO_WORKERS, [])
        uneven = abs(shares[0] - shares[1]) / sum(shares) * 2 if len(shares) == 2 else None
        text = f"{value:.2f} × one worker" + (f" · {uneven:.0%} apart" if uneven is not None else "")
        return Reading(text, value <= 1.05 and uneven is not None and uneven <= MOST_UNEVEN, None)

    return read


def access_log(run: Run, ours: str) -> Reading | None:
    """The difference of two medians: the two are not measured in the same rounds."""
    found = [run.figure("exchange_64", setting) for setting in (HTTP, SHIPPED)]
    spreads = [spread(figure.samples.get(ours, [])) for figure in found if figure is not None]
    if len(spreads) != 2 or spreads[0] is None or spreads[1] is None:
        return None
    cost = spreads[1].median - spreads[0].median
    return Reading(f"{cost:.1f} µs", cost <= 8, cost <= 4)


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
