"""``tlsidecar reload | rotate | drain | shutdown | log-level | wait``: steer a running sidecar."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from tlsidecar.admin.client import AdminClient
from tlsidecar.api.errors import Refused, Unreachable
from tlsidecar.cli.context import (
    EXIT_FAILED,
    EXIT_REFUSED,
    Failure,
    Seconds,
    call,
    echo_json,
    expect_option,
    json_option,
    socket_option,
)
from tlsidecar.cli.text import duration, safe_text

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
            _tell_of_attempts(error.body)  # one was refused; the others may have been applied
        raise
    if as_json:
        echo_json(document)
    else:
        _tell_of_attempts(document)
    attempt = document["attempt"]
    if attempt.get("configuration") == "applied" and not as_json:
        click.echo(safe_text(f"configuration applied: {', '.join(attempt['configuration_changes'])}"))
    elif attempt.get("configuration") not in ("applied", "", None):
        changes = ", ".join(attempt["configuration_changes"])
        raise Failure(f"configuration changed: {attempt['configuration']}: {changes}", EXIT_REFUSED)


def _tell_of_attempts(document: Mapping[str, Any]) -> None:
    attempts = document.get("attempts") or [document["attempt"]]
    for attempt in attempts:
        if len(attempts) == 1 and attempt["outcome"] == "refused":
            continue  # which the error says
        _tell_of_attempt(attempt, f"{attempt['identity']}: " if len(attempts) > 1 else "")


def _tell_of_attempt(attempt: Mapping[str, Any], whose: str) -> None:
    if attempt["outcome"] == "refused":
        click.echo(safe_text(f"{whose}refused: {attempt['reason']}: {attempt['detail']}"))
        return
    was = f" (was {attempt['previous_serial']})" if attempt["previous_serial"] not in ("", attempt["serial"]) else ""
    click.echo(
        safe_text(
            f"{whose}{attempt['outcome']}: generation {attempt['generation']}, serial {attempt['serial']}{was}, "
            f"{attempt['duration_s'] * 1000:.0f} ms"
        )
    )
    for warning in attempt["warnings"]:
        click.echo(safe_text(f"{whose}warning: {warning}"), err=True)


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
    if as_json:
        echo_json(document)
    else:
        forced = f", {document['forced']} of them cut" if document["forced"] else ""
        click.echo(f"{document['outcome']}: {document['closed']} closed{forced} in {duration(document['duration_s'])}")
    if document["outcome"] == "forced":
        click.get_current_context().exit(EXIT_FAILED)


def _drain_generations(client: AdminClient, body: Mapping[str, object], as_json: bool) -> None:
    document = call(client, "POST", "/v1/drain-generations", body, as_json, LONGEST_DRAIN_S)
    if as_json:
        echo_json(document)
    else:
        left = f", {document['left']} have not ended yet" if document["left"] else ""
        click.echo(f"{document['ended']} of older generations told to end{left}")
    if document["left"]:
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
        click.echo(document["outcome"])


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
        click.echo("ended" if until_ended else document["outcome"])


@click.command("log-level")
@click.argument("level", metavar="LEVEL", type=click.Choice(["debug", "info", "warning", "error"]))
@socket_option
@json_option
def log_level(client: AdminClient, level: str, as_json: bool) -> None:
    """Change the level of the process log until the process ends: debug, info, warning or error."""
    document = call(client, "PUT", "/v1/log-level", {"level": level}, as_json)
    if as_json:
        echo_json(document)
    else:
        click.echo(safe_text(f"{document['level']} (was {document['previous']})"))


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
            raise Failure(f"not ready after {duration(waited_s)}: {obstacle}", EXIT_FAILED)
        time.sleep(POLL_S)
    if as_json:
        echo_json({"ready": True, "waited_s": round(waited_s, 3), "reason": ""})
    else:
        click.echo(f"ready after {duration(waited_s)}")


def _is_ready(client: AdminClient, answer_s: float) -> tuple[bool, str, bool]:
    """Whether it is, what is in the way, and whether anybody answered."""
    try:
        reply = client.request("GET", "/readyz", answer_s=answer_s)
    except Unreachable as error:
        return False, str(error), False
    return reply.status == 200, "; ".join(reply.body.decode("utf-8", "replace").split("\n")[:-1]), True
