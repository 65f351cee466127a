"""The CA's journal: one JSON object a line, on the disk before what it records leaves the CA. Append-only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from certs.durable import append_line
from certs.errors import AuthorityError

Entry = dict[str, Any]


class Journal:
    """Written and read under the CA directory's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, at: datetime, **details: object) -> None:
        """Raises :class:`AuthorityError` when the line cannot be made durable; then nothing may be given out."""
        entry = {"at": time_text(at), "event": event, **details}
        try:
            append_line(self.path, json.dumps(entry, separators=(",", ":")).encode())
        except OSError as error:
            raise AuthorityError(f"the journal {self.path} cannot be written: {error.strerror}") from None

    def entries(self) -> Iterator[Entry]:
        """Every entry, oldest first. A line torn by a crash told of something that was never given out: left out."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            raise AuthorityError(f"the journal {self.path} cannot be read: {error.strerror}") from None
        for line in lines:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict) and isinstance(entry.get("event"), str) and isinstance(entry.get("at"), str):
                yield entry

    def last_time(self) -> datetime | None:
        """When the newest entry was written, by the clock of then."""
        newest = None
        for entry in self.entries():
            moment = parse_time(entry["at"])
            if moment is not None and (newest is None or moment > newest):
                newest = moment
        return newest


def time_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def second_text(moment: datetime) -> str:
    """RFC 3339 in UTC to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def parse_time(text: object) -> datetime | None:
    """The reverse of :func:`time_text`, or ``None`` for anything else."""
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except (ValueError, OverflowError):  # a year below 1 or above 9999, once it is UTC
        return None
