"""Durations as people write them, on every command line and in every file: ``90s``, ``5m``, ``24h``, ``7d``, ``1h30m``,
``1.5h``, ``200ms``. A number without a unit is none: it would be seconds to one reader and hours to the next.
"""

from __future__ import annotations

import re
from datetime import timedelta

DURATION_PATTERN = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d))+$"
MAX_DURATION = timedelta(days=36500)  # so that adding one to a date stays a date

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9.]+)(ms|[smhd])", re.ASCII)
_BARE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_EXAMPLES = 'write for example "10s", "5m" or "24h"'


class InvalidDuration(ValueError):
    """``message`` says what it is not, ``suggestion`` how to write one."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(f"{message}: {suggestion}" if suggestion else message)
        self.message = message
        self.suggestion = suggestion


def parse_seconds(text: str) -> float:
    """Seconds, zero too.

    Raises :class:`InvalidDuration`.
    """
    if re.fullmatch(DURATION_PATTERN, text, re.ASCII):
        return sum(float(amount) * _UNITS_S[unit] for amount, unit in _PART.findall(text))
    if _BARE.fullmatch(text):
        raise InvalidDuration(f"{text!a} has no unit", f'write "{text}s" if seconds are meant')
    raise InvalidDuration(f"{text!a} is not a duration", _EXAMPLES)


def parse_duration(text: str) -> timedelta:
    """The same, above zero, and with space around it.

    Raises :class:`InvalidDuration`.
    """
    seconds = parse_seconds(text.strip())
    if seconds > MAX_DURATION.total_seconds():
        raise InvalidDuration(f"{text[:40]!a} is too long", "a hundred years is the most")
    if not seconds:
        raise InvalidDuration(f"{text!a} is not longer than zero", _EXAMPLES)
    return timedelta(seconds=seconds)


def duration_text(duration: timedelta) -> str:
    """The two largest units that are not zero: ``2d 3h``, ``5m 10s``, ``0s``; negative with a minus."""
    total_s = int(duration.total_seconds())
    sign = "-" if total_s < 0 else ""
    total_s = abs(total_s)
    parts = []
    for unit in "dhms":
        count, total_s = divmod(total_s, int(_UNITS_S[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return sign + (" ".join(parts[:2]) or "0s")
