"""What needs a person's attention, worst first: computed from facts, each with since when and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from certs.certificate import Certificate
from certs.journal import second_text
from certs.names import crl_issuer
from tlsidecar.control.interface import Attempt, Generation, Outcome, Problem, Severity
from tlsidecar.dataplane.snapshot import UpstreamRecord, WorkerSnapshot, latest

# Fractions of a lifetime: certificates may live an hour or a year.
DUE_FRACTION = 1 / 3
CRITICAL_FRACTION = 1 / 10

# A listener this full is about to refuse connections.
NEARLY_FULL_FRACTION = 0.9

_ORDER = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.NOTICE: 2}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at ``now``."""

    now: datetime
    generation: Generation | None
    last_attempt: Attempt | None
    refused_since: datetime | None = None
    draining_since: datetime | None = None
    soft_crl: bool = False
    snapshots: Sequence[WorkerSnapshot] = ()
    upstreams_down: Mapping[str, str] = field(default_factory=dict)  # listeners that are not ready for it, and why
    dropped_log_lines: int = 0
    clock_jump_at: datetime | None = None
    clock_jump_s: float = 0.0
    workers_failing: Mapping[int, tuple[str, datetime]] = field(default_factory=dict)


class Findings:
    """Ranks problems and remembers since when each has been there."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], datetime] = {}

    def rank(self, facts: Facts) -> list[Problem]:
        """Every problem, worst first, then oldest first."""
        found: list[Problem] = []
        for problem in _problems(facts):
            key = (problem.code, problem.subject)
            since = self._since.get(key)
            found.append(problem if since is None else _since(problem, min(since, problem.since)))
        self._since = {(problem.code, problem.subject): problem.since for problem in found}
        return sorted(found, key=lambda problem: (_ORDER[problem.severity], problem.since))


def _since(problem: Problem, since: datetime) -> Problem:
    return Problem(problem.severity, problem.code, problem.message, since, problem.subject)


def _problems(facts: Facts) -> Iterator[Problem]:
    if facts.generation is not None:
        yield from _certificate_problems(facts.generation, facts.now)
        yield from _revocation_problems(facts.generation, facts.now, soft=facts.soft_crl)
    attempt = facts.last_attempt
    if attempt is not None and attempt.outcome is Outcome.REFUSED:
        message = f"new material was refused, the old one goes on serving: {attempt.detail}"
        yield Problem(Severity.CRITICAL, "reload_refused", message, facts.refused_since or attempt.at, attempt.reason)
    for number, (message, since) in facts.workers_failing.items():
        yield Problem(Severity.CRITICAL, "worker_failing", message, since, f"worker {number}")
    for name, detail in facts.upstreams_down.items():
        message = f"{name} is not ready, for no upstream passes its health check: {detail}"
        yield Problem(Severity.CRITICAL, "upstream_not_ready", message, facts.now, name)
    yield from _traffic_problems(facts)
    if facts.clock_jump_at is not None:
        message = f"the wall clock jumped by {facts.clock_jump_s:+.0f} s: is the machine's time right?"
        yield Problem(Severity.NOTICE, "clock_jumped", message, facts.clock_jump_at)
    if facts.dropped_log_lines:
        message = f"{facts.dropped_log_lines} log lines could not be written"
        yield Problem(Severity.WARNING, "log_lines_dropped", message, facts.now)
    if facts.draining_since is not None:
        yield Problem(Severity.NOTICE, "draining", "no new connections are accepted", facts.draining_since)


def _certificate_problems(generation: Generation, now: datetime) -> Iterator[Problem]:
    material = generation.material
    leaf = material.leaf
    name = material.identity.name
    left = leaf.fraction_left(now)
    due_at = leaf.not_valid_after_utc - (leaf.not_valid_after_utc - leaf.not_valid_before_utc) * DUE_FRACTION
    until = second_text(leaf.not_valid_after_utc)
    if left <= 0:
        message = f"our certificate expired at {until}: peers refuse it; put a new one in place, or renew at its issuer"
        yield Problem(Severity.CRITICAL, "certificate_expired", message, leaf.not_valid_after_utc, name)
    elif left <= CRITICAL_FRACTION:
        message = f"our certificate expires at {until} and has not been renewed"
        yield Problem(Severity.CRITICAL, "certificate_expiring", message, due_at, name)
    elif left <= DUE_FRACTION:
        message = f"our certificate is due for renewal; it expires at {until}"
        yield Problem(Severity.WARNING, "certificate_due", message, due_at, name)
    for authority in (*material.chain, *material.trust):
        yield from _authority_problems(authority, now)


def _authority_problems(authority: Certificate, now: datetime) -> Iterator[Problem]:
    ends, starts = authority.not_valid_after_utc, authority.not_valid_before_utc
    name = authority.title
    left = authority.fraction_left(now)
    until = second_text(ends)
    if left <= 0:
        yield Problem(Severity.CRITICAL, "authority_expired", f"the CA {name} expired at {until}", ends, name)
    elif left <= CRITICAL_FRACTION:
        since = ends - (ends - starts) * CRITICAL_FRACTION
        message = f"the CA {name} expires at {until}: roll over to a new one"
        yield Problem(Severity.WARNING, "authority_expiring", message, since, name)


def _revocation_problems(generation: Generation, now: datetime, *, soft: bool) -> Iterator[Problem]:
    for revocations in generation.material.crls:
        ends = revocations.next_update_utc
        if ends is None or ends > now:
            continue
        issuer = crl_issuer(revocations).text
        what = "is ignored (crl_policy = soft)" if soft else "every peer it covers is refused"
        message = f"the revocation list of {issuer} expired at {second_text(ends)}: {what}"
        yield Problem(Severity.WARNING if soft else Severity.CRITICAL, "crl_expired", message, ends, issuer)


def _traffic_problems(facts: Facts) -> Iterator[Problem]:
    active: dict[str, tuple[int, int]] = {}
    upstreams: dict[tuple[str, str], list[UpstreamRecord]] = {}
    for snapshot in facts.snapshots:
        for listener in snapshot.listeners:
            now, most = active.get(listener.name, (0, 0))
            active[listener.name] = (now + listener.counters.connections_active, most + listener.max_connections)
            for upstream in listener.upstreams:
                upstreams.setdefault((listener.name, upstream.address), []).append(upstream)
    for (name, address), records in upstreams.items():
        known = latest(records)
        if not known.healthy:
            message = f"{name} cannot reach {address}: {known.last_error}"
            yield Problem(Severity.WARNING, "upstream_down", message, facts.now, f"{name} {address}")
    for name, (now, most) in active.items():
        if most and now >= most * NEARLY_FULL_FRACTION:
            message = f"{name} has {now} of at most {most} connections"
            yield Problem(Severity.WARNING, "connections_nearly_full", message, facts.now, name)
