"""Ways to read a target off a run, for one variant of ours at a time."""

# ruff: noqa: RUF001 - written for people, with the signs people use

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.results import Run, Spread, is_ours, ratio, spread
from benchmarks.settings import SHIPPED
from benchmarks.variants import TWO_WORKERS, WITHOUT_LOG

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


@dataclass(frozen=True)
class Ours:
    """A bound on the ratio to another figure of ours, or to a variant's samples of the same figure."""

    key: str
    setting: str
    most: float
    variant: str = ""


def against_ours(key: str, setting: str, others: Sequence[Ours]) -> Read:
    """All of them decide. What a variant did is compared round by round; of another figure, whose rounds were others,
    there is but the median."""

    def read(run: Run, ours: str) -> Reading | None:
        mine = _figures(run, key, setting, ours)
        ratios = []
        for other in others:
            theirs = _figures(run, other.key, other.setting, ours + other.variant)
            if mine is None or theirs is None:
                return None
            compare = _median_ratio if (other.key, other.setting) == (key, setting) else _ratio_of_medians
            ratios.append(compare(mine[0], theirs[0]))
        text = " · ".join(f"{value:.2f} ×" for value in ratios)
        return Reading(text, all(value <= other.most for value, other in zip(ratios, others, strict=True)), None)

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
    """What each round found between as shipped and the same without a log."""
    figure = run.figure("exchange_64", SHIPPED)
    if figure is None or not {ours, ours + WITHOUT_LOG} <= set(figure.samples):
        return None
    pairs = zip(figure.samples[ours], figure.samples[ours + WITHOUT_LOG], strict=True)
    cost = spread([logged - silent for logged, silent in pairs if logged is not None and silent is not None])
    if cost is None:
        return None
    return Reading(f"{cost.median:.1f} µs [{cost.low:.1f}–{cost.high:.1f}]", cost.median <= 8, cost.median <= 4)


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
