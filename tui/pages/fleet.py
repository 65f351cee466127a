"""Several sidecars: a row each, worst first, and what they add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from tui.amounts import UNKNOWN, byte_rate, count, counted, duration, latency, per_minute, until
from tui.lifetime import LifetimeStage
from tui.lines import Glyphs, Kind, Line, Role, Span, cropped, gap, literal, spread
from tui.pages.fleet_filter import fleet_matcher
from tui.pages.fleet_row import FleetRow
from tui.records import Severity
from tui.sheet import Column, Look, Table
from tui.sight import Exit
from tui.text import EMPTY, SafeText, cell_width, shorten_middle

_BROAD = 110
"""From this width on, a problem is told in its own words and not by its code, and what is next to expire by name."""


class FleetSort(StrEnum):
    """What sidecars are ordered by."""

    WORST = "worst"
    NAME = "name"
    CERTIFICATE = "certificate"
    REQUESTS = "requests"
    FAILURES = "failures"
    OPEN = "open"
    GENERATION = "generation"
    VERSION = "version"


_ROLES = {
    Exit.OK: Role.GOOD,
    Exit.WARNING: Role.WARNING,
    Exit.CRITICAL: Role.CRITICAL,
    Exit.UNREACHABLE: Role.CRITICAL,
}


def _state(row: FleetRow, look: Look) -> Span:
    if row.is_awaited:
        return Span(SafeText(f"{look.glyphs.unknown} waiting"), Role.MUTED)
    if row.is_lost:
        return Span(SafeText(f"{look.glyphs.critical} no reply"), Role.CRITICAL)
    status = row.sight.snapshot.status
    assert status is not None
    if row.late_s is not None:
        return Span(SafeText(f"{look.glyphs.due} {duration(row.late_s)} old"), Role.WARNING)
    return Span(SafeText(f"{_sign(row.sight.exit, look.glyphs)} {status.state}"), _ROLES[row.sight.exit])


def _sign(code: Exit, glyphs: Glyphs) -> str:
    match code:
        case Exit.OK:
            return glyphs.ok
        case Exit.WARNING:
            return glyphs.warning
        case _:
            return glyphs.critical


def _problem(row: FleetRow, look: Look) -> Span:
    snapshot = row.sight.snapshot
    if snapshot.link.is_lost:
        return Span(snapshot.link.error, Role.CRITICAL)
    if row.is_awaited:
        return Span(SafeText("asked, no answer yet"), Role.MUTED)
    ranked = [problem for problem in row.sight.found if problem.severity is not Severity.NOTICE]
    if not ranked:
        return Span(UNKNOWN, Role.MUTED)
    worst = ranked[0]
    words = worst.message if look.width >= _BROAD or look.wide else worst.code
    more = f" +{len(ranked) - 1}" if len(ranked) > 1 else ""
    return Span(SafeText(f"{words}{more}"), _ROLES[row.sight.exit])


def _certificate(row: FleetRow, look: Look) -> Span:
    validity = row.sight.snapshot.own_validity
    stage = validity.stage(look.now)
    sign = stage.label(look.glyphs).partition(" ")[0]
    role = Role.MUTED if row.is_lost or stage is LifetimeStage.UNKNOWN else stage.role
    return Span(SafeText(f"{sign} {until(validity.not_after, look.now)}"), role)


def _rate(value: float | None, row: FleetRow, role: Role = Role.TEXT) -> Span:
    return Span(UNKNOWN, Role.MUTED) if row.is_lost else Span(per_minute(value), role)


def _failures(row: FleetRow, look: Look) -> Span:
    failing = row.sight.snapshot.rates.failed_per_s
    return _rate(failing, row, Role.CRITICAL if failing else Role.TEXT)


def _number(row: FleetRow, value: int) -> Span:
    return Span(UNKNOWN if row.status is None else count(value), Role.MUTED if row.is_lost else Role.TEXT)


def _p99(row: FleetRow, look: Look) -> Span:
    status = row.sight.snapshot.status
    return Span(
        latency(None if status is None else status.recent_handshake_p99_s), Role.MUTED if row.is_lost else Role.TEXT
    )


MARK: Column[FleetRow] = Column("", 1, lambda row, look: Span(SafeText("*" if row.is_marked else " "), Role.KEY))
NAME: Column[FleetRow] = Column(
    "NAME",
    14,
    lambda row, look: Span(row.label, Role.STRONG),
    share=2,
    wish=18,
    most=40,
    sort=FleetSort.NAME,
    letter="N",
    shorten=shorten_middle,
    factored=True,
)
STATE: Column[FleetRow] = Column("STATE", 10, _state, sort=FleetSort.WORST, letter="W")
_PROBLEM: Column[FleetRow] = Column("PROBLEM", 16, _problem, share=3, wish=20, most=120)
_CERTIFICATE: Column[FleetRow] = Column("CERT", 10, _certificate, sort=FleetSort.CERTIFICATE, letter="C")
_OPEN: Column[FleetRow] = Column(
    "OPEN", 5, lambda row, look: _number(row, row.open), right=True, rank=4, sort=FleetSort.OPEN, letter="O"
)
GENERATION: Column[FleetRow] = Column(
    "GEN", 4, lambda row, look: _number(row, row.generation), right=True, rank=1, sort=FleetSort.GENERATION, letter="E"
)
_VERSION: Column[FleetRow] = Column(
    "VERSION", 8, lambda row, look: Span(row.version or UNKNOWN, Role.MUTED), rank=3, sort=FleetSort.VERSION, letter="V"
)
_NODE: Column[FleetRow] = Column(
    "NODE", 16, lambda row, look: Span(row.node or UNKNOWN, Role.MUTED), rank=6, most=40, shorten=shorten_middle
)

FLEET_COLUMNS: Sequence[Column[FleetRow]] = (
    MARK,
    NAME,
    STATE,
    _PROBLEM,
    _CERTIFICATE,
    Column(
        "REQ/S",
        6,
        lambda row, look: _rate(row.sight.snapshot.rates.served_per_s, row),
        right=True,
        sort=FleetSort.REQUESTS,
        letter="R",
    ),
    Column("FAIL/S", 7, _failures, right=True, sort=FleetSort.FAILURES, letter="F"),
    _OPEN,
    Column("HS P99", 6, _p99, right=True, rank=5),
    GENERATION,
    _VERSION,
    _NODE,
)
"""On the screen: rates are over the last ten seconds; of a TCP listener they are of connections."""

ONCE_COLUMNS: Sequence[Column[FleetRow]] = (
    replace(NAME, factored=False),
    *(STATE, _PROBLEM, _CERTIFICATE, _OPEN, GENERATION, _VERSION, _NODE),
)
"""Of a single look, which knows no rates, and whose rows are read each by itself."""

LARGEST_FIRST = frozenset({FleetSort.REQUESTS, FleetSort.FAILURES, FleetSort.OPEN, FleetSort.GENERATION})

_LATEST = datetime.max.replace(tzinfo=UTC)

_KEYS: dict[FleetSort, Callable[[FleetRow], tuple[object, ...]]] = {
    FleetSort.WORST: lambda row: row.rank,
    FleetSort.NAME: lambda row: (row.label,),
    FleetSort.CERTIFICATE: lambda row: (row.sight.snapshot.own_validity.not_after or _LATEST,),
    FleetSort.REQUESTS: lambda row: (row.sight.snapshot.rates.served_per_s or 0.0,),
    FleetSort.FAILURES: lambda row: (row.sight.snapshot.rates.failed_per_s or 0.0,),
    FleetSort.OPEN: lambda row: (row.open,),
    FleetSort.GENERATION: lambda row: (row.generation,),
    FleetSort.VERSION: lambda row: (row.version,),
}


def arranged(rows: Sequence[FleetRow], wanted: str, sort: FleetSort, descending: bool, now: datetime) -> list[FleetRow]:
    """Those that the filter means; equals stay in the order of the targets."""
    kept = filter(fleet_matcher(wanted, now), rows) if wanted else rows
    return sorted(kept, key=_KEYS[sort], reverse=descending)


def fleet_table(
    rows: Sequence[FleetRow],
    look: Look,
    sort: Hashable = FleetSort.WORST,
    descending: bool = False,
    columns: Sequence[Column[FleetRow]] = FLEET_COLUMNS,
) -> Table[FleetRow]:
    """The rows, as they are arranged."""
    return Table(columns, rows, look, Kind.SIDECAR, lambda row: row.name, sort=sort, descending=descending)


@dataclass(frozen=True, slots=True)
class FleetBanner:
    """What the first row tells besides the sidecars."""

    paused: bool = False
    held: int = 0
    read_only: bool = False
    marked: int = 0
    aside: SafeText = EMPTY  # that it is a replay, and where in it; that it is recorded


def fleet_identity_row(rows: Sequence[FleetRow], banner: FleetBanner, look: Look) -> Line:
    """Row 1: how many there are, and how many are in which state."""
    left = [gap(), literal("tlsidecar", Role.KEY), gap(2), Span(counted(len(rows), "sidecar"), Role.STRONG)]
    for number, words, role in _states(rows):
        left += [gap(2), Span(SafeText(f"{number:,} {words}"), role)]
    right: list[Span] = [Span(banner.aside, Role.NOTICE), gap(2)] if banner.aside else []
    if banner.marked:
        right += [Span(SafeText(f"{banner.marked:,} marked"), Role.KEY), gap(2)]
    if banner.read_only:
        right += [literal("read-only", Role.MUTED), gap(2)]
    if banner.paused:
        right += [Span(SafeText(f"PAUSED +{banner.held:,}" if banner.held else "PAUSED"), Role.WARNING), gap()]
    return Line(spread(left, right, look.width))


def _states(rows: Sequence[FleetRow]) -> list[tuple[int, str, Role]]:
    awaited = sum(row.is_awaited for row in rows)
    by_exit = Counter(row.sight.exit for row in rows if not row.is_awaited)
    told = [
        (by_exit[Exit.UNREACHABLE], "no reply", Role.CRITICAL),
        (by_exit[Exit.CRITICAL], "critical", Role.CRITICAL),
        (by_exit[Exit.WARNING], "warning", Role.WARNING),
        (by_exit[Exit.OK], "ok", Role.GOOD),
        (awaited, "waiting", Role.MUTED),
    ]
    return [each for each in told if each[0]]


def fleet_summary_row(rows: Sequence[FleetRow], look: Look) -> Line:
    """Row 2: the certificate that expires first, and the sums over those that answer."""
    answering = [row.sight.snapshot for row in rows if not row.is_lost]
    first = min((row for row in rows if not row.is_lost), key=_KEYS[FleetSort.CERTIFICATE], default=None)
    separator = [gap(), literal(look.glyphs.separator, Role.MUTED), gap()]
    spans: list[Span] = [gap()]
    if first is not None and first.sight.snapshot.own_validity.not_after is not None:
        whose = [Span(SafeText(f" {shorten_middle(first.label, 24)}"), Role.STRONG)] if look.width >= _BROAD else []
        spans += [literal("next to expire ", Role.MUTED), _certificate(first, look), *whose, *separator]
    rates = [snapshot.rates for snapshot in answering]
    failing = sum(rate.failed_per_s or 0.0 for rate in rates)
    moved = sum((rate.bytes_in_per_s or 0.0) + (rate.bytes_out_per_s or 0.0) for rate in rates)
    known = any(rate.is_known for rate in rates)
    open_now = sum(row.open for row in rows if not row.is_lost)
    parts = [
        [Span(count(open_now)), literal(" open", Role.MUTED)],
        [
            Span(per_minute(sum(rate.served_per_s or 0.0 for rate in rates) if known else None)),
            literal(" req/s", Role.MUTED),
        ],
        [
            Span(per_minute(failing if known else None), Role.CRITICAL if failing else Role.TEXT),
            literal(" failed/s", Role.MUTED),
        ],
        [Span(byte_rate(moved if known else None))],
    ]
    for part in parts:
        if sum(cell_width(span.text) for span in (*spans, *part)) > look.width:
            break
        spans += [*part, *separator]
    return Line(cropped(spans[: -len(separator)], look.width))
