"""``tlsidecar status``: one look, in the order of the console's overview.

What is wrong, what failed, who is refused and why, what expires next, whether traffic flows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.certificates import Certificates, OwnMaterial
from tlsidecar.api.decode import decoded
from tlsidecar.api.errors import Refused
from tlsidecar.api.failures import Failures
from tlsidecar.api.history import History, Series
from tlsidecar.api.problems import Problem
from tlsidecar.api.refusals import Refusals
from tlsidecar.api.status import Listener, Sandbox, Status
from tlsidecar.api.text import SafeText
from tlsidecar.cli.context import echo_json, json_option, socket_option
from tlsidecar.cli.text import duration, remaining, safe_text, say, size, table, time_text

_MOST_ROWS = 4
"""Of each section; the commands for the rest are named."""

_RECENT_S = 10
"""What rates are taken over."""

_NEVER = datetime.max.replace(tzinfo=UTC)

R = TypeVar("R")
Rates = tuple[float, float, float]
"""Requests, failures and bytes a second."""


@click.command()
@socket_option
@json_option
def status(client: AdminClient, as_json: bool) -> None:
    """State, what is wrong, who is refused, what expires next, and whether traffic flows."""
    document = client.get("/v1/status")
    if as_json:
        echo_json(document)
        return
    found = decoded(Status[SafeText], document)
    failures = _read(client, Failures[SafeText], f"/v1/failures?limit={_MOST_ROWS}")
    refusals = _read(client, Refusals[SafeText], f"/v1/refusals?limit={_MOST_ROWS}")
    certificates = _read(client, Certificates[SafeText], "/v1/certificates")
    past = _read(client, History[SafeText], f"/v1/history?since={_RECENT_S}s&step={_RECENT_S}s")
    for line in (
        f"tlsidecar {found.version} on {found.node}, pid {found.pid}, up {duration(found.uptime_s)}: {found.state}",
        *_identities(found),
        *_problems(found.problems),
        *_failed(failures, found.now),
        *_refused(refusals, found.now),
        *_expiring(certificates, found.now),
        *_traffic(found.listeners, past),
    ):
        say(line)


def _read(client: AdminClient, kind: type[R], target: str) -> R | None:
    """None where an older sidecar does not tell of it."""
    try:
        return decoded(kind, client.get(target))
    except Refused as error:
        if error.status != 404:
            raise
        return None


def _identities(found: Status[SafeText]) -> Iterator[str]:
    for each in found.identities:
        whose = f"{each.name}: " if len(found.identities) > 1 else ""
        yield (
            f"{whose}{each.identity}, serial {each.serial}, generation {each.generation}, "
            f"expires {remaining(each.not_after, found.now)} ({time_text(each.not_after)})"
        )
    if found.sandbox is not None:
        yield f"sandbox: {_sandbox(found.sandbox)}"


def _sandbox(sandbox: Sandbox[SafeText]) -> str:
    if not sandbox.holds:
        return f"none: {sandbox.reason}"
    covered = ", ".join(each.replace("_", " ") for each in sandbox.covers)
    return f"Landlock ABI {sandbox.abi}: {covered}; not covered: {'; '.join(sandbox.gaps)}"


def _problems(problems: Sequence[Problem[SafeText]]) -> Iterator[str]:
    if not problems:
        yield from ("", "Problems  nothing is wrong")
        return
    numbers = Counter(problem.severity for problem in problems)
    yield from ("", "Problems  " + ", ".join(f"{number} {severity}" for severity, number in numbers.items()))
    for problem in problems:
        is_named = not problem.subject or problem.subject in problem.message
        subject = "" if is_named else f" [{problem.subject}]"
        yield f"! {problem.severity}: {problem.message}{subject} since {time_text(problem.since)}"
        if problem.advice:
            yield f"  {problem.advice}"


def _failed(found: Failures[SafeText] | None, now: datetime | None) -> Iterator[str]:
    """Nothing where nothing failed."""
    if found is None or not found.failures:
        return
    yield from ("", f"Failed  {found.total} since the start, nobody's fault who asked: tlsidecar failures")
    yield from _aligned(
        (_ago(each.last_at, now), f"{each.count}x", each.reason, each.upstream or "-", each.listener)
        for each in found.failures[:_MOST_ROWS]
    )


def _refused(found: Refusals[SafeText] | None, now: datetime | None) -> Iterator[str]:
    if found is None or not found.groups:
        yield from ("", "Refused  nobody since the start")
        return
    yield from ("", f"Refused  {found.total} since the start: tlsidecar refusals --groups, tlsidecar explain")
    yield from _aligned(
        (_ago(each.last_at, now), f"{each.count}x", each.who, each.reason, each.listener)
        for each in found.groups[:_MOST_ROWS]
    )


def _expiring(certificates: Certificates[SafeText] | None, now: datetime | None) -> Iterator[str]:
    """Each certificate once, the first to expire first."""
    found: dict[str, tuple[datetime | None, str, str]] = {}
    for whose, own in () if certificates is None else _own(certificates):
        listed = [(whose, own.leaf)] if own.leaf is not None else []
        listed += [("issuer", each) for each in own.chain]
        listed += [("trusted CA", each) for each in own.trust]
        listed += [("trusted CA", each) for held in own.federated for each in held.trust]
        for what, each in listed:
            found.setdefault(each.sha256, (each.not_after, what, each.identity or each.subject))
    yield from ("", "Expires next" if found else "Expires next  no certificate in use")
    yield from _aligned(
        (remaining(not_after, now), what, name, time_text(not_after))
        for not_after, what, name in sorted(found.values(), key=lambda each: each[0] or _NEVER)[:_MOST_ROWS]
    )


def _own(certificates: Certificates[SafeText]) -> Iterator[tuple[str, OwnMaterial[SafeText]]]:
    """The material of each identity, and what to call its leaf."""
    if len(certificates.identities) < 2:
        yield "our certificate", certificates
        return
    for each in certificates.identities:
        yield f"our certificate ({each.name})", each


def _traffic(listeners: Sequence[Listener[SafeText]], past: History[SafeText] | None) -> Iterator[str]:
    rates = {} if past is None else _rates(past)
    yield from ("", f"Traffic  {_flow(past, rates)}")
    columns = ("OPEN", "REQ/S", "FAILED/S", "TOTAL", "REFUSED", "HS P99", "IN", "OUT")
    yield from table(
        ("LISTENER", "MODE", "PROTOCOL", "LISTEN", "UPSTREAM", *columns),
        [_listener_row(listener, rates.get(listener.name)) for listener in listeners],
        frozenset(columns),
    ).splitlines()


def _flow(past: History[SafeText] | None, rates: Mapping[SafeText, Rates]) -> str:
    if not rates:
        return "since the start" if past is None else "since the start; what flows now is not known yet"
    requests, failed, moved = (sum(each) for each in zip(*rates.values(), strict=True))
    if not requests and not failed and not moved:
        return f"none in the last {_RECENT_S} s"
    word = "flowing" if not failed else "failing" if failed > requests / 2 else "flowing, but some fails"
    return f"{word}: {requests:.1f} requests/s, {failed:.1f} failed/s, {size(moved)}/s in the last {_RECENT_S} s"


def _rates(past: History[SafeText]) -> dict[SafeText, Rates]:
    """By listener; empty where no time has passed that was measured."""
    passed_s = (past.until - past.since).total_seconds() if past.since is not None and past.until is not None else 0.0
    return {each.name: _rates_of(each, passed_s) for each in past.listeners} if passed_s > 0 else {}


def _rates_of(series: Series[SafeText], passed_s: float) -> Rates:
    requests = sum(map(sum, series.requests.values()))
    failed = sum(map(sum, series.failures.values()))
    return (requests / passed_s, failed / passed_s, (sum(series.bytes_in) + sum(series.bytes_out)) / passed_s)


def _listener_row(listener: Listener[SafeText], rates: Rates | None) -> tuple[object, ...]:
    p99_s = listener.recent_handshake_p99_s
    return (
        listener.name,
        listener.mode,
        listener.protocol,
        listener.bound or f"{listener.listen} (not bound)",
        ", ".join(each.address + ("" if each.healthy else " (down)") for each in listener.upstreams),
        listener.connections_active,
        "-" if rates is None or listener.protocol == "tcp" else f"{rates[0]:.1f}",
        "-" if rates is None else f"{rates[1]:.1f}",
        listener.connections_total,
        listener.refusals_total,
        "-" if p99_s is None else f"{p99_s * 1000:.{0 if p99_s >= 0.01 else 1}f} ms",
        size(listener.bytes_in),
        size(listener.bytes_out),
    )


def _ago(at: datetime | None, now: datetime | None) -> str:
    """``1m 6s ago``, in whole seconds; a moment that is hardly over is ``now``."""
    if at is None or now is None:
        return "-"
    seconds = int((now - at).total_seconds())
    return f"{duration(seconds)} ago" if seconds > 0 else "now"


def _aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Columns without a heading, indented."""
    cells = [[safe_text(cell, 80) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
