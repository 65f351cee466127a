"""The two rows that are always there: who this is and how fresh it is; and how it is doing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tui.amounts import byte_rate, count, countdown, latency, per_minute, roughly, seconds_between, sparkline
from tui.freshness import Freshness
from tui.lifetime import LifetimeStage, Validity
from tui.lines import Line, Role, Span, cropped, gap, line, literal, spread
from tui.model import Snapshot
from tui.pages.certificates import authorities_of, identities_of
from tui.records import Severity
from tui.sheet import Look
from tui.text import EMPTY, SafeText, cell_width, shorten_middle

_NAME_WIDTH = 30
_SPARKLINE_WIDTH = 24
_SHORTEST_SPARKLINE = 4


@dataclass(frozen=True, slots=True)
class Banner:
    """What row 1 tells besides the snapshot."""

    freshness: Freshness
    paused: bool = False
    held: int = 0  # updates that a paused view does not show yet
    read_only: bool = False
    position: tuple[int, int] = (1, 1)  # which sidecar of how many
    aside: SafeText = EMPTY  # that it is a replay, and where in it; that it is recorded
    is_replay: bool = False


STATE_ROLES = {
    "starting": Role.NOTICE,
    "ready": Role.GOOD,
    "degraded": Role.WARNING,
    "draining": Role.WARNING,
}


def identity_row(snapshot: Snapshot, banner: Banner, look: Look) -> Line:
    """Row 1: the node, its mode and state, and how fresh this is."""
    left = [
        gap(),
        literal("tlsidecar", Role.KEY),
        gap(2),
        Span(shorten_middle(snapshot.name, _NAME_WIDTH), Role.STRONG),
    ]
    number, of = banner.position
    if of > 1:
        left += [gap(), literal(f"{number}/{of}", Role.MUTED)]
    state: list[Span] = []
    modes: list[Span] = []
    if snapshot.status is not None:
        word = snapshot.status.state
        role = STATE_ROLES.get(word, Role.WARNING) if banner.freshness.is_fresh else Role.MUTED
        state = [gap(2), Span(word, role)]
        modes = [gap(2), Span(snapshot.status.modes, Role.MUTED)]
    forms = (
        ([*left, *modes, *state], _right_end(banner, "{:,} updates held")),
        ([*left, *state], _right_end(banner, "{:,} updates held")),
        ([*left, *state], _right_end(banner, "+{:,}")),
        ([gap(), *left[3:], *state], _right_end(banner, "+{:,}")),
    )
    # The first form that fits: what can be missed goes first.
    fitting = (form for form in forms if sum(cell_width(span.text) for part in form for span in part) < look.width)
    return Line(spread(*next(fitting, forms[-1]), look.width))


def _right_end(banner: Banner, held: str) -> list[Span]:
    spans: list[Span] = []
    if banner.aside:
        spans += [Span(banner.aside, Role.NOTICE), gap(2)]
    if banner.read_only:
        spans += [literal("read-only", Role.MUTED), gap(2)]
    if banner.paused:
        words = f"PAUSED {held.format(banner.held)}" if banner.held else "PAUSED"
        spans += [literal(words, Role.WARNING), gap(2)]
    if banner.is_replay and banner.freshness.is_fresh:
        return spans
    return [*spans, literal("ADMIN: ", Role.MUTED), Span(banner.freshness.label, banner.freshness.role), gap()]


def summary_row(snapshot: Snapshot, look: Look) -> Line:
    """Row 2: the certificate that needs care first, connections, failures, latency and traffic."""
    if snapshot.status is None:
        return line(gap(), literal("no data yet", Role.MUTED))
    separator = [gap(), literal(look.glyphs.separator, Role.MUTED), gap()]
    for form in _FORMS:
        spans = _joined([part for part in _summary(snapshot, look, form) if part], separator)
        if sum(cell_width(span.text) for span in spans) <= look.width:
            break
    rates = snapshot.rates
    used = sum(cell_width(span.text) for span in (*spans, *separator))
    moved = None if not rates.is_known else (rates.bytes_in_per_s or 0) + (rates.bytes_out_per_s or 0)
    speed = SafeText(" " + byte_rate(moved))
    bars = min(_SPARKLINE_WIDTH, look.width - used - cell_width(speed) - 1)
    if bars >= _SHORTEST_SPARKLINE:
        spans += [*separator, Span(sparkline(snapshot.traffic, bars, look.glyphs.bars), Role.KEY), Span(speed)]
    elif used + cell_width(speed) <= look.width:
        spans += [*separator, Span(SafeText(speed.strip()))]
    return Line(cropped(spans, look.width))


@dataclass(frozen=True, slots=True)
class _Form:
    """How much the summary says: what can be missed goes first, the rates and the latency never."""

    renewal: bool = True
    in_words: bool = True
    open: bool = True
    name: bool = True
    stage: bool = True


_FORMS = (
    _Form(),
    _Form(renewal=False),
    _Form(renewal=False, in_words=False),
    _Form(renewal=False, in_words=False, open=False),
    _Form(renewal=False, in_words=False, open=False, name=False),
    _Form(renewal=False, in_words=False, open=False, name=False, stage=False),
)


def _joined(parts: list[list[Span]], separator: list[Span]) -> list[Span]:
    spans: list[Span] = [gap()]
    for index, part in enumerate(parts):
        spans += [*(separator if index else []), *part]
    return spans


def _summary(snapshot: Snapshot, look: Look, form: _Form) -> list[list[Span]]:
    status, rates = snapshot.status, snapshot.rates
    assert status is not None
    certificate = worst_certificate(snapshot, look.now)
    failing, bad = rates.failed_per_s, rates.failures_per_minute
    handshakes = (" failed handshakes/min", "handshake p99 ") if form.in_words else (" hs fail/min", "hs p99 ")
    carries_requests = any(listener.protocol != "tcp" for listener in status.listeners)
    return [
        certificate_summary(certificate, look, renewal=form.renewal, name=form.name, in_words=form.stage),
        [Span(count(status.totals.connections_active)), literal(" open", Role.MUTED)] if form.open else [],
        [Span(per_minute(rates.requests_per_s)), literal(" req/s", Role.MUTED)] if carries_requests else [],
        [
            Span(per_minute(failing), Role.CRITICAL if failing else Role.TEXT),
            literal(" failed/s" if form.in_words else " fail/s", Role.MUTED),
        ],
        [Span(per_minute(bad), Role.WARNING if bad else Role.TEXT), literal(handshakes[0], Role.MUTED)],
        [literal(handshakes[1], Role.MUTED), Span(latency(rates.handshake_p99_s))],
    ]


@dataclass(frozen=True, slots=True)
class NamedValidity:
    """Something that expires, and what it is called on the screen."""

    name: SafeText
    validity: Validity
    is_own: bool = False  # the leaf in use: what is meant where no name stands


def worst_certificate(snapshot: Snapshot, now: datetime) -> NamedValidity:
    """The certificate or revocation list that needs care first; our own leaf where several are equally well."""
    worst = NamedValidity(SafeText("cert"), snapshot.own_validity, is_own=True)
    if snapshot.certificates is None:
        return worst
    others: list[NamedValidity] = []
    for _, _, own in identities_of(snapshot.certificates):
        for what, known in (("issuer", own.chain), ("CA", authorities_of(own))):
            others += [NamedValidity(SafeText(what), Validity(each.not_before, each.not_after)) for each in known]
        others += [NamedValidity(SafeText("CRL"), Validity(None, each.next_update)) for each in own.crls]
    for other in others:
        stage = other.validity.stage(now)
        if stage.severity is Severity.CRITICAL and stage.rank < worst.validity.stage(now).rank:
            worst = other
    return worst


def certificate_summary(
    certificate: NamedValidity, look: Look, *, renewal: bool = True, name: bool = True, in_words: bool = True
) -> list[Span]:
    """Its state, time left and, with ``renewal``, the plan; without ``in_words`` the state is only its sign. What is
    not our own is always named."""
    validity = certificate.validity
    stage = validity.stage(look.now)
    label = stage.label(look.glyphs)
    state = Span(label if in_words else SafeText(label.partition(" ")[0]), stage.role)
    spans = [*([Span(certificate.name, Role.MUTED), gap()] if name or not certificate.is_own else []), state]
    if validity.not_after is None:
        return spans
    left_s = seconds_between(look.now, validity.not_after)
    spans += [gap(), Span(SafeText(countdown(left_s).strip()), stage.role)]
    if (
        not renewal
        or stage is LifetimeStage.RENEWING
        or validity.next_renewal_at is None
        or stage is LifetimeStage.EXPIRED
    ):
        return spans
    if validity.next_renewal_at > look.now:
        planned = roughly(seconds_between(look.now, validity.next_renewal_at))
        spans += [literal(", renews ", Role.MUTED), Span(planned)]
    else:
        spans += [literal(", renewal late", Role.WARNING)]
    return spans


@dataclass(frozen=True, slots=True)
class TabLabel:
    """What may stand on a tab: its name, a shorter one, and how much is in it, if that is counted."""

    name: str
    short: str
    held: int | None = None


def tab_labels(tabs: Sequence[TabLabel], width: int) -> list[SafeText]:
    """The tabs' names, with what they hold where there is room for that; short ones where that makes room."""
    for short, counted in ((False, " ({})"), (True, " ({})"), (True, "({})"), (False, ""), (True, "")):
        labels = [_tab_label(number, tab, counted, short=short) for number, tab in enumerate(tabs, 1)]
        if sum(len(label) + 1 for label in labels) < width:
            break
    return labels


def _tab_label(number: int, tab: TabLabel, counted: str, *, short: bool) -> SafeText:
    held = counted.format(count(tab.held)) if tab.held is not None else ""
    return SafeText(f"{number} {tab.short if short else tab.name}{held}")
