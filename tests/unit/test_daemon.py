"""What the daemon makes of a start that fails, and of material that is not there yet. Its whole life is in
tests/scenarios."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from unit.control.world import SETTINGS

from certs.errors import AuthorityError
from tlsidecar import daemon
from tlsidecar.activation import Handed
from tlsidecar.admin.binding import AdminSocketError, AdminSocketTaken
from tlsidecar.config import Recipe
from tlsidecar.control.controller import StartError
from tlsidecar.daemon import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_OK, MATERIAL_POLL_S, Start
from tlsidecar.dataplane.bind import BindError
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.event_loop import EventLoopMissing
from tlsidecar.handover import HandoverError
from tlsidecar.observe.tracing import TracingUnavailableError
from tlsidecar.sandbox.confined import Confined
from tlsidecar.sandbox.level import Level
from tlsidecar.service_manager import ServiceManager
from tlsidecar.settings import Log, Settings
from tlsidecar.workers.handle import SupervisorError

RECIPE = Recipe(None, {}, {})
UNCONFINED = Confined(Level("off", reason="it is switched off"))


@dataclass
class Manager:
    """A service manager that listens, and what it has heard."""

    told: ServiceManager
    hears: socket.socket

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.hears.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture
def manager() -> Iterator[Manager]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    manager = Manager(ServiceManager(ours), theirs)
    yield manager
    manager.told.close()
    theirs.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(SETTINGS, log=Log(file=tmp_path / "log"))


def logged(settings: Settings, manager: ServiceManager) -> int:
    return daemon._logged(settings, RECIPE, Start(manager, Handed()), UNCONFINED)


def errors_in(file: Path) -> list[str]:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line["message"] for line in lines if line["level"] == "error"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BindError("listener web: cannot listen on 127.0.0.1:8443: Address already in use"), EXIT_FAILED),
        (AdminSocketTaken("/run/admin.sock: another sidecar answers there"), EXIT_FAILED),
        (SupervisorError("the workers do not start: see the log"), EXIT_FAILED),
        (HandoverError("the running one does not hand over"), EXIT_FAILED),
        (StartError("a file is not there: tls.crt (missing_file)"), EXIT_BAD_INPUT),
        (EventLoopMissing("uvloop is not installed"), EXIT_BAD_INPUT),
        (AdminSocketError("/run/admin.sock: its directory belongs to somebody else"), EXIT_BAD_INPUT),
        (AuthorityError("pki: no such directory"), EXIT_BAD_INPUT),
        (TracingUnavailableError("OpenTelemetry is not installed"), EXIT_BAD_INPUT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_keeps_it_from_starting_is_an_exit_code_and_one_line(
    error: Exception, code: int, settings: Settings, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 for what may be otherwise in a moment, 2 for what somebody has to put right; nothing is kept open."""

    async def serve(*_: object) -> int:
        raise error

    monkeypatch.setattr(daemon, "_serve", serve)
    assert logged(settings, manager.told) == code
    assert settings.log.file is not None
    assert errors_in(settings.log.file) == [f"cannot start: {error}"]
    assert not manager.told.listens
    assert logging.getLogger("tlsidecar").handlers == []


def test_an_end_as_wanted_is_no_error(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(*_: object) -> int:
        return EXIT_OK

    monkeypatch.setattr(daemon, "_serve", serve)
    assert logged(settings, ServiceManager()) == EXIT_OK
    assert settings.log.file is not None
    assert errors_in(settings.log.file) == []


def test_a_log_that_cannot_be_opened_is_said_where_somebody_looks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "absent" / "log"
    assert logged(replace(SETTINGS, log=Log(file=file)), ServiceManager()) == EXIT_BAD_INPUT
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("tlsidecar: ")
    assert str(file) in err


def test_a_manager_that_cannot_be_told_is_complained_of_in_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(*_: object) -> int:
        return EXIT_OK

    monkeypatch.setattr(daemon, "_serve", serve)
    lost = ServiceManager()
    lost.complaint = "NOTIFY_SOCKET '/nobody': No such file or directory"
    assert logged(settings, lost) == EXIT_OK
    assert settings.log.file is not None
    assert f"the service manager is not told how we are: {lost.complaint}" in settings.log.file.read_text()


@pytest.mark.parametrize(
    ("named", "error", "says"),
    [
        ("admin.sock", AdminSocketTaken("taken"), True),
        ("other.sock", AdminSocketTaken("taken"), False),
        ("", AdminSocketTaken("taken"), False),
        ("admin.sock", AdminSocketError("not ours"), False),
    ],
)
def test_a_variable_that_goes_before_the_file_is_named_where_it_is_in_the_way(
    named: str, error: Exception, says: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLSIDECAR_ADMIN_SOCKET", named)
    said = daemon._whose_socket(error, SETTINGS)
    assert ("$TLSIDECAR_ADMIN_SOCKET names it" in said) is says
    assert bool(said) is says


@dataclass
class Material:
    """Stands in for a controller: what there is to begin with, one attempt after the other."""

    outcomes: list[str]
    attempts: list[float] = field(default_factory=list)

    async def first_material(self) -> Sequence[Contexts]:
        self.attempts.append(asyncio.get_running_loop().time())
        obstacle = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if obstacle:
            raise StartError(obstacle)
        return []


async def first(material: Material, patience_s: float, manager: ServiceManager) -> Sequence[Contexts]:
    return await daemon._first_material(material, patience_s, manager)  # type: ignore[arg-type] - as much as is asked


@pytest.mark.leaps
async def test_material_that_is_not_waited_for_is_asked_for_once(manager: Manager) -> None:
    material = Material(["no key"])
    with pytest.raises(StartError, match="no key"):
        await first(material, 0.0, manager.told)
    assert (len(material.attempts), manager.heard()) == (1, [])


@pytest.mark.leaps
async def test_material_is_waited_for_and_each_obstacle_is_said_once(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    """The service manager is asked for more time each time, or it would end us."""
    material = Material(["no file", "no file", "no key", "no key", ""])
    with caplog.at_level(logging.WARNING):
        assert await first(material, 60.0, manager.told) == []
    began = material.attempts[0]
    assert [at - began for at in material.attempts] == pytest.approx([MATERIAL_POLL_S * turn for turn in range(5)])
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for material: no file",
        "waiting for material: no key",
    ]
    heard = manager.heard()
    assert len(heard) == 4
    assert heard[-1] == "STATUS=waiting for material: no key\nEXTEND_TIMEOUT_USEC=10000000"


@pytest.mark.leaps
async def test_the_last_attempt_is_made_when_the_time_is_over(manager: Manager) -> None:
    material = Material(["no file"])
    with pytest.raises(StartError):
        await first(material, 1.2, manager.told)
    began = material.attempts[0]
    assert [at - began for at in material.attempts] == pytest.approx([0.0, 0.5, 1.0, 1.2])
