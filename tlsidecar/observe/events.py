"""What happened, numbered: a ring of the newest events, and readers that each walk it at their own pace.

A reader holds a place in the ring and no queue of its own. So publishing costs the same with nobody listening and
with slow listeners, nobody is ever waited for, and memory has one bound: what a reader was too slow for has left the
ring, and it is told which numbers those were.

Everything here runs on one event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import NamedTuple, Protocol

from certs.clock import Clock
from tlsidecar.lazy_dataclass import dataclass

HISTORY_EVENTS = 2048

STATE = "state"
RELOAD = "reload"
REFUSAL = "refusal"
FAILURE = "failure"
PROBLEM = "problem"
OPENED = "opened"
CLOSED = "closed"
DRAIN = "drain"
UPSTREAM = "upstream"
WORKER = "worker"
DENIAL = "denial"
LOST = "lost"


class Described(Protocol):
    """Something that happened, which is made into fields only when somebody reads of it."""

    def fields(self) -> Mapping[str, object]:
        """What the event tells, by name."""
        ...


class Event(NamedTuple):
    """One thing that happened. ``sequence`` counts from 1 in each process, without gaps."""

    sequence: int
    at: datetime
    kind: str
    content: Mapping[str, object] | Described

    @property
    def fields(self) -> Mapping[str, object]:
        """What it tells, by name."""
        content = self.content
        return content if isinstance(content, Mapping) else content.fields()


class EventHub:
    """Numbers events and keeps the newest ``history`` of them."""

    def __init__(self, clock: Clock, history: int = HISTORY_EVENTS) -> None:
        self._now = clock.now
        self._ring: deque[Event] = deque(maxlen=history)
        self._sequence = 0
        self._sleepers: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        return f"<EventHub {self._sequence} published, {len(self._ring)} kept, {len(self._sleepers)} waiting>"

    @property
    def sequence(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._sequence

    def publish(self, kind: str, content: Mapping[str, object] | Described) -> None:
        """Append one event. ``content`` belongs to the hub from here on: nobody may change it any more."""
        self._sequence = sequence = self._sequence + 1
        self._ring.append(Event(sequence, self._now(), kind, content))
        if self._sleepers:
            self._wake()

    def subscribe(self, after: int | None = None) -> Subscription:
        """Read on from the event numbered ``after``; ``None`` is from now on, 0 from the oldest that is kept."""
        return Subscription(self, self._sequence if after is None else after)

    def since(self, after: int, limit: int) -> list[Event]:
        """At most ``limit`` kept events numbered above ``after``, oldest first.

        When some of what was asked for is no longer kept, the first is a ``lost`` event with the numbers ``from`` and
        ``to``. A number from the future can only be from an earlier process: then ``restarted`` stands in it as well
        and everything kept follows.
        """
        oldest = self._sequence - len(self._ring) + 1
        events: list[Event] = []
        if after > self._sequence:
            events.append(Event(oldest - 1, self._now(), LOST, {"from": 0, "to": oldest - 1, "restarted": True}))
            after = oldest - 1
        elif after + 1 < oldest:
            events.append(Event(oldest - 1, self._now(), LOST, {"from": after + 1, "to": oldest - 1}))
            after = oldest - 1
        skipped = after - oldest + 1
        events.extend(islice(self._ring, skipped, skipped + limit - len(events)))
        return events

    async def changed(self, after: int) -> None:
        """Return when there is something above ``after``, or when ``after`` is from another process."""
        while self._sequence == after:
            sleeper = asyncio.get_running_loop().create_future()
            self._sleepers.add(sleeper)
            try:
                await sleeper
            finally:
                self._sleepers.discard(sleeper)

    def _wake(self) -> None:
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
        self._sleepers.clear()


@dataclass(slots=True)
class Subscription:
    """One reader's place in the ring."""

    _hub: EventHub
    _after: int

    @property
    def position(self) -> int:
        """The number of the last event read, or of the one this reading resumed after."""
        return self._after

    async def batch(self, limit: int = 256) -> list[Event]:
        """Everything new, at least one event and at most ``limit``; waits while there is none."""
        await self._hub.changed(self._after)
        events = self._hub.since(self._after, limit)
        self._after = events[-1].sequence
        return events
