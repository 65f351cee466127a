"""The first view, for somebody with ten seconds: what is wrong, who is refused and why, what expires next, and whether
traffic flows; in that order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tui.amounts import UNKNOWN, age, byte_rate, count, duration, grouped, latency, octets, per_minute, until, utc
from tui.history import Rates
from tui.lifetime import Validity
from tui.lines import BLANK, Kind, Line, Role, Span, Target, column, gap, heading, line, literal
from tui.model import Snapshot
from tui.pages.arrange import host_of
from tui.pages.certificates import authorities_of, identities_of
from tui.pages.failures import failure_key
from tui.problems import problem_age
from tui.records import Failure, Listener, Problem, Refusal, RefusalGroup, Refusals, Severity
from tui.sheet import Column, Look, Page, header_line, layout, row_line
from tui.text import EMPTY, SafeText, pad, shorten_identity, shorten_middle, wrap

SEVERITY_ROLES = {
    Severity.CRITICAL: Role.CRITICAL,
    Severity.WARNING: Role.WARNING,
    Severity.NOTICE: Role.NOTICE,
}

_SEVERITY_WIDTH = 10
_AGE_WIDTH = 8
_SPACIOUS_HEIGHT = 28


def overview(snapshot: Snapshot, found: Sequence[Problem], look: Look) -> Page:
    """Problems whole; what is left of the height is shared among the sections. What expires is a problem where it is
    near, so that its first row will do where there is little room."""
    problems = _problems(found, look)
    makers = ((_failed, 3), (_refused, 3), (_expiring, 2), (_traffic, 4))
    made = [(rows, least) for rows, least in ((make(snapshot, look), least) for make, least in makers) if rows]
    sections = [rows for rows, _ in made]
    spacious = len(problems) + len(sections) + sum(min(len(rows), 4) for rows in sections) <= look.height
    room = look.height - len(problems) - (len(sections) if spacious else 0)
    caps = _shared([len(rows) for rows in sections], [least for _, least in made], room)
    lines = list(problems)
    for rows, cap in zip(sections, caps, strict=True):
        lines += [*([BLANK] if spacious else []), *rows[:cap]]
    return Page(lines)


def _shared(wanted: list[int], least: list[int], room: int) -> list[int]:
    """How many lines each section gets: the least it needs, its share, and what others leave over; the earlier ones
    first."""
    given = [min(want, needed) for want, needed in zip(wanted, least, strict=True)]
    while sum(given) < room and given != wanted:
        for index, want in enumerate(wanted):
            if given[index] < want and sum(given) < room:
                given[index] += 1
    return given


def _problems(found: Sequence[Problem], look: Look) -> list[Line]:
    if not found:
        return [
            heading("Problems"),
            line(gap(2), literal(f"{look.glyphs.ok} ok", Role.GOOD), gap(2), literal("nothing is wrong")),
        ]
    numbers = Counter(problem.severity for problem in found)
    note = ", ".join(f"{numbers[severity]} {severity.value}" for severity in Severity if numbers[severity])
    lines = [heading("Problems", SafeText(note))]
    for index, problem in enumerate(found):
        lines += problem_lines(problem, look, rows=2 if index < 3 or look.height > _SPACIOUS_HEIGHT else 1)
    return lines


def problem_lines(problem: Problem, look: Look, rows: int) -> list[Line]:
    """A problem on at most ``rows`` lines, the first with its severity and age."""
    role = SEVERITY_ROLES[problem.severity]
    sign = {
        Severity.CRITICAL: look.glyphs.critical,
        Severity.WARNING: look.glyphs.warning,
        Severity.NOTICE: look.glyphs.notice,
    }[problem.severity]
    since = EMPTY if problem.since is None else problem_age(problem, look)
    indent = 2 + _SEVERITY_WIDTH + 1
    first_width = max(10, look.width - indent - _AGE_WIDTH - 2)
    texts = wrap(problem.message, first_width, None if rows > 1 else 1)
    if len(texts) > 1:
        rest = SafeText(problem.message[len(texts[0]) :].lstrip(" "))
        texts = [texts[0], *wrap(rest, max(10, look.width - indent - 1), rows - 1)]
    lines: list[Line] = []
    for index, text in enumerate(texts):
        if index:
            lines.append(line(gap(indent), Span(text)))
            continue
        lines.append(
            line(
                gap(2),
                column(SafeText(f"{sign} {problem.severity.value}"), _SEVERITY_WIDTH, role),
                gap(),
                Span(pad(text, first_width)),
                gap(),
                column(since, _AGE_WIDTH, Role.MUTED, right=True),
                target=Target(Kind.PROBLEM, problem.key),
            )
        )
    return lines


@dataclass(frozen=True, slots=True)
class RefusedParty:
    """The refusals of one party for one reason; of all who showed no certificate together."""

    groups: Sequence[RefusalGroup]  # the newest first

    @property
    def newest(self) -> RefusalGroup:
        return self.groups[0]

    @property
    def number(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def who(self) -> SafeText:
        if len(self.groups) == 1:
            return self.newest.who
        return SafeText(f"{len(self.groups)} addresses, last {self.newest.who}")


def refused_parties(refusals: Refusals) -> list[RefusedParty]:
    """By who and why, the party seen last first. An older sidecar tells only single refusals."""
    groups = refusals.groups or _grouped(refusals.refusals)
    parties: dict[tuple[str, str, str], list[RefusalGroup]] = {}
    for group in groups:
        is_nobody = bool(group.who) and host_of(group.peer_address) == group.who
        parties.setdefault(("" if is_nobody else group.who, group.reason, group.listener), []).append(group)
    return [RefusedParty(members) for members in parties.values()]


def _grouped(refusals: Sequence[Refusal]) -> list[RefusalGroup]:
    members: dict[tuple[str, ...], list[Refusal]] = {}
    for each in refusals:
        who = each.identity or each.subject or host_of(each.peer_address)
        members.setdefault((who, each.listener, each.stage, each.reason), []).append(each)
    return [
        RefusalGroup(
            who=SafeText(who),
            known=False,
            listener=listed[0].listener,
            side=listed[0].side,
            stage=listed[0].stage,
            reason=listed[0].reason,
            sentence=listed[0].sentence,
            rule=listed[0].rule,
            count=len(listed),
            first_at=listed[-1].at,
            last_at=listed[0].at,
            newest_seq=listed[0].seq,
            peer_address=listed[0].peer_address,
        )
        for (who, *_), listed in members.items()
    ]


_REFUSAL_COLUMNS: Sequence[Column[RefusedParty]] = (
    Column("last", 7, lambda party, look: Span(age(party.newest.last_at, look.now), Role.MUTED), right=True),
    Column("times", 5, lambda party, look: literal(f"{count(party.number)}x"), right=True),
    Column("who", 24, lambda party, look: Span(party.who), share=3, wish=36, most=70, shorten=shorten_identity),
    Column("why", 19, lambda party, look: Span(party.newest.reason, Role.WARNING)),
    Column("listener", 10, lambda party, look: Span(party.newest.listener, Role.MUTED), rank=1),
    Column("stage", 9, lambda party, look: Span(party.newest.stage, Role.MUTED), rank=5),
    Column("in words", 30, lambda party, look: Span(party.newest.sentence), share=2, wish=42, most=72, rank=4),
)


def _refused(snapshot: Snapshot, look: Look) -> list[Line]:
    total = 0 if snapshot.status is None else snapshot.status.totals.refusals_total
    rate = snapshot.rates.refusals_per_minute
    note = f"{grouped(total)} since start"
    if rate is not None:
        note += f", {per_minute(rate)}/min"
    lines = [heading("Refused", SafeText(note))]
    parties = refused_parties(snapshot.refusals) if snapshot.refusals is not None else []
    if not parties:
        return [*lines, _nothing("nobody was refused" if total == 0 else "no records of them yet")]
    placed = layout(_REFUSAL_COLUMNS, look.width - 3)
    return lines + [
        row_line(placed, party, look, Target(Kind.REFUSAL, party.newest.newest_seq), indent=2) for party in parties
    ]


_FAILURE_COLUMNS: Sequence[Column[Failure]] = (
    Column("last", 7, lambda each, look: Span(age(each.last_at, look.now), Role.MUTED), right=True),
    Column("times", 5, lambda each, look: literal(f"{count(each.count)}x"), right=True),
    Column("upstream", 24, lambda each, look: Span(each.upstream or UNKNOWN), share=1, shorten=shorten_middle),
    Column("why", 19, lambda each, look: Span(each.reason, Role.CRITICAL)),
    Column("listener", 10, lambda each, look: Span(each.listener, Role.MUTED), rank=1),
    Column("in words", 30, lambda each, look: Span(each.detail or each.sentence), share=2, wish=42, most=72, rank=4),
)


def _failed(snapshot: Snapshot, look: Look) -> list[Line]:
    """What could not be served; nothing at all while there is no failure."""
    failures = snapshot.failures
    if failures is None or not failures.failures:
        return []
    placed = layout(_FAILURE_COLUMNS, look.width - 3)
    rows = [
        row_line(placed, each, look, Target(Kind.FAILURE, failure_key(each)), indent=2) for each in failures.failures
    ]
    return [heading("Failed", SafeText(f"{grouped(failures.total)} since start, nobody's fault who asked")), *rows]


@dataclass(frozen=True, slots=True)
class Expiry:
    """Something with an end."""

    what: str
    name: SafeText
    validity: Validity
    key: str


def expiries(snapshot: Snapshot, now: datetime) -> list[Expiry]:
    """Everything that expires, the soonest first."""
    if snapshot.certificates is None:
        first = None if snapshot.status is None else snapshot.status.certificate
        return [] if first is None else [Expiry("our certificate", first.identity, snapshot.own_validity, "leaf")]
    found: dict[str, Expiry] = {}
    identities = [own for _, _, own in identities_of(snapshot.certificates)]
    for own in identities:
        leaf = own.leaf
        if leaf is not None:
            name = leaf.identity or leaf.subject
            validity = Validity.of_own(leaf, own)
            found[leaf.sha256] = Expiry("our certificate", name, validity, leaf.sha256)
    for own in identities:
        for what, others in (("issuer", own.chain), ("trusted CA", authorities_of(own))):
            for each in others:
                validity = Validity(each.not_before, each.not_after)
                found.setdefault(each.sha256, Expiry(what, each.subject, validity, each.sha256))
        for crl in own.crls:
            key = f"crl {crl.issuer}"
            found.setdefault(
                key, Expiry("revocation list", crl.issuer, Validity(crl.this_update, crl.next_update), key)
            )
    return sorted(
        found.values(), key=lambda expiry: expiry.validity.not_after or datetime.max.replace(tzinfo=now.tzinfo)
    )


def _renewal(expiry: Expiry, look: Look) -> Span:
    planned = expiry.validity.next_renewal_at
    if planned is None:
        return literal("")
    if expiry.validity.is_renewal_overdue(look.now):
        return Span(SafeText(f"overdue {age(planned, look.now)}"), Role.WARNING)
    if planned <= look.now:
        return literal("renews now")
    return Span(SafeText(f"renews in {until(planned, look.now).strip()}"))


def _stage(expiry: Expiry, look: Look) -> Span:
    stage = expiry.validity.stage(look.now)
    return Span(stage.label(look.glyphs), stage.role)


def _left(expiry: Expiry, look: Look) -> Span:
    return Span(until(expiry.validity.not_after, look.now), expiry.validity.stage(look.now).role)


_EXPIRY_COLUMNS: Sequence[Column[Expiry]] = (
    Column("left", 8, _left, right=True),
    Column("state", 10, _stage),
    Column("what", 15, lambda expiry, look: literal(expiry.what)),
    Column("name", 20, lambda expiry, look: Span(expiry.name), share=1, most=64, shorten=shorten_identity),
    Column("renewal", 18, _renewal, rank=1),
    Column("until", 20, lambda expiry, look: Span(utc(expiry.validity.not_after), Role.MUTED), rank=2),
)


def _expiring(snapshot: Snapshot, look: Look) -> list[Line]:
    listed = expiries(snapshot, look.now)
    lines = [heading("Expires next")]
    if not listed:
        return [*lines, _nothing("no certificate in use")]
    placed = layout(_EXPIRY_COLUMNS, look.width - 3)
    return lines + [row_line(placed, expiry, look, Target(Kind.CERTIFICATE, expiry.key), indent=2) for expiry in listed]


@dataclass(frozen=True, slots=True)
class ListenerNow:
    """A listener and its rates."""

    listener: Listener
    rates: Rates


def _upstream_health(entry: ListenerNow, look: Look) -> Span:
    upstreams = entry.listener.upstreams
    healthy = sum(upstream.healthy for upstream in upstreams)
    if not upstreams:
        return Span(UNKNOWN)
    if healthy == len(upstreams):
        return literal(f"{healthy}/{len(upstreams)} up", Role.GOOD)
    return literal(f"{healthy}/{len(upstreams)} up", Role.CRITICAL if healthy == 0 else Role.WARNING)


def _failures(entry: ListenerNow, look: Look) -> Span:
    rate = entry.rates.failures_per_minute
    return Span(per_minute(rate), Role.WARNING if rate else Role.TEXT)


def _per_s(rate: float | None, entry: ListenerNow, bad: Role = Role.TEXT) -> Span:
    """A rate of requests; a dash where there are none."""
    if entry.listener.protocol == "tcp":
        return Span(UNKNOWN)
    return Span(per_minute(rate), bad if rate else Role.TEXT)


def _failed_per_s(entry: ListenerNow, look: Look) -> Span:
    rate = entry.rates.failed_per_s
    return Span(per_minute(rate), Role.CRITICAL if rate else Role.TEXT)


LISTENER_COLUMNS: Sequence[Column[ListenerNow]] = (
    Column("listener", 10, lambda entry, look: Span(entry.listener.name), share=1, most=40, shorten=shorten_middle),
    Column("mode", 9, lambda entry, look: Span(entry.listener.mode, Role.MUTED), rank=5),
    Column("proto", 5, lambda entry, look: Span(entry.listener.protocol, Role.MUTED), rank=8),
    Column("address", 21, lambda entry, look: Span(entry.listener.bound or entry.listener.listen, Role.MUTED), rank=9),
    Column("open", 5, lambda entry, look: Span(count(entry.listener.connections_active)), right=True),
    Column("new/min", 7, lambda entry, look: Span(per_minute(entry.rates.connections_per_minute)), right=True, rank=4),
    Column("req/s", 6, lambda entry, look: _per_s(entry.rates.requests_per_s, entry), right=True),
    Column("2xx/s", 6, lambda entry, look: _per_s(entry.rates.ok_per_s, entry), right=True, rank=1),
    Column("4xx/s", 6, lambda entry, look: _per_s(entry.rates.client_errors_per_s, entry, Role.WARNING), right=True),
    Column("5xx/s", 6, lambda entry, look: _per_s(entry.rates.server_errors_per_s, entry, Role.CRITICAL), right=True),
    Column("failed/s", 8, _failed_per_s, right=True),
    Column("hs fail/min", 11, _failures, right=True, rank=6),
    Column("hs p99", 6, lambda entry, look: Span(latency(entry.rates.handshake_p99_s)), right=True),
    Column("in B/s", 7, lambda entry, look: Span(octets(entry.rates.bytes_in_per_s)), right=True, rank=3),
    Column("out B/s", 7, lambda entry, look: Span(octets(entry.rates.bytes_out_per_s)), right=True, rank=3),
    Column("upstream", 8, _upstream_health),
)


def _traffic(snapshot: Snapshot, look: Look) -> list[Line]:
    lines = [_traffic_heading(snapshot)]
    listeners = () if snapshot.status is None else snapshot.status.listeners
    if not listeners:
        return [*lines, _nothing("no listeners")]
    placed = layout(LISTENER_COLUMNS, look.width - 3)
    labels = header_line(placed, look.glyphs)
    lines.append(Line((gap(2), *(Span(span.text, Role.MUTED) for span in labels.spans))))
    return lines + [
        row_line(
            placed,
            ListenerNow(listener, snapshot.listener_rates.get(listener.name, Rates())),
            look,
            Target(Kind.LISTENER, listener.name),
            indent=2,
        )
        for listener in listeners
    ]


def _traffic_heading(snapshot: Snapshot) -> Line:
    rates = snapshot.rates
    if not rates.is_known:
        return heading("Traffic", SafeText("measuring"))
    both = f"{byte_rate(rates.bytes_in_per_s)} in, {byte_rate(rates.bytes_out_per_s)} out"
    if rates.failing > 0.5:
        return heading("Traffic", SafeText(f"failing, {rates.failing:.0%} of what is asked; {both}"), Role.CRITICAL)
    if rates.failing:
        return heading("Traffic", SafeText(f"flowing, but {_percent(rates.failing)} fails; {both}"), Role.WARNING)
    if _is_out(snapshot):
        return heading("Traffic", SafeText(f"an upstream is down; {both}"), Role.CRITICAL)
    if rates.is_flowing:
        return heading("Traffic", SafeText(f"flowing, {both}"), Role.GOOD)
    quiet = "" if snapshot.quiet_s is None else f" for {duration(snapshot.quiet_s)}"
    return heading("Traffic", SafeText(f"none{quiet}"), Role.NOTICE)


def _percent(part: float) -> str:
    return f"{part:.0%}" if part >= 0.01 else "under 1%"


def _is_out(snapshot: Snapshot) -> bool:
    """Whether the sidecar itself speaks of an outage."""
    problems = () if snapshot.status is None else snapshot.status.problems
    outages = ("upstream_down", "requests_failing", "upstream_not_ready")
    return any(each.severity is Severity.CRITICAL and each.code in outages for each in problems)


def _nothing(text: str) -> Line:
    return line(gap(2), literal(text, Role.MUTED))
