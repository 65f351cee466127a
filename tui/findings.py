"""What is wrong, ranked: the sidecar's own problems, and what only a watcher can see. No toolkit, no socket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from tui.amounts import age, countdown, duration, grouped, per_minute, seconds_between, utc
from tui.lifetime import Stage, Validity
from tui.model import Snapshot
from tui.text import EMPTY, SafeText
from tui.views import Certificate, Refusal, Severity, Status

REPEATED_REFUSALS = 5
"""Refusals of one identity for one reason before it is somebody's misconfiguration and not a stray."""

REPEATED_WITHIN = timedelta(minutes=15)

NEAR_LIMIT_FRACTION = 0.8
LOOP_LAG_LIMIT_S = 0.5
UPSTREAM_ERRORS_PER_MINUTE = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what, since when, about what, and what to do."""

    severity: Severity
    code: SafeText
    message: SafeText
    since: datetime | None = None
    subject: SafeText = EMPTY
    advice: SafeText = EMPTY

    @property
    def key(self) -> str:
        return f"{self.code}\0{self.subject}"


def findings(snapshot: Snapshot, now: datetime) -> list[Finding]:
    """Everything that is wrong, worst first; among equals the sidecar's own words first."""
    found = list(_lost_socket(snapshot))
    status = snapshot.status
    if status is not None:
        found += (
            Finding(
                severity=problem.severity,
                code=problem.code,
                message=problem.message,
                since=problem.since,
                subject=problem.subject,
                advice=_ADVICE.get(problem.code, EMPTY),
            )
            for problem in status.problems
        )
        found += _own_findings(snapshot, status, now)
    return sorted(found, key=lambda finding: finding.severity.rank)


def worst_severity(found: Iterable[Finding]) -> Severity | None:
    return min((finding.severity for finding in found), key=lambda severity: severity.rank, default=None)


def _own_findings(snapshot: Snapshot, status: Status, now: datetime) -> Iterator[Finding]:
    """What a watcher sees besides; a subject that the sidecar itself speaks of is left to it."""
    told = {problem.code.partition("_")[0] for problem in status.problems}
    found = (
        *_state(status),
        *_own_certificate(snapshot.own_validity, status.certificate.identity, now),
        *_authorities(snapshot, now),
        *_revocation_lists(snapshot, now),
        *_last_attempt(snapshot),
        *_trust(snapshot),
        *_skew(snapshot),
        *_upstreams(snapshot, status),
        *_limits(status),
        *_repeated_refusals(snapshot, now),
    )
    yield from (finding for finding in found if finding.code.partition("_")[0] not in told)


def _lost_socket(snapshot: Snapshot) -> Iterator[Finding]:
    if snapshot.link.is_lost:
        yield Finding(
            Severity.CRITICAL,
            SafeText("admin_socket"),
            SafeText(f"the admin socket does not answer: {snapshot.link.error}"),
            subject=snapshot.socket,
            advice=SafeText(
                "Traffic may be flowing all the same: the data path does not need this socket. Look at the process "
                "and its log (systemctl status, kubectl logs), then at the owner and mode of the socket."
            ),
        )


def _state(status: Status) -> Iterator[Finding]:
    if status.state == "draining":
        yield Finding(
            Severity.WARNING,
            SafeText("draining"),
            SafeText("draining: new connections are refused, those that exist may finish"),
        )
    elif not status.ready and not status.problems:
        yield Finding(Severity.CRITICAL, SafeText("not_ready"), SafeText(f"not ready (state {status.state})"))
    for worker in status.workers:
        if worker.loop_lag_s > LOOP_LAG_LIMIT_S:
            yield Finding(
                Severity.WARNING,
                SafeText("worker_lag"),
                SafeText(f"worker {worker.worker} is {worker.loop_lag_s:.1f} s behind its work"),
                subject=SafeText(f"worker {worker.worker}"),
            )


def _own_certificate(validity: Validity, identity: SafeText, now: datetime) -> Iterator[Finding]:
    stage = validity.stage(now)
    if (severity := stage.severity) is None or validity.not_after is None:
        return
    is_planned = validity.next_renewal_at is not None and validity.next_renewal_at > now
    yield Finding(
        Severity.NOTICE if stage is Stage.DUE and is_planned else severity,
        SafeText("certificate_lifetime"),
        SafeText(f"our certificate {_stage_in_words(stage, validity, now)}"),
        subject=identity,
        advice=SafeText(
            "Rotate (a, then Rotate). If that is refused, the last attempt under Certificates (3) says why; with files "
            "as the source, whoever writes them has to renew them."
        ),
    )


def _stage_in_words(stage: Stage, validity: Validity, now: datetime) -> str:
    assert validity.not_after is not None
    left_s = seconds_between(now, validity.not_after)
    match stage:
        case Stage.EXPIRED:
            return f"expired {countdown(-left_s).strip()} ago, at {utc(validity.not_after)}"
        case Stage.NOT_YET_VALID:
            return f"is not valid before {utc(validity.not_before)}"
        case _ if validity.is_renewal_overdue(now):
            overdue = age(validity.next_renewal_at, now)
            return f"should have been renewed {overdue} ago and expires in {countdown(left_s).strip()}"
        case _ if validity.next_renewal_at is not None:
            planned = countdown(seconds_between(now, validity.next_renewal_at)).strip()
            return f"expires in {countdown(left_s).strip()}; its renewal is planned in {planned}"
        case _:
            return f"expires in {countdown(left_s).strip()}"


def _authorities(snapshot: Snapshot, now: datetime) -> Iterator[Finding]:
    """CAs live for years: that one is due for a change is no finding before its last tenth."""
    if snapshot.certificates is None:
        return
    leaf = snapshot.certificates.leaf
    seen = {EMPTY} if leaf is None else {leaf.sha256}
    for role, certificate in (
        *(("issuing certificate", certificate) for certificate in snapshot.certificates.chain),
        *(("trusted CA", certificate) for certificate in snapshot.certificates.trust),
    ):
        if certificate.sha256 in seen:
            continue
        seen.add(certificate.sha256)
        validity = Validity(certificate.not_before, certificate.not_after)
        stage = validity.stage(now)
        if stage.severity is Severity.CRITICAL:
            yield Finding(
                Severity.WARNING if stage is Stage.EXPIRING else Severity.CRITICAL,
                SafeText("authority_lifetime"),
                SafeText(f"{role} {certificate.subject} {_stage_in_words(stage, validity, now)}"),
                subject=certificate.sha256 or certificate.subject,
                advice=SafeText("Change the CA in three steps while both are trusted: tlsidecar certs rollover."),
            )


def _revocation_lists(snapshot: Snapshot, now: datetime) -> Iterator[Finding]:
    if snapshot.certificates is None:
        return
    for crl in snapshot.certificates.crls:
        if crl.next_update is not None and crl.next_update <= now:
            yield Finding(
                Severity.CRITICAL,
                SafeText("crl_expired"),
                SafeText(f"the revocation list of {crl.issuer} expired {age(crl.next_update, now)} ago"),
                subject=crl.issuer,
                advice=SafeText("Write a new one (tlsidecar certs crl) and reload."),
            )


def _last_attempt(snapshot: Snapshot) -> Iterator[Finding]:
    attempt = None if snapshot.certificates is None else snapshot.certificates.last_attempt
    if attempt is not None and attempt.outcome == "refused":
        detail = f": {attempt.detail}" if attempt.detail else ""
        yield Finding(
            Severity.WARNING,
            SafeText("reload_refused"),
            SafeText(f"the last attempt at new material was refused ({attempt.reason}){detail}"),
            since=attempt.at,
            advice=SafeText("What was served before is still served. Mend the files, then reload (a, then Reload)."),
        )


def _trust(snapshot: Snapshot) -> Iterator[Finding]:
    """The top of our own chain should be vouched for by what we trust: both ends of a mesh share their roots."""
    certificates = snapshot.certificates
    if certificates is None or certificates.leaf is None or not certificates.trust:
        return
    own: tuple[Certificate, ...] = (certificates.leaf, *certificates.chain)
    trusted = {certificate.subject for certificate in certificates.trust}
    if not trusted.isdisjoint({certificate.issuer for certificate in own}):
        return
    yield Finding(
        Severity.NOTICE,
        SafeText("trust_mismatch"),
        SafeText("our own certificate does not lead to a CA in our trust bundle"),
        subject=own[-1].issuer,
        advice=SafeText(
            "Right when the two sides use different CAs on purpose. Otherwise the trust bundle and the certificate are "
            "of different generations of the CA."
        ),
    )


def _skew(snapshot: Snapshot) -> Iterator[Finding]:
    if not snapshot.is_skewed:
        return
    direction = "ahead of" if snapshot.skew_s > 0 else "behind"
    yield Finding(
        Severity.WARNING,
        SafeText("clock_skew"),
        SafeText(f"the sidecar's clock is {duration(abs(snapshot.skew_s))} {direction} this terminal's"),
        advice=SafeText(
            "One of the two clocks is wrong (timedatectl, chronyc tracking). Countdowns here go by this terminal's "
            "clock, certificates are judged by the sidecar's."
        ),
    )


def _upstreams(snapshot: Snapshot, status: Status) -> Iterator[Finding]:
    for listener in status.listeners:
        away = [upstream for upstream in listener.upstreams if not upstream.healthy]
        if away:
            addresses = ", ".join(upstream.address for upstream in away)
            error = next((f": {upstream.last_error}" for upstream in away if upstream.last_error), "")
            yield Finding(
                Severity.CRITICAL if len(away) == len(listener.upstreams) else Severity.WARNING,
                SafeText("upstream_down"),
                SafeText(f"{listener.name}: upstream {addresses} does not answer{error}"),
                subject=listener.name,
                advice=SafeText("Look at the service itself: the sidecar cannot reach it."),
            )
            continue
        rates = snapshot.listener_rates.get(listener.name)
        errors = None if rates is None else rates.upstream_errors_per_minute
        if errors is not None and errors >= UPSTREAM_ERRORS_PER_MINUTE:
            kinds = ", ".join(name for name, number in listener.upstream_errors.items() if number)
            yield Finding(
                Severity.WARNING,
                SafeText("upstream_errors"),
                SafeText(f"{listener.name}: {per_minute(errors)} upstream errors a minute ({kinds})"),
                subject=listener.name,
            )


def _limits(status: Status) -> Iterator[Finding]:
    for listener in status.listeners:
        for what, used, limit in (
            ("connections", listener.connections_active, listener.max_connections),
            ("handshakes", listener.handshakes_active, listener.max_handshakes),
        ):
            if limit > 0 and used >= NEAR_LIMIT_FRACTION * limit:
                yield Finding(
                    Severity.CRITICAL if used >= limit else Severity.WARNING,
                    SafeText(f"{what}_nearly_full"),
                    SafeText(f"{listener.name}: {grouped(used)} of at most {grouped(limit)} {what}"),
                    subject=listener.name,
                    advice=SafeText(f"At the limit, new ones are refused. Raise max_{what}, or find who holds them."),
                )


def _repeated_refusals(snapshot: Snapshot, now: datetime) -> Iterator[Finding]:
    if snapshot.refusals is None:
        return
    recent = [each for each in snapshot.refusals.refusals if each.identity and _is_recent(each, now)]
    counts = Counter((refusal.identity, refusal.reason) for refusal in recent)
    often = [(party, number) for party, number in counts.most_common() if number >= REPEATED_REFUSALS]
    if not often:
        return
    (identity, reason), number = often[0]
    newest = next(each for each in recent if (each.identity, each.reason) == (identity, reason))
    others = f"; {len(often) - 1} others refused often, too" if len(often) > 1 else ""
    yield Finding(
        Severity.WARNING,
        SafeText("repeated_refusal"),
        SafeText(f"{identity} refused {number} times on {newest.listener}: {newest.sentence or reason}{others}"),
        since=newest.at,
        subject=identity,
        advice=SafeText(
            "If it should be let in, add an access rule for it and reload; if not, find out who uses it. "
            "Refusals (4) has each one."
        ),
    )


def _is_recent(refusal: Refusal, now: datetime) -> bool:
    return refusal.at is not None and refusal.at >= now - REPEATED_WITHIN


# What to do about the problems that the sidecar names.
_ADVICE = {
    SafeText(code): SafeText(advice)
    for code, advice in {
        "reload_refused": "What was served before is still served. Mend the files named, then reload (a, then Reload).",
        "certificate_expired": "Peers refuse us. Put a new certificate in place, or rotate (a, then Rotate).",
        "certificate_expiring": "Rotate (a, then Rotate); with files as the source, whoever writes them has to renew.",
        "certificate_due": "Usually renewed by itself. If not: rotate (a, then Rotate).",
        "authority_expired": "Change the CA in three steps while both are trusted: tlsidecar certs rollover.",
        "authority_expiring": "Change the CA in three steps while both are trusted: tlsidecar certs rollover.",
        "crl_expired": "Write a new one (tlsidecar certs crl) and reload (a, then Reload).",
        "upstream_down": "Look at the service itself: the sidecar cannot reach it.",
        "connections_nearly_full": "At the limit, new ones are refused. Raise max_connections, or find who holds them.",
        "draining": "New connections are refused until the process is started again.",
        "clock_jumped": "Look at the machine's time service (timedatectl, chronyc tracking).",
        "log_lines_dropped": "Nobody reads the log fast enough: look at the disk, or at what collects stderr.",
    }.items()
}
