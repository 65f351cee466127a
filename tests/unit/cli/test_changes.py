"""What a reload and a rotation say: of one identity, of several, and of a configuration beside the material."""

from __future__ import annotations

from typing import Any

import click
import pytest

from tlsidecar.api.certificates import AttemptReply
from tlsidecar.api.decode import decoded
from tlsidecar.api.errors import Refused
from tlsidecar.api.text import SafeText
from tlsidecar.cli import changes
from tlsidecar.cli.context import EXIT_REFUSED, CommandFailed

APPLIED = {"outcome": "applied", "identity": "web", "generation": 4, "serial": "0b", "previous_serial": "0a"}
REFUSED = {"outcome": "refused", "identity": "mesh", "reason": "key_mismatch", "detail": "tls.key\x1b[31m"}


class Client:
    """Answers one call as it was told."""

    def __init__(self, reply: dict[str, Any] | Refused) -> None:
        self.reply = reply

    def call(self, method: str, target: str, body: object, *, answer_s: float) -> dict[str, Any]:
        if isinstance(self.reply, Refused):
            raise self.reply
        return self.reply


def attempt(reply: dict[str, Any] | Refused, *, as_json: bool = False) -> None:
    with click.Context(click.Command("reload"), info_name="reload"):
        changes._attempt(Client(reply), "/v1/reload", as_json)  # type: ignore[arg-type] - the one call of it that is made


def reply_of(*attempts: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"outcome": "applied", "attempt": attempts[0] | more, "attempts": [attempts[0] | more, *attempts[1:]]}


def test_one_identity_goes_without_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    attempt(reply_of(APPLIED, duration_s=0.0125, warnings=["the leaf has no SAN"]))
    out, err = capsys.readouterr()
    assert out == "applied: generation 4, serial 0b (was 0a), 12 ms\n"
    assert err == "warning: the leaf has no SAN\n"


def test_the_serial_before_is_said_where_it_was_another(capsys: pytest.CaptureFixture[str]) -> None:
    attempt(reply_of(APPLIED, previous_serial="0b"))
    attempt(reply_of(APPLIED, previous_serial=""))
    assert capsys.readouterr().out == "applied: generation 4, serial 0b, 0 ms\n" * 2


def test_of_several_each_is_named_also_beside_one_that_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"error": {}, "outcome": "refused", "attempt": REFUSED, "attempts": [APPLIED, REFUSED]}
    with pytest.raises(Refused):
        attempt(Refused(SafeText("identity mesh: key_mismatch"), 409, "refused", document))
    assert capsys.readouterr().out == (
        "web: applied: generation 4, serial 0b (was 0a), 0 ms\nmesh: refused: key_mismatch: tls.key\\x1b[31m\n"
    )


def test_one_that_was_refused_is_the_errors_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"error": {}, "outcome": "refused", "attempt": REFUSED, "attempts": [REFUSED]}
    with pytest.raises(Refused):
        attempt(Refused(SafeText("key_mismatch"), 409, "refused", document))
    assert capsys.readouterr().out == ""


def test_a_refusal_of_something_else_tells_of_no_attempt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refused):
        attempt(Refused(SafeText("too many changes at once"), 429, "rate_limited", {"error": {}}))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("configuration", "said"),
    [("applied", "configuration applied: listener[web].allow, log.level\n"), ("", "")],
)
def test_a_configuration_that_was_applied_is_said(
    capsys: pytest.CaptureFixture[str], configuration: str, said: str
) -> None:
    keys = ["listener[web].allow", "log.level"] if configuration else []
    attempt(reply_of(APPLIED, configuration=configuration, configuration_changes=keys))
    assert capsys.readouterr().out.partition("\n")[2] == said


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("configuration", ["not applied", "invalid", "a word of a newer sidecar"])
def test_a_configuration_that_is_not_in_force_is_exit_code_4(configuration: str, as_json: bool) -> None:
    with pytest.raises(CommandFailed, match=f"configuration changed: {configuration}: workers") as raised:
        attempt(reply_of(APPLIED, configuration=configuration, configuration_changes=["workers"]), as_json=as_json)
    assert raised.value.exit_code == EXIT_REFUSED


def test_an_older_sidecar_tells_of_the_one_attempt_alone(capsys: pytest.CaptureFixture[str]) -> None:
    changes._show_attempts(decoded(AttemptReply[SafeText], {"attempt": {"outcome": "unchanged", "serial": "0a"}}))
    assert capsys.readouterr().out == "unchanged: generation 0, serial 0a, 0 ms\n"
