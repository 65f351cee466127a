"""The sandbox as the daemon holds it: with a broker that stands outside of it, or not at all."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from unit.control.world import SETTINGS

from certs import safe_files
from certs.errors import MaterialError
from certs.safe_files import Secrecy, read_file
from tlsidecar.config import Recipe
from tlsidecar.sandbox import confined as module
from tlsidecar.sandbox import landlock
from tlsidecar.sandbox.broker import Broker
from tlsidecar.sandbox.confined import Confined, confined
from tlsidecar.sandbox.level import Level, SandboxError
from tlsidecar.settings import Settings

RECIPE = Recipe(None, {}, {})
HOLDS = Level("auto", 7, covers=("files", "tcp_ports"))


class Started:
    """A broker without its process, as far as it is held here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.number = 0
        monkeypatch.setattr(landlock, "abi", lambda: 7)
        monkeypatch.setattr(Broker, "start", self.start)

    def start(self, _settings: Settings, _recipe: Recipe) -> Broker:
        self.number += 1
        return Broker(self.ours)

    @property
    def is_closed(self) -> bool:
        return self.ours.fileno() == -1


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    started = Started(monkeypatch)
    yield started
    for end in (started.ours, started.theirs):
        end.close()


def entering(outcome: Level | Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of what would hold this process for good."""

    def enter(_settings: Settings) -> Level:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(module, "enter", enter)


def test_switched_off_nothing_is_started_and_all_is_done_by_ourselves(started: Started) -> None:
    held = confined(replace(SETTINGS, sandbox="off"), RECIPE)
    assert (held.level.holds, held.run, held.connector, held.descriptor) == (False, None, None, -1)
    assert started.number == 0
    held.close()


def test_what_it_may_not_do_the_broker_is_asked_for_until_the_end(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    entering(HOLDS, monkeypatch)
    held = confined(SETTINGS, RECIPE)
    assert held.level is HOLDS
    assert (held.run, held.connector, held.descriptor) != (None, None, -1)
    assert held.descriptor == started.ours.fileno()
    assert repr(held) == "<Confined Landlock ABI 7: files, tcp ports>"
    held.close()
    assert started.is_closed
    assert safe_files._opener is None


@pytest.mark.parametrize("outcome", [SandboxError("cannot"), OSError(12, "no memory"), Level("auto", reason="no")])
def test_a_sandbox_that_is_not_entered_leaves_no_broker(
    started: Started, monkeypatch: pytest.MonkeyPatch, outcome: Level | Exception
) -> None:
    entering(outcome, monkeypatch)
    if isinstance(outcome, Exception):
        with pytest.raises(type(outcome)):
            confined(SETTINGS, RECIPE)
    else:
        held = confined(SETTINGS, RECIPE)
        assert (held.level, held.descriptor) == (outcome, -1)
    assert (started.number, started.is_closed) == (1, True)
    assert safe_files._opener is None


def test_files_that_are_denied_are_opened_by_the_broker_and_no_others(
    started: Started, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What we may read we read: a broker that has ended costs only what it alone could open."""
    entering(HOLDS, monkeypatch)
    held = confined(SETTINGS, RECIPE)
    started.theirs.close()
    (tmp_path / "tls.crt").write_text("a")
    assert read_file(tmp_path / "tls.crt", Secrecy.PUBLIC) == b"a"
    with pytest.raises(MaterialError):
        read_file(tmp_path / "none", Secrecy.PUBLIC)
    held.close()


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (HOLDS, ["sandboxed"]),
        (Level("auto", reason="this kernel has no Landlock"), ["there is no sandbox: this kernel has no Landlock"]),
        (Level("off", reason="it is switched off"), []),
    ],
)
def test_how_much_holds_is_said_once_there_is_a_log(
    level: Level, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        Confined(level).log()
    assert [record.getMessage() for record in caplog.records] == said
