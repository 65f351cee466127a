"""Durations as people write them: ``90s``, ``5m``, ``24h``, ``7d``, ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta

MAX_DURATION = timedelta(days=36500)  # so that adding one to a date stays a date

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PART = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Raises :class:`ValueError`, whose text says how to write one."""
    total_s = 0
    position = 0
    text = text.strip()
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            break
        total_s += int(part[1]) * _UNITS_S[part[2]]
        position = part.end()
    if not text or position < len(text) or total_s <= 0:
        raise ValueError(f'{text!a} is not a duration: write "90s", "5m", "24h" or "7d"')
    if total_s > MAX_DURATION.total_seconds():
        raise ValueError(f"{text!a} is too long: a hundred years is the most")
    return timedelta(seconds=total_s)


def duration_text(duration: timedelta) -> str:
    """The two largest units that are not zero: ``2d 3h``, ``5m 10s``, ``0s``; negative with a minus."""
    total_s = int(duration.total_seconds())
    sign = "-" if total_s < 0 else ""
    total_s = abs(total_s)
    parts = []
    for unit in "dhms":
        count, total_s = divmod(total_s, _UNITS_S[unit])
        if count:
            parts.append(f"{count}{unit}")
    return sign + (" ".join(parts[:2]) or "0s")
