"""Whom an operator keeps out for a time: asked for by hand, in memory, over by itself. A restart ends all of it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TypeAlias

from certs.clock import Clock
from certs.identity import Identity
from tlsidecar.api import denials
from tlsidecar.api.denials import MOST_DENIALS
from tlsidecar.dataplane.denials import Denial, Denials
from tlsidecar.observe import events
from tlsidecar.observe.events import EventHub

Denied: TypeAlias = denials.Denial[str]

_log = logging.getLogger("tlsidecar.control.denials")


class TooManyDenials(Exception):
    """The text says how many there may be."""


class DenialBook:
    """Those in force, for all workers. One name is in it once: asked for again, its time begins anew."""

    def __init__(self, clock: Clock, hub: EventHub) -> None:
        self._clock = clock
        self._hub = hub
        self._numbers = 0
        self._kept: dict[int, tuple[Denied, Denial]] = {}
        self._ours = Denials(clock.monotonic)

    def __repr__(self) -> str:
        return f"<DenialBook {len(self._kept)} in force>"

    @property
    def kept_out(self) -> tuple[Denied, ...]:
        """As the admin API has them, the oldest first."""
        return tuple(denied for denied, _ in self._kept.values())

    @property
    def in_force(self) -> tuple[Denial, ...]:
        """As workers have them."""
        return tuple(denial for _, denial in self._kept.values())

    def of(self, identity: Identity) -> str:
        """Why somebody is kept out, in words; empty when they are not."""
        return self._ours.of(identity)

    def add(self, name: str, for_s: float, by: str) -> Denied:
        """Raises :class:`TooManyDenials`."""
        kept = {number: each for number, each in self._kept.items() if each[0].identity != name}
        if len(kept) >= MOST_DENIALS:
            raise TooManyDenials(f"{MOST_DENIALS} identities are kept out already: more is for access rules")
        self._numbers += 1
        since = self._clock.now()
        until = since + timedelta(seconds=for_s)
        denied = Denied(self._numbers, name, since, until, by)
        detail = f"kept out until {until:%Y-%m-%dT%H:%M:%SZ} by {by}"
        self._kept = {**kept, denied.id: (denied, Denial(denied.id, name, self._clock.monotonic() + for_s, detail))}
        self._changed("denied", denied)
        return denied

    def end(self, number: int) -> Denied | None:
        """The one that is over now; None when there is none of this number."""
        found = self._kept.pop(number, None)
        if found is None:
            return None
        self._changed("undone", found[0])
        return found[0]

    def expire(self) -> bool:
        """Whether one has come to its end by itself."""
        now = self._clock.monotonic()
        over = [denied for denied, denial in self._kept.values() if denial.until_s <= now]
        for denied in over:
            del self._kept[denied.id]
            self._changed("over", denied)
        return bool(over)

    def _changed(self, outcome: str, denied: Denied) -> None:
        self._ours.replace(self.in_force)
        fields = {"outcome": outcome, "id": denied.id, "identity": denied.identity, "by": denied.by}
        self._hub.publish(events.DENIAL, {**fields, "until": denied.until})
        is_in_force = denied.id in self._kept
        said = "an identity is kept out" if is_in_force else f"an identity is kept out no more: {outcome}"
        _log.warning("%s", said, extra={"fields": fields})
