"""The sidecars that are watched: what the targets mean, kept up with while that changes (pods come and go, sockets
appear in a directory)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tlsidecar.api.errors import Unreachable
from tui.client import AdminClient
from tui.clock import Clock
from tui.monitor import Monitor
from tui.reach.endpoints import Endpoint, NoEndpoint
from tui.reach.sources import OneEndpoint, Source
from tui.text import SafeText

_NOT_LISTED = SafeText("not listed yet")


@dataclass(slots=True)
class _Entry:
    """A target and who it means now. ``placeholder`` stands for it while it means nobody, or cannot be listed."""

    source: Source
    placeholder: Monitor
    known: dict[str, Monitor] = field(default_factory=dict)  # by the endpoint's name
    is_troubled: bool = True

    @property
    def monitors(self) -> list[Monitor]:
        return [*self.known.values(), *([self.placeholder] if self.is_troubled else [])]


class Roster:
    """All monitors, in the order of the targets; there is always one at least."""

    def __init__(self, sources: Sequence[Source], read_only: bool, clock: Clock, randomness: random.Random) -> None:
        assert sources
        self._read_only = read_only
        self._clock = clock
        self._randomness = randomness
        self.is_fleet = len(sources) > 1 or any(source.interval_s is not None for source in sources)
        self._entries = [self._entry(source) for source in sources]
        self.shown = self.monitors[0]  # the one that is looked at: it is the same again when it comes back

    @property
    def monitors(self) -> list[Monitor]:
        """Each sidecar once, however many targets mean it."""
        by_name = {monitor.name: monitor for entry in reversed(self._entries) for monitor in reversed(entry.monitors)}
        return list(by_name.values())[::-1]

    @property
    def watched(self) -> list[Monitor]:
        """The same; the one shown stays among them, even if no target means it any more."""
        listed = self.monitors
        return listed if self.shown in listed else [*listed, self.shown]

    async def fill(self) -> None:
        """List everything that has to be listed, once."""
        async with asyncio.TaskGroup() as group:
            for entry in self._entries:
                if entry.source.interval_s is not None:
                    group.create_task(self._list(entry))

    async def follow(self, changed: Callable[[], None]) -> None:
        """List again and again, for ever where there is something to list; ``changed`` is called when others are
        meant than before."""
        async with asyncio.TaskGroup() as group:
            for entry in self._entries:
                if entry.source.interval_s is not None:
                    group.create_task(self._follow(entry, entry.source.interval_s, changed))

    async def close(self) -> None:
        """Close every connection."""
        for monitor in self.watched:
            await monitor.client.close()

    async def _follow(self, entry: _Entry, interval_s: float, changed: Callable[[], None]) -> None:
        while True:
            if await self._list(entry):
                changed()
            await asyncio.sleep(interval_s)

    async def _list(self, entry: _Entry) -> bool:
        """Ask the source. Whom it meant before stays while it cannot tell. Whether that changed anything."""
        before = [*entry.known, entry.is_troubled]
        try:
            endpoints = await entry.source.endpoints()
        except Unreachable as error:
            entry.is_troubled = True
            entry.placeholder.client.endpoint = _no_endpoint(entry.source, error.message)
            entry.placeholder.wake()
        else:
            entry.is_troubled = False
            before_by_name = {self.shown.name: self.shown, **entry.known}
            entry.known = {each.name: before_by_name.get(each.name) or self._monitor(each) for each in endpoints}
        return before != [*entry.known, entry.is_troubled]

    def _entry(self, source: Source) -> _Entry:
        placeholder = self._monitor(_no_endpoint(source, _NOT_LISTED))
        if isinstance(source, OneEndpoint):
            known = {str(source.endpoint.name): self._monitor(source.endpoint)}
            return _Entry(source, placeholder, known, is_troubled=False)
        return _Entry(source, placeholder)

    def _monitor(self, endpoint: Endpoint) -> Monitor:
        client = AdminClient(endpoint, self._read_only)
        return Monitor(client, self._clock, self._randomness, is_alone=not self.is_fleet)


def _no_endpoint(source: Source, reason: SafeText) -> NoEndpoint:
    return NoEndpoint(source.name, source.name, reason)
