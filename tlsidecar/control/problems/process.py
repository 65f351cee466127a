"""Problems of the process itself: its workers, its configuration, its clock, its log, its own defects."""

from __future__ import annotations

from collections.abc import Iterator

from certs.journal import second_text
from tlsidecar.control.interface import Severity
from tlsidecar.control.problems.facts import Facts, Found

LOOP_LAG_LIMIT_S = 0.5


def workers(facts: Facts) -> Iterator[Found]:
    """Workers that end again and again, and those that are late with everything."""
    for number, (message, since) in facts.workers_failing.items():
        yield Found(Severity.CRITICAL, "worker_failing", f"worker {number} {message}", since, f"worker {number}")
    for snapshot in facts.snapshots:
        if snapshot.loop_lag_s > LOOP_LAG_LIMIT_S:
            message = f"worker {snapshot.worker} is {snapshot.loop_lag_s:.1f} s behind its work"
            yield Found(Severity.WARNING, "worker_lag", message, facts.now, f"worker {snapshot.worker}")


def configuration(facts: Facts) -> Iterator[Found]:
    """The file on disk is not what runs: nobody reloaded it, it would be refused, or it needs a restart."""
    state = facts.configuration
    if state is None:
        return
    if state.error:
        message = f"the configuration on disk would be refused: {state.error}"
        yield Found(Severity.WARNING, "configuration_invalid", message, state.since, state.file)
    else:
        message = f"the configuration on disk is not the one in force: {', '.join(state.changes)}"
        if state.restart:
            message += f"; a restart is needed for {', '.join(state.restart)}"
        yield Found(Severity.WARNING, "configuration_changed", message, state.since, state.file)


def clock(facts: Facts) -> Iterator[Found]:
    """Every lifetime is judged by the wall clock, so a jump of it is said."""
    if facts.clock_jump is not None:
        at, seconds = facts.clock_jump
        message = f"the wall clock jumped by {seconds:+.0f} s: is the machine's time right?"
        yield Found(Severity.NOTICE, "clock_jumped", message, at)


def log(facts: Facts) -> Iterator[Found]:
    """Lines that were dropped because whoever reads them was too slow, or the disk full."""
    if facts.dropped_log_lines:
        message = f"{facts.dropped_log_lines} log lines could not be written"
        yield Found(Severity.WARNING, "log_lines_dropped", message, facts.now)


def draining(facts: Facts) -> Iterator[Found]:
    """No fault, but whoever looks has to know."""
    if facts.draining_since is not None:
        yield Found(Severity.NOTICE, "draining", "no new connections are accepted", facts.draining_since)


def denied(facts: Facts) -> Iterator[Found]:
    """Identities kept out by hand: a forgotten one is a riddle later."""
    for denial in facts.denied:
        assert denial.until is not None, "who keeps somebody out knows until when"
        message = f"{denial.identity} is kept out until {second_text(denial.until)}, by {denial.by}"
        yield Found(Severity.WARNING, "identity_denied", message, denial.since or facts.now, denial.identity)


def defects(facts: Facts) -> Iterator[Found]:
    """Errors of our own that a guard has caught."""
    for name, defect in facts.defects.items():
        times = "" if defect.count == 1 else f", {defect.count} times"
        message = f"a defect in the sidecar ({name}{times}): {defect.error}"
        yield Found(Severity.WARNING, "internal_error", message, defect.since, name)
