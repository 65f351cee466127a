"""The process log and the audit trail."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from certs.clock import SYSTEM_CLOCK
from tlsidecar.observe.audit import AuditLog, Caller, first_broken_line
from tlsidecar.observe.log import ProcessLog, open_sink
from tlsidecar.observe.sink import LineSink
from tlsidecar.settings import Log

log = logging.getLogger("tlsidecar.test")


class Running:
    """A process log on a file, and its lines so far."""

    def __init__(self, path: Path, settings: Log) -> None:
        self._path = path
        self.sink = LineSink.file(path)
        self.process_log = ProcessLog(settings, self.sink)

    def lines(self) -> list[str]:
        self.process_log.close()
        self.sink.close()
        return self._path.read_text().splitlines()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    yield from _running(tmp_path, Log())


@pytest.fixture
def running_text(tmp_path: Path) -> Iterator[Running]:
    yield from _running(tmp_path, Log(access="text"))


def handle(record: logging.LogRecord) -> None:
    """Straight to our handler: pytest's own cannot take what ours must."""
    for handler in logging.getLogger().handlers:
        if type(handler).__module__ == ProcessLog.__module__:
            handler.handle(record)


def _running(tmp_path: Path, settings: Log) -> Iterator[Running]:
    running = Running(tmp_path / "log", settings)
    yield running
    running.process_log.close()
    for name in ("tlsidecar", "certs", "tlsidecar.audit"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_a_record_as_json_with_its_fields(running: Running) -> None:
    log.info("material applied: %s", "ok", extra={"fields": {"generation": 3, "serial": "0a"}})
    (line,) = map(json.loads, running.lines())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "tlsidecar.test",
        "message": "material applied: ok",
        "generation": 3,
        "serial": "0a",
    }


def test_a_record_as_text(running_text: Running) -> None:
    log.warning("reload refused", extra={"fields": {"reason": "key_mismatch", "detail": 'of "tls.key" \x1b[31m'}})
    (line,) = running_text.lines()
    assert line.partition(" ")[2] == (
        'WARNING tlsidecar.test: reload refused reason=key_mismatch detail="of \\"tls.key\\" \\u001b[31m"'
    )


def test_hostile_text_stays_on_its_line(running: Running) -> None:
    arguments = ("\r\n\x1b]0;owned\x07\u202e\udcff\x9b",)
    record = logging.LogRecord("tlsidecar.test", logging.ERROR, __file__, 1, "peer said %s", arguments, None)
    record.fields = {"who\n": ["\udc80\x7f"]}
    handle(record)
    (line,) = running.lines()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == "peer said \r\n\x1b]0;owned\x07\u202e\\xff\x9b"


def test_a_traceback_is_one_line_and_shows_no_locals(running: Running) -> None:
    secret = "-----BEGIN PRIVATE KEY-----"
    try:
        raise RuntimeError(f"{len(secret)} characters")
    except RuntimeError:
        log.exception("a defect")
    (line,) = running.lines()
    assert "RuntimeError: 27 characters" in json.loads(line)["traceback"]
    assert "BEGIN PRIVATE KEY-----\n" not in line


def test_a_record_that_cannot_be_formatted_does_not_fail_its_caller(running: Running) -> None:
    record = logging.LogRecord("tlsidecar.test", logging.INFO, __file__, 1, "%d", ("not a number",), None)
    handle(record)
    (line,) = running.lines()
    assert "could not be formatted" in json.loads(line)["message"]


def test_the_level_changes_at_run_time(running: Running) -> None:
    log.debug("unheard")
    running.process_log.set_level("debug")
    log.debug("heard")
    running.process_log.set_level("error")
    log.warning("unheard")
    assert [json.loads(line)["message"] for line in running.lines()] == ["heard"]


def test_an_unknown_level_is_refused(running: Running) -> None:
    with pytest.raises(ValueError, match="'loud': one of debug, info, warning, error"):
        running.process_log.set_level("loud")
    assert running.process_log.level == "info"


def test_the_sink_is_the_file_that_the_settings_name(tmp_path: Path) -> None:
    sink = open_sink(Log(file=tmp_path / "named"))
    sink.write("here")
    sink.close()
    assert (tmp_path / "named").read_text() == "here\n"


def test_an_audit_line_is_written_at_any_level_and_says_who(running: Running) -> None:
    running.process_log.set_level("error")
    audit = AuditLog(SYSTEM_CLOCK, running.sink)
    audit.record(Caller(1000, 100, 4711), "POST /v1/reload", "applied", generation_before=1, generation_after=2)
    (line,) = map(json.loads, running.lines())
    expected = {"logger": "tlsidecar.audit", "verb": "POST /v1/reload", "outcome": "applied", "uid": 1000, "gid": 100}
    expected |= {"pid": 4711, "generation_before": 1, "generation_after": 2, "seq": 1}
    assert {name: line[name] for name in expected} == expected


def test_tampering_with_the_audit_trail_shows(running: Running) -> None:
    audit = AuditLog(SYSTEM_CLOCK, running.sink)
    for outcome in ("applied", "denied", "refused", "applied"):
        audit.record(Caller(0, 0, 1), "POST /v1/reload", outcome)
    lines = running.lines()
    assert first_broken_line(lines) is None
    assert first_broken_line([lines[0], lines[1].replace("denied", "applied"), *lines[2:]]) == 1
    assert first_broken_line([*lines[:2], lines[3]]) == 2
    assert first_broken_line(lines[1:]) == 0


def test_an_audit_log_whose_sink_is_full_says_so() -> None:
    sink = LineSink(2)
    assert AuditLog(SYSTEM_CLOCK, sink).writable
    sink._lines = ["x"]
    sink._buffered = 4 * 1024 * 1024
    assert not AuditLog(SYSTEM_CLOCK, sink).writable
    assert AuditLog(SYSTEM_CLOCK).writable
    sink.close()
