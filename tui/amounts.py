"""Durations, sizes, rates and times in words of a fixed width, so that columns do not move while numbers do."""

from __future__ import annotations

from datetime import datetime

from tui.text import SafeText

COUNTDOWN_WIDTH = 8
"""Cells of a countdown: ``06d 04h``, ``04h 12m``, ``12m 30s``, each with room for a sign."""

SIZE_WIDTH = 6

UNKNOWN = SafeText("-")

_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400
_YEAR_S = 365 * _DAY_S
_LARGEST_DURATION_S = 9999 * _YEAR_S


def seconds_between(earlier: datetime, later: datetime) -> float:
    """Negative where ``later`` is earlier."""
    return (later - earlier).total_seconds()


def countdown(seconds: float) -> SafeText:
    """What is left until a moment, in :data:`COUNTDOWN_WIDTH` cells; with a minus sign once it has passed."""
    text = ("-" if seconds < 0 else "") + _two_units(abs(seconds))
    if len(text) > COUNTDOWN_WIDTH:
        text = text.split()[0]
    return SafeText(text.rjust(COUNTDOWN_WIDTH))


def until(moment: datetime | None, now: datetime) -> SafeText:
    """The countdown to ``moment``; a dash when it is not known."""
    return SafeText(UNKNOWN.rjust(COUNTDOWN_WIDTH)) if moment is None else countdown(seconds_between(now, moment))


def duration(seconds: float) -> SafeText:
    """How long something took, lasts or lasted: ``12s``, ``4m 10s``, ``2h 05m``. Never negative."""
    whole = int(min(max(seconds, 0), _LARGEST_DURATION_S))
    if whole < _MINUTE_S:
        return SafeText(f"{whole}s")
    return SafeText(_two_units(whole).lstrip("0"))


def roughly(seconds: float) -> SafeText:
    """A duration by its larger unit only: ``7h``."""
    return SafeText(duration(seconds).split()[0])


def age(moment: datetime | None, now: datetime) -> SafeText:
    """How long ago ``moment`` was."""
    return UNKNOWN if moment is None else duration(seconds_between(moment, now))


def _two_units(seconds: float) -> str:
    whole = int(min(seconds, _LARGEST_DURATION_S))
    if whole >= 1000 * _DAY_S:
        return f"{whole // _YEAR_S}y {whole % _YEAR_S // _DAY_S:03d}d"
    if whole >= _DAY_S:
        return f"{whole // _DAY_S:02d}d {whole % _DAY_S // _HOUR_S:02d}h"
    if whole >= _HOUR_S:
        return f"{whole // _HOUR_S:02d}h {whole % _HOUR_S // _MINUTE_S:02d}m"
    return f"{whole // _MINUTE_S:02d}m {whole % _MINUTE_S:02d}s"


def utc(moment: datetime | None) -> SafeText:
    """``2026-11-29 23:15:00Z``."""
    return UNKNOWN if moment is None else SafeText(f"{moment:%Y-%m-%d %H:%M:%S}Z")


def clock_time(moment: datetime | None) -> SafeText:
    """``23:15:00Z``."""
    return UNKNOWN if moment is None else SafeText(f"{moment:%H:%M:%S}Z")


def count(number: float) -> SafeText:
    """A count in at most five cells: ``999``, ``9999``, ``10.0k``, ``1.2M``."""
    if abs(number) < 10_000:
        return SafeText(f"{number:.0f}")
    return SafeText(_scaled(number, 1000, ("k", "M", "G", "T", "P", "E")))


def grouped(number: int) -> SafeText:
    """A count in full: ``12,345``."""
    return SafeText(f"{number:,}")


def counted(number: int, thing: str) -> SafeText:
    """``1 connection``, ``12,345 connections``."""
    return SafeText(f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s")


def size(octets: float) -> SafeText:
    """Bytes in at most six cells, in powers of 1024: ``999``, ``1.2K``, ``10.0M``."""
    if abs(octets) < 1000:
        return SafeText(f"{octets:.0f}")
    return SafeText(_scaled(octets, 1024, ("K", "M", "G", "T", "P", "E")))


def _scaled(number: float, step: int, units: tuple[str, ...]) -> str:
    for unit in units:
        number /= step
        if abs(number) < 999.5 or unit == units[-1]:
            return f"{number:.1f}{unit}" if abs(number) < 99.95 else f"{number:.0f}{unit}"
    raise AssertionError("no units")


def per_minute(rate: float | None) -> SafeText:
    """A rate a minute; a dash while it is not known."""
    if rate is None:
        return UNKNOWN
    return SafeText(f"{rate:.1f}") if rate < 99.95 else count(rate)


def octets(number: float | None) -> SafeText:
    """A size under a label that has the unit; a dash while it is not known."""
    return UNKNOWN if number is None else size(number)


def byte_rate(rate: float | None) -> SafeText:
    """With its unit: ``980 B/s``, ``1.2 KiB/s``; a dash while it is not known."""
    if rate is None:
        return UNKNOWN
    number = size(rate)
    return SafeText(f"{number} B/s" if number[-1].isdecimal() else f"{number[:-1]} {number[-1]}iB/s")


def latency(seconds: float | None) -> SafeText:
    """``0.8ms``, ``12ms``, ``1.2s``; a dash for none measured."""
    if seconds is None or seconds <= 0:
        return UNKNOWN
    if seconds < 0.00995:
        return SafeText(f"{seconds * 1000:.1f}ms")
    if seconds < 0.9995:
        return SafeText(f"{seconds * 1000:.0f}ms")
    return SafeText(f"{min(seconds, 9999):.1f}s")


def sparkline(values: tuple[float, ...], width: int, bars: str) -> SafeText:
    """The last ``width`` values as bars, the highest one full; nothing there yet is the lowest bar."""
    shown = values[-width:]
    top = max(shown, default=0.0)
    steps = len(bars) - 1
    drawn = [bars[0 if value <= 0 or top <= 0 else max(1, round(value / top * steps))] for value in shown]
    return SafeText(bars[0] * (width - len(drawn)) + "".join(drawn))
