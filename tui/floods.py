"""Events that come in floods, told as one: of each kind the first few of a second, and how many more there were."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace

from tui.records import Event, Json
from tui.text import SafeText, safe_text

TOLD_EACH = 5
"""Events of one kind in one second that are told each by itself."""

_LISTENERS_NAMED = 3
_LOOKED_BACK = 200


@dataclass(slots=True)
class _Second:
    """What came of one kind in one second."""

    second: int
    count: int = 0
    gathered: Event | None = None  # what tells the rest
    listeners: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Floods:
    """Puts events into a log."""

    _seconds: dict[str, _Second] = field(default_factory=dict)

    def add(self, log: deque[Event], event: Event) -> None:
        if event.at is None:
            log.append(event)
            return
        second = int(event.at.timestamp())
        known = self._seconds.get(event.kind)
        if known is None or known.second != second:
            known = self._seconds[event.kind] = _Second(second)
        known.count += 1
        if known.count <= TOLD_EACH:
            log.append(event)
            return
        listener = event.listener
        if len(known.listeners) < _LOOKED_BACK or listener in known.listeners:
            known.listeners[listener] += 1
        before = known.gathered
        place = None if before is None else _place_of(log, before)
        if before is None or place is None:
            known.gathered = _gathered(event, known, event)
            log.append(known.gathered)
        else:
            log[place] = known.gathered = _gathered(event, known, before)


def _place_of(log: deque[Event], event: Event) -> int | None:
    """Where it is; None where it is long past."""
    for place in range(len(log) - 1, max(-1, len(log) - _LOOKED_BACK), -1):
        if log[place] is event:
            return place
    return None


def _gathered(newest: Event, known: _Second, first: Event) -> Event:
    """What tells of all that came since ``first``, by whose numbers it is known."""
    more = known.count - TOLD_EACH
    named = [f"{safe_text(name, 32)} {count}" for name, count in known.listeners.most_common(_LISTENERS_NAMED) if name]
    where = f": {', '.join(named)}" if named else ""
    fields: Json = {"seq": first.seq, "more": more, "newest": newest.told[1]}
    words = SafeText(f"{more:,} more in this second{where}")
    return replace(newest, seq=first.seq, number=first.number, summary=words, raw=fields)
