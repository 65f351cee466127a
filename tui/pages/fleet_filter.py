"""What a filter may ask of the sidecars in the list, in the language that connections and refusals are filtered in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from tlsidecar.api.filter import Filter, Vocabulary, matcher, parse
from tlsidecar.api.filter_values import FilterField, ValueKind
from tui.pages.fleet_row import FleetRow

EXAMPLE = "words, and field:value: is:critical problem:cert* expires:<2d !node:canary*"

FLEET_FIELDS = Vocabulary(
    FilterField("name", ValueKind.TEXT, "the target, as it was given"),
    FilterField("node", ValueKind.NAME, "the machine's name"),
    FilterField("is", ValueKind.NAME, "how bad it is: ok, warning, critical, unreachable, waiting", ("severity",)),
    FilterField("state", ValueKind.NAME, "starting, ready, degraded, draining"),
    FilterField("mode", ValueKind.NAME, "of its listeners: terminate, originate, terminate+originate"),
    FilterField("problem", ValueKind.TEXT, "the code or the words of a problem it has", ("code",)),
    FilterField("identity", ValueKind.TEXT, "who its certificates say it is", ("id", "who")),
    FilterField("version", ValueKind.NAME, "of tlsidecar"),
    FilterField("generation", ValueKind.NUMBER, "of its material in use", ("gen",)),
    FilterField("expires", ValueKind.DURATION, "until its certificate does, the first of several"),
    FilterField("open", ValueKind.NUMBER, "open connections", ("connections",)),
    FilterField("requests", ValueKind.NUMBER, "requests a second; of a TCP listener connections", ("reqs",)),
    FilterField("failures", ValueKind.NUMBER, "failed requests a second", ("failed", "fails")),
    FilterField("marked", ValueKind.NAME, "yes or no"),
)


def fleet_matcher(wanted: str, now: datetime) -> Callable[[FleetRow], bool]:
    """For a filter that can be read."""
    return matcher(_parsed(wanted), FLEET_FIELDS, _readers(now), _texts)


@lru_cache(maxsize=16)
def _parsed(wanted: str) -> Filter:
    return parse(wanted, FLEET_FIELDS)


def _readers(now: datetime) -> dict[str, Callable[[FleetRow], Any]]:
    return {
        "name": lambda row: f"{row.name}\n{row.label}",
        "node": lambda row: row.node,
        "is": lambda row: "waiting" if row.is_awaited else row.sight.exit.name.lower(),
        "state": lambda row: row.state,
        "mode": lambda row: "" if row.status is None else row.status.modes,
        "problem": lambda row: "\n".join(_problems(row)),
        "identity": lambda row: "\n".join(_identities(row)),
        "version": lambda row: row.version,
        "generation": lambda row: row.generation,
        "expires": lambda row: _left_s(row, now),
        "open": lambda row: row.open,
        "requests": lambda row: _whole(row.sight.snapshot.rates.served_per_s),
        "failures": lambda row: _whole(row.sight.snapshot.rates.failed_per_s),
        "marked": lambda row: "yes" if row.is_marked else "no",
    }


def _left_s(row: FleetRow, now: datetime) -> float | None:
    not_after = row.sight.snapshot.own_validity.not_after
    return None if not_after is None else max(0.0, (not_after - now).total_seconds())


def _whole(value: float | None) -> int | None:
    """Rounded up: what is not nothing is more than 0."""
    return None if value is None else -int(-value // 1)


def _problems(row: FleetRow) -> list[str]:
    return [text for each in row.sight.found for text in (each.severity.value, each.code, each.message)]


def _identities(row: FleetRow) -> list[str]:
    return [] if row.status is None else [each.identity for each in row.status.identities]


def _texts(row: FleetRow) -> tuple[str, ...]:
    """What words are looked for in."""
    state = "no reply" if row.is_lost else row.state
    return (
        *(row.name, row.label, row.node, state, row.version, row.sight.snapshot.link.error),
        *_problems(row),
        *_identities(row),
    )
