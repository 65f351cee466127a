"""Both logs of a process on one sink: moved together, and never lost to a file that cannot be opened."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import eventually
from unit.observe.test_access_log import CONNECTION

from tlsidecar.observe.log import open_sink
from tlsidecar.observe.logs import Logs
from tlsidecar.settings import Log

log = logging.getLogger("tlsidecar.test")


class Running:
    def __init__(self, settings: Log) -> None:
        self.sink = open_sink(settings)
        self.logs = Logs(settings, self.sink)

    def say(self, text: str) -> None:
        """In both logs; returns when it is written."""
        log.warning(text)
        self.logs.access.record(CONNECTION)
        eventually(lambda: ", 0 bytes waiting" in repr(self.sink), every_s=0.002)

    def end(self) -> None:
        self.logs.close()
        self.sink.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(Log(file=tmp_path / "one.log"))
    yield running
    running.end()
    for name in ("tlsidecar", "certs", "tlsidecar.audit"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def messages(path: Path) -> list[str]:
    """What each line says: the process log's message, or the listener of an access line."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line.get("message") or line["listener"] for line in lines]


def test_another_file_and_form_are_taken_up_by_both_and_the_level_stays(running: Running, tmp_path: Path) -> None:
    running.logs.process.set_level("error")
    running.say("unheard")
    running.logs.process.set_level("warning")
    running.say("first")
    running.logs.configure(Log(access="text", level="debug", file=tmp_path / "two.log"))
    running.say("second")
    log.info("the level was set by hand")
    running.end()
    assert messages(tmp_path / "one.log") == ["web", "first", "web"]
    told = (tmp_path / "two.log").read_text()
    assert len(told.splitlines()) == 2
    assert "second" in told


def test_a_file_that_cannot_be_opened_is_said_in_the_one_that_is(running: Running, tmp_path: Path) -> None:
    running.logs.configure(Log(file=tmp_path / "absent" / "two.log"))
    running.logs.configure(Log(file=tmp_path / "absent" / "two.log"))  # asked for again, for it may be there by now
    running.say("still here")
    (tmp_path / "absent").mkdir()
    running.logs.configure(Log(file=tmp_path / "absent" / "two.log"))
    running.say("there")
    running.end()
    first, second, *rest = messages(tmp_path / "one.log")
    assert first.startswith("the log goes on in the file that is open: ")
    assert second == first
    assert rest == ["still here", "web"]
    assert messages(tmp_path / "absent" / "two.log") == ["there", "web"]


def test_a_file_that_was_renamed_is_begun_anew(running: Running, tmp_path: Path) -> None:
    running.say("old")
    (tmp_path / "one.log").rename(tmp_path / "one.log.1")
    running.logs.reopen()
    running.say("new")
    running.end()
    assert messages(tmp_path / "one.log.1") == ["old", "web"]
    assert messages(tmp_path / "one.log") == ["new", "web"]
