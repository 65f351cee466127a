"""Which material is in use, and how it is replaced.

Candidates come from the source, are judged by the preflight, become the contexts of a new generation, are proved by a
handshake in memory, and only then replace one reference in every worker. A candidate that fails anywhere changes
nothing but what is shown.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from certs.clock import Clock
from certs.errors import CertsError, MaterialError, MaterialReason
from certs.material import Material
from certs.renewal import RandomUnit, RenewalSchedule
from certs.sources import Candidate, Failed, RenewalWanted, Source
from tlsidecar.control.attempts import AttemptLog
from tlsidecar.control.interface import Attempt, ConfigurationState, Generation, Outcome, Trigger
from tlsidecar.control.proof import build_contexts, judge_material
from tlsidecar.control.requests import Batch, RequestQueue
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe import events
from tlsidecar.observe.events import EventHub
from tlsidecar.settings import Settings

_log = logging.getLogger("tlsidecar.control.rotation")


class Rotation:
    """The material of one identity: in use, wanted, and what became of each attempt. Lives on one event loop."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        clock: Clock,
        hub: EventHub,
        put_to_use: Callable[[Contexts], Awaitable[None]],
        configure: Callable[[], Awaitable[ConfigurationState | None]],
        *,
        random_unit: RandomUnit = random.random,
    ) -> None:
        """``put_to_use`` gives new contexts to every worker; it returns once new connections get them.
        ``configure`` reads the configuration again, and says where it is not the one in force."""
        self.settings = settings
        self.source = source
        self.attempts = AttemptLog()
        self.requests = RequestQueue()
        self.generation: Generation | None = None
        self.clock_jump: tuple[datetime, float] | None = None  # when it was noticed, and by how many seconds
        self._contexts: Contexts | None = None
        self._clock = clock
        self._hub = hub
        self._put_to_use = put_to_use
        self._configure = configure
        self._schedule = RenewalSchedule(random_unit)
        self._retry_at: datetime | None = None
        self._timed: asyncio.Future[Attempt] | None = None  # the attempt that the clock asked for last

    def __repr__(self) -> str:
        return f"<Rotation generation={self.generation.number if self.generation else 0} {self.requests!r}>"

    @property
    def contexts(self) -> Contexts:
        assert self._contexts is not None, "no generation yet"
        return self._contexts

    @property
    def next_renewal_at(self) -> datetime | None:
        """When the source will be asked to renew; ``None`` where somebody else renews."""
        return self._schedule.due if self.source.renews else None

    @property
    def renewal_failures(self) -> int:
        """How often renewing has failed in a row; 0 where somebody else renews."""
        return self._schedule.failures if self.source.renews else 0

    async def run_batch(self, batch: Batch) -> None:
        """Make the attempt that ``batch`` asks for, and answer it."""
        try:
            attempt = await self.attempt(batch)
        except Exception as error:
            if not batch.answer.done():
                batch.answer.set_exception(error)
                batch.answer.exception()  # whoever asked may be gone: then nobody else would fetch it
            raise
        if not batch.answer.done():
            batch.answer.set_result(attempt)

    async def follow_source(self) -> None:
        """Put what the source says by itself into the queue."""
        async for event in self.source.follow():
            if isinstance(event, RenewalWanted):
                _log.info("the source wants to renew: %s", event.why)
                answer = self.requests.join(Trigger.FILE_CHANGE, renew=True)
            else:
                answer = self.requests.join(Trigger.FILE_CHANGE, event=event)
            await asyncio.wait([answer])

    def tick(self) -> None:
        """Ask for what is due by the wall clock, and notice when that clock jumps. Called every second or so."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        jump = self._schedule.observe(now, monotonic)
        if jump:
            self.clock_jump = (now, jump.total_seconds())
            _log.warning("the wall clock jumped", extra={"fields": {"seconds": jump.total_seconds()}})
        if self._timed is not None and not self._timed.done():
            return
        if self._retry_at is not None and now >= self._retry_at:
            self._timed = self.requests.join(Trigger.TIMER)
        elif self._schedule.is_due(now, monotonic) and (self.source.renews or self._schedule.failures):
            self._timed = self.requests.join(Trigger.TIMER, renew=self.source.renews)

    # One attempt.

    async def attempt(self, batch: Batch) -> Attempt:
        """Fetch, judge, prove, put to use; what it came to is recorded, and shown."""
        started = self._clock.monotonic()
        before = self.generation
        previous = before.material.identity.serial if before else ""
        try:
            material = await self._fetch(batch)
            warnings = judge_material(self.settings, material, self._clock.now())
            if before is not None and material.digest == before.material.digest:
                outcome = Outcome.UNCHANGED
            else:
                await self._use(material)
                outcome = Outcome.APPLIED
        except CertsError as error:
            attempt = self._refused(error, batch.trigger, previous)
        else:
            at = self._clock.now()
            attempt = Attempt(
                at=at,
                trigger=batch.trigger,
                outcome=outcome,
                generation=self.generation.number if self.generation else 0,
                previous_serial=previous,
                serial=material.identity.serial,
                warnings=warnings,
            )
            self._retry_at = None
            if before is None or material.leaf != before.material.leaf or not self.source.renews:
                self._schedule.succeeded(
                    material.leaf.not_valid_before_utc,
                    material.leaf.not_valid_after_utc,
                    at,
                    self._clock.monotonic(),
                )
        if batch.configures:
            attempt = _with_configuration(attempt, await self._configure())
        attempt = replace(attempt, duration_s=self._clock.monotonic() - started)
        self.attempts.record(attempt)
        self._announce(attempt)
        return attempt

    async def _fetch(self, batch: Batch) -> Material:
        """What the batch asks for: new material, what the source has said by itself, or what it has now."""
        match batch.event:
            case Candidate(material) if not batch.renews:
                return material
            case Failed(error) if not batch.renews:
                raise error
        if batch.renews:
            return await self.source.renew()
        found = await self.source.read()
        return found if found is not None else await self.source.renew()

    async def _use(self, material: Material) -> None:
        number = self.generation.number + 1 if self.generation else 1
        contexts = build_contexts(self.settings, material, number)
        await self._put_to_use(contexts)
        self._contexts = contexts
        self.generation = Generation(number, material, self._clock.now())

    def _refused(self, error: CertsError, trigger: Trigger, previous: str) -> Attempt:
        now = self._clock.now()
        reason = error.reason.value if isinstance(error, MaterialError) else MaterialReason.AUTHORITY_FAILED.value
        self._retry_at = error.retry_at if isinstance(error, MaterialError) else None
        self._schedule.failed(now, self._clock.monotonic())
        return Attempt(
            at=now,
            trigger=trigger,
            outcome=Outcome.REFUSED,
            reason=reason,
            detail=str(error),
            generation=self.generation.number if self.generation else 0,
            previous_serial=previous,
        )

    def _announce(self, attempt: Attempt) -> None:
        fields: dict[str, object] = {
            "trigger": str(attempt.trigger),
            "outcome": str(attempt.outcome),
            "reason": attempt.reason,
            "detail": attempt.detail,
            "generation": attempt.generation,
            "previous_serial": attempt.previous_serial,
            "serial": attempt.serial,
            "duration_s": round(attempt.duration_s, 6),
        }
        if attempt.configuration:
            fields |= {"configuration": attempt.configuration, "changes": list(attempt.configuration_changes)}
            _log.warning("configuration changed: %s", attempt.configuration, extra={"fields": fields})
        self._hub.publish(events.RELOAD, fields)
        if attempt.outcome == Outcome.REFUSED:
            if self.generation is not None:
                _log.error("new material refused, the old one goes on serving", extra={"fields": fields})
        elif attempt.outcome == Outcome.APPLIED:
            _log.info("material in use", extra={"fields": fields})
            for warning in attempt.warnings:
                _log.warning("about the material: %s", warning)
        else:
            _log.debug("the material is unchanged", extra={"fields": fields})


def _with_configuration(attempt: Attempt, state: ConfigurationState | None) -> Attempt:
    if state is None:
        return attempt
    if state.error:
        return replace(attempt, configuration="invalid", configuration_changes=(state.error,))
    return replace(attempt, configuration="not applied", configuration_changes=state.changes)
