"""What the sidecar runs by, as far as its status tells: listeners, rules, limits, workers, versions."""

from __future__ import annotations

from collections.abc import Mapping

from tui.amounts import age, counted, duration, grouped, latency, utc
from tui.lines import BLANK, Line, Role, Span, heading
from tui.model import Snapshot
from tui.records import Listener, Sandbox, Status, Upstream
from tui.sheet import Look, Page, field_lines, message_page
from tui.text import SafeText


def config_page(snapshot: Snapshot, look: Look) -> Page:
    """The process, then each listener as it runs."""
    status = snapshot.status
    if status is None:
        return message_page([Span(SafeText("asking the sidecar"), Role.MUTED)], look)
    lines = _process(status, snapshot, look)
    for listener in status.listeners:
        lines += [BLANK, *listener_lines(listener, look)]
    return Page(lines)


def _process(status: Status, snapshot: Snapshot, look: Look) -> list[Line]:
    lines = [heading("Sidecar", SafeText(f"version {status.version}"))]
    lines += field_lines("node", status.node, look)
    lines += field_lines("process", SafeText(f"pid {status.pid}, up {duration(status.uptime_s)}"), look)
    lines += field_lines("started", utc(status.started_at), look)
    ready = "ready" if status.ready else "not ready"
    lines += field_lines("state", SafeText(ready if status.state == ready else f"{status.state}, {ready}"), look)
    lines += field_lines("socket", snapshot.socket, look)
    lines += field_lines("log level", status.log_level, look)
    lines += field_lines("built on", SafeText(f"{status.openssl}; Python {status.python}; {status.event_loop}"), look)
    lines += _sandbox(status.sandbox, look)
    for worker in status.workers:
        words = f"pid {worker.pid}, {counted(worker.connections, 'connection')}, {latency(worker.loop_lag_s)} behind"
        if worker.restarts:
            words += f", replaced {counted(worker.restarts, 'time')}"
        lines += field_lines(f"worker {worker.worker}", SafeText(words), look)
    return lines


def _sandbox(sandbox: Sandbox | None, look: Look) -> list[Line]:
    if sandbox is None:
        return []
    if not sandbox.holds:
        return field_lines("sandbox", SafeText(f"none: {sandbox.reason}"), look, Role.NOTICE)
    covered = ", ".join(each.replace("_", " ") for each in sandbox.covers)
    lines = field_lines("sandbox", SafeText(f"Landlock ABI {sandbox.abi}: {covered}"), look)
    for number, gap in enumerate(sandbox.gaps):
        lines += field_lines("not covered" if number == 0 else "", gap, look, Role.MUTED)
    return lines


def listener_page(snapshot: Snapshot, name: str, look: Look) -> Page:
    """One listener, known by its name."""
    listeners = () if snapshot.status is None else snapshot.status.listeners
    listener = next((each for each in listeners if each.name == name), None)
    if listener is None:
        return message_page([Span(SafeText("this listener does not exist any more"), Role.NOTICE)], look)
    return Page([*listener_lines(listener, look), BLANK, *_counters(listener, look)])


def listener_lines(listener: Listener, look: Look) -> list[Line]:
    """One listener: addresses, rules, and its limits beside what is used of them."""
    lines = [heading(f"Listener {listener.name}", SafeText(f"{listener.mode}, {listener.protocol}"))]
    bound = "" if listener.bound in ("", listener.listen) else f", bound as {listener.bound}"
    lines += field_lines("listen", SafeText(f"{listener.listen}{bound}"), look)
    for number, upstream in enumerate(listener.upstreams):
        role = Role.TEXT if upstream.healthy else Role.CRITICAL
        lines += field_lines("upstream" if number == 0 else "", _upstream(upstream, look), look, role)
    for label, rules in (("allow", listener.allow), ("expect", listener.expect)):
        for number, rule in enumerate(rules):
            lines += field_lines(label if number == 0 else "", rule, look)
    connections = f"{grouped(listener.connections_active)} of at most {grouped(listener.max_connections)}"
    handshakes = f"{grouped(listener.handshakes_active)} of at most {grouped(listener.max_handshakes)}"
    lines += field_lines("connections", SafeText(connections), look)
    lines += field_lines("handshakes", SafeText(handshakes), look)
    return lines


def _upstream(upstream: Upstream, look: Look) -> SafeText:
    words = [upstream.address, "up" if upstream.healthy else "DOWN"]
    if upstream.active or upstream.idle:
        words.append(f"{grouped(upstream.active)} in use, {grouped(upstream.idle)} kept")
    if upstream.failures:
        words.append(counted(upstream.failures, "failure"))
    if upstream.ejected_until is not None and upstream.ejected_until > look.now:
        words.append(f"ejected for {age(look.now, upstream.ejected_until)}")
    if upstream.last_error:
        words.append(f"last error: {upstream.last_error}")
    return SafeText(", ".join(words))


def _counters(listener: Listener, look: Look) -> list[Line]:
    lines = [heading("Since start")]
    lines += field_lines("connections", grouped(listener.connections_total), look)
    handshakes = f"{grouped(listener.handshakes_total)}, {grouped(listener.handshakes_failed)} failed"
    lines += field_lines("handshakes", SafeText(handshakes), look)
    times = f"half within {latency(listener.handshake_p50_s)}, 99 % within {latency(listener.handshake_p99_s)}"
    lines += field_lines("handshake time", SafeText(times), look)
    lines += field_lines("refused", grouped(listener.refusals_total), look)
    lines += field_lines("bytes in", grouped(listener.bytes_in), look)
    lines += field_lines("bytes out", grouped(listener.bytes_out), look)
    if listener.protocol == "http":
        lines += field_lines("requests", _by_name(listener.requests), look)
    lines += field_lines("upstream errors", _by_name(listener.upstream_errors), look)
    return lines


def _by_name(counts: Mapping[SafeText, int]) -> SafeText:
    return SafeText(", ".join(f"{grouped(number)} {name}" for name, number in counts.items()) or "none")
