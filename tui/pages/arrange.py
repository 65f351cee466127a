"""Filtering and sorting of what is held here. (Connections are filtered and sorted by the sidecar.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from tui.records import Event, Refusal
from tui.text import SafeText

_EARLIEST = datetime.min.replace(tzinfo=UTC)


class RefusalSort(StrEnum):
    AT = "at"
    WHO = "who"
    REASON = "reason"
    LISTENER = "listener"
    STAGE = "stage"
    PEER = "peer"


_REFUSAL_KEYS: dict[RefusalSort, Callable[[Refusal], tuple[str, float] | tuple[datetime, int]]] = {
    RefusalSort.AT: lambda refusal: (refusal.at or _EARLIEST, refusal.seq),
    RefusalSort.WHO: lambda refusal: (refusal.who, refusal.seq),
    RefusalSort.REASON: lambda refusal: (refusal.reason, refusal.seq),
    RefusalSort.LISTENER: lambda refusal: (refusal.listener, refusal.seq),
    RefusalSort.STAGE: lambda refusal: (refusal.stage, refusal.seq),
    RefusalSort.PEER: lambda refusal: (refusal.peer_address, refusal.seq),
}


def matches(texts: Sequence[str], wanted: str) -> bool:
    """Whether every word of ``wanted`` is in one of ``texts``, letter case aside."""
    words = wanted.casefold().split()
    if not words:
        return True
    everything = "\n".join(texts).casefold()
    return all(word in everything for word in words)


def arranged_refusals(
    refusals: Sequence[Refusal], wanted: str, sort: RefusalSort, descending: bool
) -> Sequence[Refusal]:
    kept = [refusal for refusal in refusals if matches(_refusal_texts(refusal), wanted)]
    return sorted(kept, key=_REFUSAL_KEYS[sort], reverse=descending)


def _refusal_texts(refusal: Refusal) -> tuple[SafeText, ...]:
    return (
        refusal.listener,
        refusal.peer_address,
        refusal.side,
        refusal.stage,
        refusal.reason,
        refusal.sentence,
        refusal.detail,
        refusal.identity,
        refusal.subject,
        refusal.issuer,
        refusal.serial,
        refusal.rule,
        refusal.target,
        refusal.request_id,
    )


def arranged_events(events: Sequence[Event], wanted: str) -> Sequence[Event]:
    """The oldest first, as a log reads."""
    return [event for event in events if matches((event.kind, event.summary), wanted)] if wanted else events
