"""Reading the admin API's JSON: whatever is missing, of another type or out of range becomes a default, and every
text goes through :func:`tui.text.safe_text`. A newer or broken sidecar may so show less; it cannot break the UI.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from tui.text import CELL_LIMIT, EMPTY, SafeText, safe_text

Json: TypeAlias = Mapping[str, object]

_NOTHING: Json = {}
_LARGEST_INTEGER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Fields:
    """One JSON object, read by field name."""

    raw: Json

    def text(self, name: str, limit: int = CELL_LIMIT) -> SafeText:
        value = self.raw.get(name)
        return EMPTY if value is None else safe_text(value, limit)

    def plain(self, name: str) -> str:
        """The text as it came, for comparing or sending back; never for showing."""
        value = self.raw.get(name)
        return value if isinstance(value, str) else ""

    def integer(self, name: str) -> int:
        return _integer(self.raw.get(name))

    def number(self, name: str) -> float:
        value = self.raw.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return 0.0
        if isinstance(value, int):
            return float(_integer(value))
        return value if math.isfinite(value) else 0.0

    def flag(self, name: str) -> bool:
        return self.raw.get(name) is True

    def moment(self, name: str) -> datetime | None:
        """An RFC 3339 time in UTC; None when it is null, malformed or without an offset."""
        value = self.raw.get(name)
        if not isinstance(value, str):
            return None
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            return None
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            return None

    def object(self, name: str) -> Fields:
        value = self.raw.get(name)
        return Fields(value if isinstance(value, Mapping) else _NOTHING)

    def objects(self, name: str) -> Iterator[Fields]:
        value = self.raw.get(name)
        if isinstance(value, list):
            yield from (Fields(item) for item in value if isinstance(item, Mapping))

    def texts(self, name: str) -> tuple[SafeText, ...]:
        value = self.raw.get(name)
        return tuple(safe_text(item) for item in value) if isinstance(value, list) else ()

    def counts(self, name: str) -> dict[SafeText, int]:
        """An object of counters, by name."""
        return {safe_text(key): _integer(value) for key, value in self.object(name).raw.items()}


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    if isinstance(value, float) and not math.isfinite(value):
        return 0
    return max(-_LARGEST_INTEGER, min(_LARGEST_INTEGER, int(value)))
