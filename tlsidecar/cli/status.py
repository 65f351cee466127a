"""``tlsidecar status``: one look, in the order of the console's overview.

What is wrong, what failed, who is refused and why, what expires next, whether traffic flows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.errors import Refused
from tlsidecar.cli.context import echo_json, json_option, socket_option
from tlsidecar.cli.text import duration, moment, parse_time, remaining, safe_text, size, table

_MOST_ROWS = 4
"""Of each section; the commands for the rest are named."""

_RECENT_S = 10
"""What rates are taken over."""

Json = Mapping[str, Any]


@click.command()
@socket_option
@json_option
def status(client: AdminClient, as_json: bool) -> None:
    """State, what is wrong, who is refused, what expires next, and whether traffic flows."""
    document = client.get("/v1/status")
    if as_json:
        echo_json(document)
        return
    now = document["now"]
    for line in (
        f"tlsidecar {document['version']} on {document['node']}, pid {document['pid']}, "
        f"up {duration(document['uptime_s'])}: {document['state']}",
        *_identities(document),
        *_problems(document["problems"]),
        *_failed(_read(client, f"/v1/failures?limit={_MOST_ROWS}"), now),
        *_refused(_read(client, "/v1/refusals?limit=1"), now),
        *_expiring(_read(client, "/v1/certificates"), now),
        *_traffic(document, _read(client, f"/v1/history?since={_RECENT_S}s&step={_RECENT_S}s")),
    ):
        click.echo(safe_text(line))


def _read(client: AdminClient, target: str) -> Json:
    """Empty where an older sidecar does not tell of it."""
    try:
        return client.get(target)
    except Refused as error:
        if error.status != 404:
            raise
        return {}


def _identities(document: Json) -> Iterator[str]:
    for each in document["identities"]:
        whose = f"{each['name']}: " if len(document["identities"]) > 1 else ""
        yield (
            f"{whose}{each['identity']}, serial {each['serial']}, generation {each['generation']}, "
            f"expires {remaining(each['not_after'], document['now'])} ({moment(each['not_after'])})"
        )
    sandbox = document.get("sandbox")  # which an older sidecar does not tell
    if sandbox:
        yield f"sandbox: {_sandbox(sandbox)}"


def _sandbox(sandbox: Json) -> str:
    if not sandbox["holds"]:
        return f"none: {sandbox['reason']}"
    covered = ", ".join(each.replace("_", " ") for each in sandbox["covers"])
    return f"Landlock ABI {sandbox['abi']}: {covered}; not covered: {'; '.join(sandbox['gaps'])}"


def _problems(problems: Sequence[Json]) -> Iterator[str]:
    if not problems:
        yield from ("", "Problems  nothing is wrong")
        return
    numbers = Counter(problem["severity"] for problem in problems)
    yield from ("", "Problems  " + ", ".join(f"{number} {severity}" for severity, number in numbers.items()))
    for problem in problems:
        is_named = not problem["subject"] or problem["subject"] in problem["message"]
        subject = "" if is_named else f" [{problem['subject']}]"
        yield f"! {problem['severity']}: {problem['message']}{subject} since {moment(problem['since'])}"
        if problem.get("advice"):
            yield f"  {problem['advice']}"


def _failed(document: Json, now: str) -> Iterator[str]:
    """Nothing where nothing failed."""
    if not document.get("failures"):
        return
    yield from ("", f"Failed  {document['total']} since the start, nobody's fault who asked: tlsidecar failures")
    yield from _aligned(
        (_ago(each["last_at"], now), f"{each['count']}x", each["reason"], each["upstream"] or "-", each["listener"])
        for each in document["failures"][:_MOST_ROWS]
    )


def _refused(document: Json, now: str) -> Iterator[str]:
    groups = document.get("groups") or ()
    if not groups:
        yield from ("", "Refused  nobody since the start")
        return
    yield from ("", f"Refused  {document['total']} since the start: tlsidecar refusals --groups, tlsidecar explain")
    yield from _aligned(
        (_ago(each["last_at"], now), f"{each['count']}x", each["who"], each["reason"], each["listener"])
        for each in groups[:_MOST_ROWS]
    )


def _expiring(document: Json, now: str) -> Iterator[str]:
    """Each certificate once, the first to expire first."""
    found: dict[str, tuple[str, str, str]] = {}
    for own in document.get("identities") or ([document] if document else ()):
        whose = f"our certificate ({own['name']})" if len(document.get("identities", ())) > 1 else "our certificate"
        listed = [(whose, own["leaf"])] if own["leaf"] else []
        listed += [("issuer", each) for each in own["chain"]] + [("trusted CA", each) for each in own["trust"]]
        for what, each in listed:
            found.setdefault(each["sha256"], (each["not_after"], what, each["identity"] or each["subject"]))
    yield from ("", "Expires next" if found else "Expires next  no certificate in use")
    yield from _aligned(
        (remaining(not_after, now), what, name, moment(not_after))
        for not_after, what, name in sorted(found.values(), key=lambda each: str(each[0]))[:_MOST_ROWS]
    )


def _traffic(document: Json, history: Json) -> Iterator[str]:
    measured = {each["name"]: _rates(each, history) for each in history.get("listeners", ())}
    rates = {name: found for name, found in measured.items() if found is not None}
    yield from ("", f"Traffic  {_flow(history, rates)}")
    columns = ("OPEN", "REQ/S", "FAILED/S", "TOTAL", "REFUSED", "HS P99", "IN", "OUT")
    yield from table(
        ("LISTENER", "MODE", "PROTOCOL", "LISTEN", "UPSTREAM", *columns),
        [_listener_row(listener, rates.get(listener["name"])) for listener in document["listeners"]],
        frozenset(columns),
    ).splitlines()


def _flow(history: Json, rates: Mapping[str, tuple[float, float, float]]) -> str:
    if not rates:
        return "since the start; what flows now is not known yet" if history else "since the start"
    requests, failed, moved = (sum(each) for each in zip(*rates.values(), strict=True))
    if not requests and not failed and not moved:
        return f"none in the last {_RECENT_S} s"
    word = "flowing" if not failed else "failing" if failed > requests / 2 else "flowing, but some fails"
    return f"{word}: {requests:.1f} requests/s, {failed:.1f} failed/s, {size(moved)}/s in the last {_RECENT_S} s"


def _rates(series: Json, history: Json) -> tuple[float, float, float] | None:
    """Requests, failures and bytes a second; None where no time has passed that was measured."""
    since, until = parse_time(history["since"]), parse_time(history["until"])
    passed_s = (until - since).total_seconds() if since is not None and until is not None else 0.0
    if passed_s <= 0:
        return None
    requests = sum(map(sum, series["requests"].values()))
    failed = sum(map(sum, series["failures"].values()))
    return (requests / passed_s, failed / passed_s, (sum(series["bytes_in"]) + sum(series["bytes_out"])) / passed_s)


def _listener_row(listener: Json, rates: tuple[float, float, float] | None) -> tuple[object, ...]:
    upstreams = ", ".join(each["address"] + ("" if each["healthy"] else " (down)") for each in listener["upstreams"])
    p99_s = listener.get("recent_handshake_p99_s")  # which an older sidecar does not tell
    return (
        listener["name"],
        listener["mode"],
        listener["protocol"],
        listener["bound"] or f"{listener['listen']} (not bound)",
        upstreams,
        listener["connections_active"],
        "-" if rates is None or listener["protocol"] == "tcp" else f"{rates[0]:.1f}",
        "-" if rates is None else f"{rates[1]:.1f}",
        listener["connections_total"],
        listener["refusals_total"],
        "-" if p99_s is None else f"{p99_s * 1000:.{0 if p99_s >= 0.01 else 1}f} ms",
        size(listener["bytes_in"]),
        size(listener["bytes_out"]),
    )


def _ago(at: Any, now: str) -> str:
    """``1m 6s ago``, in whole seconds; a moment that is hardly over is ``now``."""
    begin, end = parse_time(at), parse_time(now)
    if begin is None or end is None:
        return "-"
    seconds = int((end - begin).total_seconds())
    return f"{duration(seconds)} ago" if seconds > 0 else "now"


def _aligned(rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Columns without a heading, indented."""
    cells = [[safe_text(cell, 80) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
