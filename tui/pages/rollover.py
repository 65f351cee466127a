"""A change of the CA over several sidecars: whom each trusts, who issued its certificate, who still lives on older
material, and for which step of ``certs rollover`` it is ready.

``switch`` needs everybody to trust whom anybody trusts; ``finish`` needs everybody to show a certificate of the newest
CA, and nobody to be connected by older material. Why a sidecar is not further stands beside it, and one that does not
answer is ready for nothing: what it trusts is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from tui.amounts import UNKNOWN, age, count, counted
from tui.lines import Kind, Line, Role, Span, cropped, gap, literal
from tui.pages.certificates import identities_of
from tui.pages.fleet import GENERATION, MARK, NAME, STATE
from tui.pages.fleet_row import FleetRow
from tui.records import Certificate, Certificates, OwnMaterial
from tui.sheet import Column, Look, Table
from tui.text import SafeText, shorten

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_NAMED = 60


class Readiness(StrEnum):
    """For which step; in the order of the list, the worst first."""

    NOT = "not ready"
    SWITCH = "switch"
    FINISH = "finish"
    SINGLE = "one CA"  # there is nothing to roll over
    UNKNOWN = "not read"


_ROLES = {
    Readiness.NOT: Role.CRITICAL,
    Readiness.SWITCH: Role.NOTICE,
    Readiness.FINISH: Role.GOOD,
    Readiness.SINGLE: Role.MUTED,
    Readiness.UNKNOWN: Role.MUTED,
}


@dataclass(frozen=True, slots=True)
class RolloverRow:
    """One sidecar. ``issuers`` and ``lacks`` are CAs, of which two may have one name; ``older`` counts connections."""

    row: FleetRow
    readiness: Readiness
    issuers: Sequence[Certificate] = ()
    lacks: Sequence[Certificate] = ()
    older: int = 0
    changed_at: datetime | None = None
    why: Sequence[str] = ()  # it is not further


@dataclass(frozen=True, slots=True)
class Rollover:
    """All rows, and the CAs that anybody trusts, the oldest first."""

    rows: Sequence[RolloverRow]
    roots: Sequence[Certificate]


def rollover_of(shown: Sequence[FleetRow], every: Sequence[FleetRow], worst_first: bool) -> Rollover:
    """The rows ``shown`` judged by what ``every`` sidecar of the list trusts."""
    roots = _roots(every)
    rows = [_judged(row, roots) for row in shown]
    if worst_first:
        order = list(Readiness)
        rows.sort(key=lambda each: order.index(each.readiness))
    return Rollover(rows, list(roots.values()))


def older_of(own: OwnMaterial) -> int:
    """Connections accepted under an older generation than the one in use."""
    counts = own.connections_by_generation.items()
    return sum(number for generation, number in counts if generation.isdecimal() and int(generation) < own.generation)


def _roots(rows: Sequence[FleetRow]) -> Mapping[SafeText, Certificate]:
    """By fingerprint."""
    found = {each.sha256: each for row in rows for own in _materials(row) for each in own.trust}
    return dict(sorted(found.items(), key=lambda each: (each[1].not_before or _EARLIEST, each[0])))


def _materials(row: FleetRow) -> list[OwnMaterial]:
    certificates: Certificates | None = row.sight.snapshot.certificates
    return [] if certificates is None or row.is_lost else [own for _, _, own in identities_of(certificates)]


def _judged(row: FleetRow, roots: Mapping[SafeText, Certificate]) -> RolloverRow:
    materials = _materials(row)
    if not materials or not roots:
        return RolloverRow(row, Readiness.UNKNOWN)
    held = [{each.sha256 for each in own.trust} for own in materials]
    lacks = [root for sha256, root in roots.items() if not all(sha256 in each for each in held)]
    issued = [_issuer(own, roots) for own in materials]
    issuers = list({root.sha256: root for root in issued if root is not None}.values())
    older = sum(map(older_of, materials))
    newest = list(roots)[-1]
    if len(roots) == 1:
        readiness = Readiness.SINGLE
    elif lacks:
        readiness = Readiness.NOT
    elif older or any(_is_behind(root, newest) for root in issued):
        readiness = Readiness.SWITCH
    else:
        readiness = Readiness.FINISH
    changed = max((own.activated_at for own in materials if own.activated_at is not None), default=None)
    why = _why_not(materials, issued, newest, lacks, older) if readiness in (Readiness.NOT, Readiness.SWITCH) else ()
    return RolloverRow(row, readiness, issuers, lacks, older, changed, why)


def _why_not(
    materials: Sequence[OwnMaterial],
    issued: Sequence[Certificate | None],
    newest: str,
    lacks: Sequence[Certificate],
    older: int,
) -> list[str]:
    """What is still to happen there, and what stood in the way of it last."""
    why = [f"does not trust {root.subject}" for root in lacks]
    behind = {"an unknown CA" if root is None else root.subject for root in issued if _is_behind(root, newest)}
    why += [f"shows a leaf of {name}" for name in sorted(behind)]
    if older:
        why.append(f"{counted(older, 'connection')} by older material")
    attempts = [own.last_attempt for own in materials if own.last_attempt is not None]
    refused = [each.reason or each.detail for each in attempts if each.outcome == "refused"]
    return why + [f"last attempt refused: {reason}" for reason in refused]


def _is_behind(root: Certificate | None, newest: str) -> bool:
    return root is None or root.sha256 != newest


def _issuer(own: OwnMaterial, roots: Mapping[SafeText, Certificate]) -> Certificate | None:
    """The CA that the chain we show leads to; of several of one name the newest that it can be."""
    if own.leaf is None:
        return None
    chain = [own.leaf, *own.chain]
    ends = [root for root in roots.values() if any(each.sha256 == root.sha256 for each in chain)]
    ends = ends or [root for root in roots.values() if root.subject == chain[-1].issuer]
    return ends[-1] if ends else None


def _names(roots: Sequence[Certificate]) -> Span:
    names = dict.fromkeys(root.subject for root in roots)
    return Span(SafeText(", ".join(names))) if names else Span(UNKNOWN, Role.MUTED)


def _reasons(row: RolloverRow) -> Span:
    role = Role.CRITICAL if row.readiness is Readiness.NOT else Role.TEXT
    return Span(SafeText("; ".join(row.why)), role) if row.why else Span(UNKNOWN, Role.MUTED)


def _of_row(column: Column[FleetRow]) -> Column[RolloverRow]:
    """A column of the list, of what is judged here."""
    return Column(
        column.label,
        column.width,
        lambda each, look: column.cell(each.row, look),
        right=column.right,
        share=column.share,
        wish=column.wish,
        most=column.most,
        shorten=column.shorten,
        sort=column.sort,
        letter=column.letter,
        factored=column.factored,
    )


ROLLOVER_COLUMNS: Sequence[Column[RolloverRow]] = (
    _of_row(MARK),
    _of_row(NAME),
    _of_row(STATE),
    Column("READY FOR", 9, lambda each, look: Span(SafeText(each.readiness), _ROLES[each.readiness])),
    Column("ISSUED BY", 12, lambda each, look: _names(each.issuers), share=2, most=_NAMED),
    Column("WHY NOT FURTHER", 15, lambda each, look: _reasons(each), share=4, most=2 * _NAMED),
    Column(
        "OLDER", 5, lambda each, look: Span(count(each.older), Role.WARNING if each.older else Role.MUTED), right=True
    ),
    _of_row(GENERATION),
    Column("CHANGED", 8, lambda each, look: Span(age(each.changed_at, look.now), Role.MUTED), right=True, rank=1),
)
"""``OLDER``: connections by older material. ``CHANGED``: since the material in use was put to use."""


def rollover_table(rollover: Rollover, look: Look) -> Table[RolloverRow]:
    """A row for each sidecar."""
    return Table(ROLLOVER_COLUMNS, rollover.rows, look, Kind.SIDECAR, lambda each: each.row.name)


def rollover_summary_row(rollover: Rollover, look: Look) -> Line:
    """Row 2: each CA, who trusts it and whose certificates are of it; the newest first."""
    known = [each for each in rollover.rows if each.readiness is not Readiness.UNKNOWN]
    unread = len(rollover.rows) - len(known)
    spans: list[Span] = [gap()]
    not_ready = sum(each.readiness is Readiness.NOT for each in known)
    if not known:
        spans.append(literal("asking the sidecars what they trust", Role.MUTED))
    elif len(rollover.roots) == 1:
        spans.append(literal("one CA, no rollover under way: ", Role.MUTED))
    elif not_ready:
        spans += [literal(f"{not_ready} not ready to switch", Role.CRITICAL), gap(2)]
    else:
        left = sum(each.readiness is Readiness.SWITCH for each in known)
        words = f"ready to switch; {left} not yet to finish" if left else "ready to finish"
        words = f"{len(known)} of {len(rollover.rows)} {words}" if unread else words
        spans += [literal(words, Role.NOTICE if left or unread else Role.GOOD), gap(2)]
    if known and unread:
        spans += [literal(f"{unread} not read", Role.WARNING), gap(2)]
    for root in reversed(rollover.roots):
        trusted = sum(root not in each.lacks for each in known)
        issued = sum(root in each.issuers for each in known)
        spans += [
            Span(shorten(root.subject, 30), Role.STRONG),
            literal(f" trusted by {trusted} of {len(known)}, issued {issued}", Role.MUTED),
            gap(2),
        ]
    return Line(cropped(spans, look.width))
