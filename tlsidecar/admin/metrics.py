"""The metrics, as Prometheus reads them: text exposition format 0.0.4.

Written here and not by prometheus_client: importing it stops the event loop for 80 ms, keeps 3 MB and loads a second
OpenSSL, for a format of four rules. Its parser reads every line back in the tests.

No label has a peer's identity in it: there is no bound on those.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence

from certs.identity import serial_text
from tlsidecar import __version__
from tlsidecar.control.interface import Control, IdentityState, State
from tlsidecar.dataplane.snapshot import Histogram, ListenerCounters, WorkerSnapshot, merge_listeners

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

Labels = Sequence[tuple[str, object]]


async def exposition(control: Control) -> str:
    """Every metric of the process and its workers, at this moment."""
    snapshots = await control.snapshots()
    text = _Exposition()
    _process_state(text, control)
    _material(text, control)
    _reloads(text, control)
    _listeners(text, merge_listeners(snapshots))
    _upstreams(text, snapshots)
    _workers(text, snapshots)
    _process(text, "process_", ((), os.getpid()))
    return text.finish()


class _Exposition:
    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, help_text: str) -> None:
        self._lines.append(f"# HELP {name} {help_text}\n# TYPE {name} {kind}")

    def sample(self, name: str, value: float, labels: Labels = ()) -> None:
        self._lines.append(f"{name}{_labels(labels)} {_number(value)}")

    def gauge(self, name: str, help_text: str, value: float, labels: Labels = ()) -> None:
        self.family(name, "gauge", help_text)
        self.sample(name, value, labels)

    def histogram(self, name: str, histogram: Histogram, labels: Labels) -> None:
        seen = 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            seen += count
            self.sample(f"{name}_bucket", seen, (*labels, ("le", _number(bound))))
        self.sample(f"{name}_sum", histogram.total_s, labels)
        self.sample(f"{name}_count", seen, labels)

    def finish(self) -> str:
        return "\n".join(self._lines) + "\n"


def _process_state(text: _Exposition, control: Control) -> None:
    from cryptography.hazmat.backends.openssl import backend

    text.gauge(
        "tlsidecar_build_info",
        "Versions of what serves; the value is always 1.",
        1,
        (
            ("version", __version__),
            ("python", ".".join(map(str, sys.version_info[:3]))),
            ("openssl", backend.openssl_version_text()),
        ),
    )
    text.family("tlsidecar_state", "gauge", "1 for the state the process is in, 0 for the others.")
    for state in State:
        text.sample("tlsidecar_state", control.state is state, (("state", state.value),))
    text.gauge("tlsidecar_ready", "1 when material is valid, listeners bound, nothing drains.", control.is_ready())
    text.family("tlsidecar_problem", "gauge", "1 for each kind of problem that needs attention now.")
    for code in dict.fromkeys(problem.code for problem in control.problems()):
        text.sample("tlsidecar_problem", 1, (("code", code),))


def _material(text: _Exposition, control: Control) -> None:
    name = "tlsidecar_certificate_generation"
    text.family(name, "gauge", "The generation of the material in use; 0 before the first.")
    for state in control.identities:
        number = 0 if state.generation is None else state.generation.number
        text.sample(name, number, _whose(control, state))
    name = "tlsidecar_certificate_not_after_timestamp_seconds"
    text.family(name, "gauge", "When a certificate in use expires, in seconds since 1970.")
    for state in control.identities:
        if state.generation is None:
            continue
        material = state.generation.material
        by_role = [("leaf", (material.leaf,)), ("chain", material.chain), ("trust", material.trust)]
        by_role += [("trust", authorities) for authorities in material.federated.values()]
        expiry = {
            (role, certificate.serial_number): certificate.not_valid_after_utc
            for role, certificates in by_role
            for certificate in certificates
        }
        for (role, serial), not_after in expiry.items():
            labels = (*_whose(control, state), ("role", role), ("serial", serial_text(serial)))
            text.sample(name, not_after.timestamp(), labels)
    _revocation_lists(text, control)


def _whose(control: Control, state: IdentityState) -> Labels:
    """Which identity of ours a figure is of, where that has to be said."""
    return (("identity", state.name),) if control.settings.names_identities else ()


def _revocation_lists(text: _Exposition, control: Control) -> None:
    updates: dict[tuple[tuple[str, object], ...], float] = {}
    for state in control.identities:
        for crl in state.generation.material.crls if state.generation is not None else ():
            if crl.next_update_utc is not None:
                labels = (*_whose(control, state), ("issuer", crl.issuer.text))
                updates[labels] = min(updates.get(labels, float("inf")), crl.next_update_utc.timestamp())
    if updates:
        name = "tlsidecar_crl_next_update_timestamp_seconds"
        text.family(name, "gauge", "When a revocation list in use is due to be replaced, in seconds since 1970.")
        for labels, moment in updates.items():
            text.sample(name, moment, labels)


def _reloads(text: _Exposition, control: Control) -> None:
    text.family("tlsidecar_reloads_total", "counter", "Attempts to put new material to use.")
    for state in control.identities:
        for (outcome, reason), count in state.counts.by_outcome.items():
            labels = (*_whose(control, state), ("outcome", outcome), ("reason", reason))
            text.sample("tlsidecar_reloads_total", count, labels)
    succeeded = [state for state in control.identities if state.counts.last_success_at is not None]
    if succeeded:
        name = "tlsidecar_last_reload_success_timestamp_seconds"
        text.family(name, "gauge", "When material was last read and found good, in seconds since 1970.")
        for state in succeeded:
            text.sample(name, state.counts.last_success_at or 0.0, _whose(control, state))


def _listeners(text: _Exposition, listeners: Mapping[str, ListenerCounters]) -> None:
    def counter(name: str, help_text: str, samples: Iterable[tuple[Labels, int]]) -> None:
        text.family(name, "counter", help_text)
        for labels, value in samples:
            text.sample(name, value, labels)

    each = listeners.items()
    text.family("tlsidecar_connections_active", "gauge", "Connections open now, those in the handshake included.")
    for listener, counters in each:
        text.sample("tlsidecar_connections_active", counters.connections_active, (("listener", listener),))
    text.family("tlsidecar_http2_streams_active", "gauge", "HTTP/2 streams open now.")
    for listener, counters in each:
        text.sample("tlsidecar_http2_streams_active", counters.streams_active, (("listener", listener),))
    text.family("tlsidecar_handshakes_active", "gauge", "Handshakes under way now.")
    for listener, counters in each:
        text.sample("tlsidecar_handshakes_active", counters.handshakes_active, (("listener", listener),))
    counter(
        "tlsidecar_connections_total",
        "Connections by outcome: accepted, established, refused, failed, probe, and the reason each ended for.",
        (
            ((("listener", listener), ("outcome", outcome)), count)
            for listener, counters in each
            for outcome, count in counters.connections.items()
        ),
    )
    counter(
        "tlsidecar_handshakes_total",
        "TLS handshakes that ended, by outcome (ok, failed) and reason.",
        (
            ((("listener", listener), ("outcome", outcome), ("reason", reason)), count)
            for listener, counters in each
            for (outcome, reason), count in counters.handshakes.items()
        ),
    )
    _histograms(
        text,
        "tlsidecar_handshake_duration_seconds",
        "From accept (or connect) to the end of the handshake.",
        ((listener, counters.handshake_seconds) for listener, counters in each),
    )
    counter(
        "tlsidecar_bytes_total",
        "Payload relayed: in is from the TLS side to the plaintext side, out the other way.",
        (
            ((("listener", listener), ("direction", direction)), count)
            for listener, counters in each
            for direction, count in (("in", counters.bytes_in), ("out", counters.bytes_out))
        ),
    )
    counter(
        "tlsidecar_requests_total",
        "HTTP requests answered, by class of status code.",
        (
            ((("listener", listener), ("code", code)), count)
            for listener, counters in each
            for code, count in counters.requests.items()
        ),
    )
    counter(
        "tlsidecar_grpc_calls_total",
        "gRPC calls by the number of their status; none where they ended without one.",
        (
            ((("listener", listener), ("code", code)), count)
            for listener, counters in each
            for code, count in counters.grpc.items()
        ),
    )
    _histograms(
        text,
        "tlsidecar_http_exchange_duration_seconds",
        "From the last byte of a request's head to the last byte of its response.",
        ((listener, counters.exchange_seconds) for listener, counters in each if counters.requests),
    )
    counter(
        "tlsidecar_refusals_total",
        "Connections and requests turned away, by stage and reason.",
        (
            ((("listener", listener), ("stage", stage), ("reason", reason)), count)
            for listener, counters in each
            for (stage, reason), count in counters.refusals.items()
        ),
    )
    counter(
        "tlsidecar_failures_total",
        "Connections and requests that could not be served, by reason.",
        (
            ((("listener", listener), ("reason", reason)), count)
            for listener, counters in each
            for reason, count in counters.failures.items()
        ),
    )
    counter(
        "tlsidecar_dropped_headers_total",
        "Header fields of requests that did not go on, for an underscore in their names.",
        (((("listener", listener),), counters.dropped_headers) for listener, counters in each),
    )
    counter(
        "tlsidecar_upstream_errors_total",
        "Failures of the upstream, by reason: addresses tried in vain, and what failed at one that was reached.",
        (
            ((("listener", listener), ("reason", reason)), count)
            for listener, counters in each
            for reason, count in counters.upstream_errors.items()
        ),
    )


def _histograms(text: _Exposition, name: str, help_text: str, each: Iterable[tuple[str, Histogram]]) -> None:
    text.family(name, "histogram", help_text)
    for listener, histogram in each:
        text.histogram(name, histogram, (("listener", listener),))


def _upstreams(text: _Exposition, snapshots: Sequence[WorkerSnapshot]) -> None:
    name = "tlsidecar_upstream_healthy"
    text.family(name, "gauge", "1 when every worker holds the upstream address for healthy.")
    healthy: dict[tuple[str, str], bool] = {}
    for snapshot in snapshots:
        for listener in snapshot.listeners:
            for upstream in listener.upstreams:
                key = (listener.name, upstream.address)
                healthy[key] = healthy.get(key, True) and upstream.healthy
    for (listener_name, address), state in healthy.items():
        text.sample(name, state, (("listener", listener_name), ("upstream", address)))
    checks: dict[tuple[str, str, str], int] = {}
    for snapshot in snapshots:
        for listener in snapshot.listeners:
            for upstream in listener.upstreams:
                if upstream.checks_total:
                    passed = upstream.checks_total - upstream.checks_failed
                    for outcome, count in (("passed", passed), ("failed", upstream.checks_failed)):
                        check = (listener.name, upstream.address, outcome)
                        checks[check] = checks.get(check, 0) + count
    if checks:
        name = "tlsidecar_upstream_checks_total"
        text.family(name, "counter", "Active health checks of an upstream address, by outcome.")
        for (listener_name, address, outcome), count in checks.items():
            text.sample(name, count, (("listener", listener_name), ("upstream", address), ("outcome", outcome)))


def _workers(text: _Exposition, snapshots: Sequence[WorkerSnapshot]) -> None:
    text.family("tlsidecar_loop_lag_seconds", "gauge", "How late a worker's event loop last was.")
    for snapshot in snapshots:
        text.sample("tlsidecar_loop_lag_seconds", snapshot.loop_lag_s, (("worker", snapshot.worker),))
    text.family("tlsidecar_worker_restarts_total", "counter", "How often a worker's process was replaced.")
    for snapshot in snapshots:
        text.sample("tlsidecar_worker_restarts_total", snapshot.restarts, (("worker", snapshot.worker),))
    text.family("tlsidecar_log_lines_dropped_total", "counter", "Log lines that could not be written.")
    text.sample("tlsidecar_log_lines_dropped_total", sum(snapshot.log_lines_dropped for snapshot in snapshots))
    others = [((("worker", each.worker),), each.pid) for each in snapshots if each.pid != os.getpid()]
    if others:
        _process(text, "tlsidecar_worker_", *others)


def _process(text: _Exposition, prefix: str, *each: tuple[Labels, int]) -> None:
    """The names and meanings of Prometheus's client library guidelines ("Process metrics")."""
    figures = [(labels, _process_figures(pid)) for labels, pid in each]
    for name, kind, help_text in _PROCESS_FAMILIES:
        values = [(labels, figure[name]) for labels, figure in figures if name in figure]
        if values:
            text.family(prefix + name, kind, help_text)
            for labels, value in values:
                text.sample(prefix + name, value, labels)


_PROCESS_FAMILIES = (
    ("cpu_seconds_total", "counter", "User and system CPU time, in seconds."),
    ("resident_memory_bytes", "gauge", "Resident memory, in bytes."),
    ("virtual_memory_bytes", "gauge", "Virtual memory, in bytes."),
    ("start_time_seconds", "gauge", "When the process started, in seconds since 1970."),
    ("open_fds", "gauge", "Open file descriptors."),
    ("max_fds", "gauge", "The limit on open file descriptors."),
)


def _process_figures(pid: int) -> dict[str, float]:
    """What proc(5) tells of a process of ours; what it will not tell is left out."""
    figures: dict[str, float] = {}
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
        figures["cpu_seconds_total"] = (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
        figures["virtual_memory_bytes"] = int(fields[20])
        figures["resident_memory_bytes"] = int(fields[21]) * _PAGE_BYTES
        figures["start_time_seconds"] = _boot_time_s() + int(fields[19]) / _TICKS_A_SECOND
        figures["open_fds"] = len(os.listdir(f"/proc/{pid}/fd"))
        with open(f"/proc/{pid}/limits", encoding="utf-8") as file:
            limit = next(line for line in file if line.startswith("Max open files"))
        figures["max_fds"] = float(limit.split()[3].replace("unlimited", "inf"))
    except (OSError, ValueError, IndexError, StopIteration):
        pass  # no /proc, or the process has just ended
    return figures


def _boot_time_s() -> float:
    with open("/proc/stat", "rb") as file:
        for line in file:
            if line.startswith(b"btime "):
                return float(line.split()[1])
    raise ValueError("no btime in /proc/stat")


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels) + "}"


def _escaped(text: str) -> str:
    if "\\" in text or '"' in text or "\n" in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text.encode("utf-8", "backslashreplace").decode()


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
