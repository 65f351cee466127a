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
    gathered: int = 0  # the sequence number under which the rest is told
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
        place = _place_of(log, known.gathered, event.kind) if known.gathered else None
        if place is None:
            known.gathered = event.seq
            log.append(_gathered(event, known, event.seq))
        else:
            log[place] = _gathered(event, known, known.gathered)


def _place_of(log: deque[Event], seq: int, kind: str) -> int | None:
    """Where it is; None where it is long past."""
    for place in range(len(log) - 1, max(-1, len(log) - _LOOKED_BACK), -1):
        if log[place].seq == seq and log[place].kind == kind:
            return place
    return None


def _gathered(newest: Event, known: _Second, seq: int) -> Event:
    more = known.count - TOLD_EACH
    named = [f"{safe_text(name, 32)} {count}" for name, count in known.listeners.most_common(_LISTENERS_NAMED) if name]
    where = f": {', '.join(named)}" if named else ""
    fields: Json = {"seq": seq, "more": more, "newest": newest.told[1]}
    return replace(newest, seq=seq, summary=SafeText(f"{more:,} more in this second{where}"), raw=fields)
