"""``tlsidecar reload | rotate | drain | undrain | shutdown | log-level | wait``: steer a running sidecar."""

from __future__ import annotations

import time
from collections.abc import Mapping

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.certificates import Attempt, AttemptReply
from tlsidecar.api.connections import ConnectionsEnded
from tlsidecar.api.decode import decoded
from tlsidecar.api.errors import Refused, Unreachable
from tlsidecar.api.replies import Drained, LogLevel, Stopping, Undrained
from tlsidecar.api.text import SafeText
from tlsidecar.api.words import LOG_LEVELS, DrainEnd, Outcome
from tlsidecar.cli.context import (
    EXIT_FAILED,
    EXIT_REFUSED,
    CommandFailed,
    Seconds,
    call,
    echo_json,
    expect_option,
    json_option,
    socket_option,
)
from tlsidecar.cli.text import duration, safe_text, say

# A call answers when it is done: a renewal may wait for an issuer, a drain for the slowest connection.
RENEWAL_S = 120.0
LONGEST_DRAIN_S = 86_400.0
POLL_S = 0.05


@click.command()
@socket_option
@json_option
def reload(client: AdminClient, as_json: bool) -> None:
    """Have the sidecar read its configuration and its material again; returns when that is done. Exit code 4 when the
    configuration could not be applied."""
    _attempt(client, "/v1/reload", as_json)


@click.command()
@click.option("--identity", metavar="NAME", help="Of several identities this one.  [default: all]")
@socket_option
@json_option
def rotate(client: AdminClient, identity: str | None, as_json: bool) -> None:
    """Have the sidecar's own source renew now (a file source reads again); returns when that is done."""
    _attempt(client, "/v1/rotate", as_json, None if identity is None else {"identity": identity})


def _attempt(client: AdminClient, target: str, as_json: bool, body: Mapping[str, object] | None = None) -> None:
    try:
        document = call(client, "POST", target, body, as_json, RENEWAL_S)
    except Refused as error:
        if not as_json and "attempts" in error.body:
            _show_attempts(decoded(AttemptReply[SafeText], error.body))  # of several, others may have been applied
        raise
    reply = decoded(AttemptReply[SafeText], document)
    if as_json:
        echo_json(document)
    else:
        _show_attempts(reply)
    attempt = reply.attempt
    changes = ", ".join(attempt.configuration_changes)
    if attempt.configuration not in ("", "applied"):
        raise CommandFailed(f"configuration changed: {attempt.configuration}: {changes}", EXIT_REFUSED)
    if attempt.configuration and not as_json:
        say(f"configuration applied: {changes}")


def _show_attempts(reply: AttemptReply[SafeText]) -> None:
    attempts = reply.attempts or (reply.attempt,)
    for attempt in attempts:
        if len(attempts) == 1 and attempt.outcome == Outcome.REFUSED.value:
            continue  # the error says so
        _show_attempt(attempt, f"{attempt.identity}: " if len(attempts) > 1 else "")


def _show_attempt(attempt: Attempt[SafeText], whose: str) -> None:
    if attempt.outcome == Outcome.REFUSED.value:
        say(f"{whose}refused: {attempt.reason}: {attempt.detail}")
        return
    was = f" (was {attempt.previous_serial})" if attempt.previous_serial not in ("", attempt.serial) else ""
    say(
        f"{whose}{attempt.outcome}: generation {attempt.generation}, serial {attempt.serial}{was}, "
        f"{attempt.duration_s * 1000:.0f} ms"
    )
    for warning in attempt.warnings:
        say(f"{whose}warning: {warning}", err=True)


@click.command()
@click.option("--timeout", type=Seconds(), help="How long connections may take.  [default: drain_timeout]")
@click.option(
    "--old-generations",
    is_flag=True,
    help="Only connections accepted with older material than is in use: they end after their exchange, others go on, "
    "and so does accepting.",
)
@expect_option
@socket_option
@json_option
def drain(
    client: AdminClient, timeout: float | None, old_generations: bool, expected: int | None, as_json: bool
) -> None:
    """Stop accepting and let connections finish; the process lives on. Exit code 1 when some had to be cut, or with
    --old-generations when some have not ended in time."""
    body: dict[str, object] = {} if timeout is None else {"timeout_s": timeout}
    if expected is not None:
        body["expected"] = expected
    if old_generations:
        _drain_generations(client, body, as_json)
        return
    document = call(client, "POST", "/v1/drain", body, as_json, LONGEST_DRAIN_S)
    drained = decoded(Drained[SafeText], document)
    if as_json:
        echo_json(document)
    else:
        forced = f", {drained.forced} of them cut" if drained.forced else ""
        say(f"{drained.outcome}: {drained.closed} closed{forced} in {duration(drained.duration_s)}")
    if drained.outcome == DrainEnd.FORCED.value:
        click.get_current_context().exit(EXIT_FAILED)


def _drain_generations(client: AdminClient, body: Mapping[str, object], as_json: bool) -> None:
    document = call(client, "POST", "/v1/drain-generations", body, as_json, LONGEST_DRAIN_S)
    reply = decoded(ConnectionsEnded[SafeText], document)
    if as_json:
        echo_json(document)
    else:
        left = f", {reply.left} have not ended yet" if reply.left else ""
        say(f"{reply.ended} connections of older generations told to end{left}")
    if reply.left:
        click.get_current_context().exit(EXIT_FAILED)


@click.command()
@socket_option
@json_option
def undrain(client: AdminClient, as_json: bool) -> None:
    """Accept new connections again, after a drain is over. Exit code 4 when that cannot be: the drain is still under
    way, an address is taken by now, or the sockets are the service manager's."""
    document = call(client, "POST", "/v1/undrain", None, as_json)
    if as_json:
        echo_json(document)
    else:
        say(decoded(Undrained[SafeText], document).outcome)


@click.command()
@click.option("--wait", "until_ended", is_flag=True, help="Return when nobody answers any more.")
@socket_option
@json_option
def shutdown(client: AdminClient, until_ended: bool, as_json: bool) -> None:
    """Drain, then end the process."""
    document = call(client, "POST", "/v1/shutdown", None, as_json)
    while until_ended:
        try:
            client.request("GET", "/healthz")
        except Unreachable:
            break
        time.sleep(POLL_S)
    if as_json:
        echo_json(document)
    else:
        say("ended" if until_ended else decoded(Stopping[SafeText], document).outcome)


@click.command("log-level")
@click.argument("level", metavar="LEVEL", type=click.Choice(LOG_LEVELS))
@socket_option
@json_option
def log_level(client: AdminClient, level: str, as_json: bool) -> None:
    """Change the level of the process log until the process ends: debug, info, warning or error."""
    document = call(client, "PUT", "/v1/log-level", {"level": level}, as_json)
    if as_json:
        echo_json(document)
    else:
        reply = decoded(LogLevel[SafeText], document)
        say(f"{reply.level} (was {reply.previous})")


@click.command()
@click.option("--timeout", type=Seconds(), default="30s", show_default=True, help="How long to wait.")
@socket_option
@json_option
def wait(client: AdminClient, timeout: float, as_json: bool) -> None:
    """Block until the sidecar is ready. Exit code 1 when it is not in time, 3 when nobody ever answered."""
    began = time.monotonic()
    while True:
        ready, obstacle, reached = _is_ready(client, max(0.1, timeout - (time.monotonic() - began)))
        waited_s = time.monotonic() - began
        if ready:
            break
        if waited_s + POLL_S > timeout:
            if as_json:
                echo_json({"ready": False, "waited_s": round(waited_s, 3), "reason": obstacle})
            if not reached:
                raise Unreachable(safe_text(obstacle))
            raise CommandFailed(f"not ready after {duration(waited_s)}: {obstacle}", EXIT_FAILED)
        time.sleep(POLL_S)
    if as_json:
        echo_json({"ready": True, "waited_s": round(waited_s, 3), "reason": ""})
    else:
        say(f"ready after {duration(waited_s)}")


def _is_ready(client: AdminClient, answer_s: float) -> tuple[bool, str, bool]:
    """Whether it is, what is in the way, and whether anybody answered."""
    try:
        reply = client.request("GET", "/readyz", answer_s=answer_s)
    except Unreachable as error:
        return False, str(error), False
    return reply.status == 200, "; ".join(reply.body.decode("utf-8", "replace").split("\n")[:-1]), True
