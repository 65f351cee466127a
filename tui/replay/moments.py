"""A moment of a recording, as it is written after ``--at``."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta

from tlsidecar.api.recording import Recording
from tlsidecar.api.times import moment
from tui.amounts import clock_time
from tui.text import safe_text

FORMS = "a time as 2026-11-28T18:30:00Z or 18:30[:05] (UTC), +90s after the beginning or -5m before the end"

_OFFSET = re.compile(r"([+-])(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?")
_CLOCK = re.compile(r"(\d{2}):(\d{2})(?::(\d{2}))?Z?")


def seconds_of(text: str, recording: Recording) -> float:
    """Seconds since the beginning of ``recording``. Raises ValueError: not such a form, or not within it."""
    t = _read(text, recording)
    if not recording.start_s <= t <= recording.end_s:
        first, last = (clock_time(recording.wall(each)) for each in (recording.start_s, recording.end_s))
        raise ValueError(f"{safe_text(text, 40)} is not in the recording, which is of {first} to {last}")
    return t


def _read(text: str, recording: Recording) -> float:
    if (found := _OFFSET.fullmatch(text)) and any(found.groups()[1:]):
        hours, minutes, seconds = (int(each or 0) for each in found.groups()[1:])
        offset_s = hours * 3600 + minutes * 60 + seconds
        return recording.start_s + offset_s if found[1] == "+" else recording.end_s - offset_s
    if found := _CLOCK.fullmatch(text):
        try:
            hour, minute, second = (int(each or 0) for each in found.groups())
            clock = time(hour, minute, second)
        except ValueError:
            raise _bad(text) from None
        return _next(clock, recording)
    at = moment(text)
    if at is None:
        raise _bad(text)
    return (at - recording.wall(0)).total_seconds()


def _next(clock: time, recording: Recording) -> float:
    """The first such time of day that is not before the beginning, within the second that it begins in."""
    began = recording.wall(recording.start_s)
    at = datetime.combine(began.date(), clock, began.tzinfo)
    if at < began.replace(microsecond=0):
        at += timedelta(days=1)
    return max(recording.start_s, (at - recording.wall(0)).total_seconds())


def _bad(text: str) -> ValueError:
    return ValueError(f"'{safe_text(text, 40)}' is no moment: {FORMS}")
