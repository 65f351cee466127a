"""Text for a terminal: hostile text made inert, tables, amounts, times."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from tlsidecar.api.text import SafeText
from tlsidecar.api.text import safe_text as shown

CELL_CHARACTERS = 80
LINE_CHARACTERS = 64 * 1024
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def safe_text(value: object, limit: int = LINE_CHARACTERS) -> SafeText:
    """As :func:`tlsidecar.api.text.safe_text`, for whole lines."""
    return shown(value, limit)


def say(line: object, *, err: bool = False) -> None:
    """One line on stdout, or beside the data on stderr, whatever is in it."""
    click.echo(safe_text(line), err=err)


def say_lines(text: str, *, err: bool = False) -> None:
    """Several lines, each as :func:`say` has it."""
    for line in text.split("\n"):
        say(line, err=err)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], numbers: frozenset[str] = frozenset()) -> str:
    """Aligned columns, two spaces apart; the columns named in ``numbers`` are aligned to the right."""
    cells = [[safe_text(cell, CELL_CHARACTERS) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    lines = []
    for row in (headings, *cells):
        padded = [
            cell.rjust(width) if heading in numbers else cell.ljust(width)
            for heading, cell, width in zip(headings, row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def fields_line(fields: Mapping[str, object]) -> SafeText:
    """One line of ``name=value``, what is empty left out."""
    words = (f"{name}={_word(value)}" for name, value in fields.items() if value not in ("", None))
    return safe_text(" ".join(words))


def _word(value: object) -> str:
    """Quoted when it has a space, so that no value can pass for the field after it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text) if any(character in text for character in ' "=') else text


def size(count: Any) -> str:
    """Bytes in the largest unit that leaves at least 1: ``1.5 MiB``."""
    amount = float(count)
    for unit in _UNITS[:-1]:
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} {_UNITS[-1]}"


def duration(seconds: Any) -> str:
    """The two largest units: ``2d 3h``, ``4m 10s``; below a minute with decimals: ``0.25s``."""
    total_s = float(seconds)
    if total_s < 0:
        return f"-{duration(-total_s)}"
    if total_s < 60:
        return f"{total_s:.3g}s"
    minutes, second = divmod(int(total_s), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour}h"
    return f"{hours}h {minute}m" if hours else f"{minutes}m {second}s"


def remaining(until: datetime | None, now: datetime | None) -> str:
    """From one time to another: ``in 4h 3m``, ``2m 1s ago``; a dash when either is missing."""
    if until is None or now is None:
        return "-"
    seconds = (until - now).total_seconds()
    return f"in {duration(seconds)}" if seconds >= 0 else f"{duration(-seconds)} ago"


def time_text(at: datetime | None) -> str:
    """A time to the second, in UTC, or a dash."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else "-"
