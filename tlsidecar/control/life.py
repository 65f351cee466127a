"""Where the process is in its life, and the drain that ends it.

STARTING ─▶ READY ◀─▶ DEGRADED
              └────┬────┘
                   ▼
               DRAINING          until it is ended, or told to serve again (:meth:`Life.undrained`)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from certs.clock import Clock
from tlsidecar.control.interface import DrainOutcome, Problem, Severity, State
from tlsidecar.observe import events
from tlsidecar.observe.events import EventHub
from tlsidecar.outcomes import Reason

if TYPE_CHECKING:
    from tlsidecar.workers.handle import Supervisor

_MOVES = {
    State.STARTING: {State.READY, State.DRAINING},
    State.READY: {State.DEGRADED, State.DRAINING},
    State.DEGRADED: {State.READY, State.DRAINING},
    State.DRAINING: set[State](),
}

_log = logging.getLogger("tlsidecar.control.life")


class IllegalMove(Exception):
    """A state that does not follow from the one we are in: a defect."""


class Life:
    """The state of the process, with every change announced."""

    def __init__(self, clock: Clock, hub: EventHub) -> None:
        self.state = State.STARTING
        self.started_at = clock.now()
        self.draining_since: datetime | None = None
        self.forced = False  # connections were cut, or a drain was: the exit code says so
        self._clock = clock
        self._hub = hub

    def __repr__(self) -> str:
        return f"<Life {self.state.value}>"

    @property
    def is_serving(self) -> bool:
        return self.state in (State.READY, State.DEGRADED)

    def enter(self, state: State, because: str = "") -> None:
        """Raises :class:`IllegalMove`. ``because`` is the code of the problem that degrades us."""
        if state is self.state:
            return
        if state not in _MOVES[self.state]:
            raise IllegalMove(f"from {self.state.value} to {state.value}")
        self._move(state, because)

    def undrained(self) -> None:
        """Everything that had been closed by the drain listens again."""
        assert self.state is State.DRAINING
        self.draining_since = None
        self._move(State.READY, "")

    def _move(self, state: State, because: str) -> None:
        previous, self.state = self.state, state
        fields = {"state": state.value, "previous": previous.value}
        if because:
            fields["problem"] = because
        self._hub.publish(events.STATE, fields)
        _log.log(logging.ERROR if state is State.DEGRADED else logging.INFO, state.value, extra={"fields": fields})

    def follow(self, problems: Sequence[Problem]) -> None:
        """A critical problem is what makes a serving process degraded."""
        if not self.is_serving:
            return
        worst = next((each for each in problems if each.severity is Severity.CRITICAL), None)
        if worst is None:
            self.enter(State.READY)
        else:
            self.enter(State.DEGRADED, worst.code)

    async def drain(
        self, supervisor: Supervisor | None, timeout_s: float, delay_s: float = 0.0, grace_s: float = 0.0
    ) -> DrainOutcome:
        """Not ready from now on; ``delay_s`` later nothing more is accepted, and connections finish: first those that
        came in by mutual TLS, while what originates goes on for their sake, then the rest. What is left after
        ``timeout_s``, which is for all of it, is cut.

        With ``grace_s`` everything stops accepting first, and what was accepted just before is let alone for so long:
        there is a successor, who accepts."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        workers = supervisor.workers if supervisor is not None else ()
        self.draining_since = self._clock.now()
        self.enter(State.DRAINING)
        present = 0
        try:
            async with asyncio.timeout(timeout_s):
                if delay_s:
                    await asyncio.sleep(delay_s)
                if supervisor is not None:
                    supervisor.stop_listening(inbound_only=not grace_s)
                if grace_s:
                    await asyncio.gather(*(worker.stop_accepting() for worker in workers))
                    await asyncio.sleep(grace_s)
                present = sum(await asyncio.gather(*(worker.drain(inbound_only=True) for worker in workers)))
                for worker in workers:
                    await worker.drained(inbound_only=True)
                await self._drain_all(supervisor)
                for worker in workers:
                    await worker.drained()
        except TimeoutError:
            await self._drain_all(supervisor)
        # What began after the first count is counted where it is cut.
        forced = sum(await asyncio.gather(*(worker.close_all(Reason.DRAIN_FORCED) for worker in workers)))
        outcome = DrainOutcome(not forced, max(0, present - forced), forced, loop.time() - began)
        self.forced = self.forced or bool(forced)
        fields = {
            "outcome": "drained" if outcome.drained else "forced",
            "closed": outcome.closed,
            "forced": forced,
            "duration_s": round(outcome.duration_s, 3),
        }
        self._hub.publish(events.DRAIN, fields)
        _log.info("drained" if outcome.drained else "drain timed out: connections were cut", extra={"fields": fields})
        return outcome

    async def _drain_all(self, supervisor: Supervisor | None) -> None:
        if supervisor is not None:
            supervisor.stop_listening()
            await asyncio.gather(*(worker.drain() for worker in supervisor.workers))
