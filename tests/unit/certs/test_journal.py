"""The CA's journal: what a crash tore is left out, and nothing is given out that could not be written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from certs.errors import AuthorityError
from certs.journal import Journal, parse_time, second_text, time_text

AT = datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append("issue", AT, serial="0a", names=["ü"])
    journal.append("revoke", AT + timedelta(days=1), serial="0a")
    assert list(journal.entries()) == [
        {"at": "2030-01-02T03:04:05.678Z", "event": "issue", "serial": "0a", "names": ["ü"]},
        {"at": "2030-01-03T03:04:05.678Z", "event": "revoke", "serial": "0a"},
    ]
    assert journal.last_time() == AT + timedelta(days=1)
    assert all(json.loads(line) for line in journal.path.read_text().splitlines())


def test_the_newest_time_is_not_that_of_the_last_line(tmp_path: Path) -> None:
    """A clock was set back meanwhile."""
    journal = Journal(tmp_path / "journal")
    journal.append("issue", AT)
    journal.append("issue", AT - timedelta(days=30))
    assert journal.last_time() == AT


@pytest.mark.parametrize(
    "line", [b'{"at":"2030', b"[]", b'{"event":"issue"}', b'{"at":1,"event":"issue"}', b"\xff", b""]
)
def test_a_line_that_was_torn_is_left_out(tmp_path: Path, line: bytes) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append("issue", AT, serial="0a")
    with journal.path.open("ab") as file:
        file.write(line + b"\n")
    journal.append("issue", AT, serial="0b")
    assert [entry["serial"] for entry in journal.entries()] == ["0a", "0b"]


def test_one_that_is_not_there_is_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert (list(journal.entries()), journal.last_time()) == ([], None)


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AuthorityError, match="cannot be written: No such file"):
        Journal(tmp_path / "missing" / "journal").append("issue", AT)


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(AuthorityError, match="cannot be read: Is a directory"):
        list(Journal(tmp_path / "journal").entries())


def test_times_there_and_back() -> None:
    local = AT.astimezone(timezone(timedelta(hours=-3)))
    assert (time_text(local), second_text(local)) == ("2030-01-02T03:04:05.678Z", "2030-01-02T03:04:05Z")
    assert parse_time(time_text(AT)) == AT
    assert parse_time("soon") is None
    assert parse_time(None) is None
