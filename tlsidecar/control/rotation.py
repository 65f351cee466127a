"""Which material is in use, and how it is replaced.

Candidates come from the source, are judged by the preflight, become the contexts of a new generation, are proved by a
handshake in memory, and only then replace one reference in every worker. A candidate that fails anywhere changes
nothing but what is shown.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from certs.certificate import Certificate
from certs.clock import Clock
from certs.errors import CertsError, MaterialError, MaterialReason
from certs.material import Material
from certs.renewal import RandomUnit, RenewalSchedule
from certs.sources import Candidate, Failed, RenewalWanted, Source
from tlsidecar.control.attempts import AttemptLog
from tlsidecar.control.configuration import Change
from tlsidecar.control.interface import Attempt, ConfigurationState, Generation, Outcome, Trigger
from tlsidecar.control.proof import build_contexts, judge_material
from tlsidecar.control.requests import Batch, RequestQueue
from tlsidecar.dataplane.snapshot import PolicyChange
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe import events
from tlsidecar.observe.events import EventHub
from tlsidecar.settings import Settings

# Identities in one sentence.
_MOST_NAMED = 10

_log = logging.getLogger("tlsidecar.control.rotation")


class Supervisor(Protocol):
    """What new material and settings are put to use in: every worker, or none of them yet."""

    async def apply(self, contexts: Contexts) -> None:
        """Returns once new connections get these contexts."""
        ...

    async def configure(self, settings: Settings, contexts: Contexts) -> Sequence[PolicyChange]:
        """Returns once new connections are served by these settings; whose peers the new rules let in no more."""
        ...


class ConfigurationOnDisk(Protocol):
    """See :class:`tlsidecar.control.configuration.Configuration`."""

    @property
    def state(self) -> ConfigurationState | None: ...

    async def look(self) -> Change | None: ...

    def applied(self, change: Change) -> None: ...


class Rotation:
    """The material of one identity: in use, wanted, and what became of each attempt. Lives on one event loop."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        clock: Clock,
        hub: EventHub,
        supervisor: Supervisor,
        configuration: ConfigurationOnDisk,
        *,
        make_source: Callable[[Settings], Source],
        random_unit: RandomUnit = random.random,
    ) -> None:
        """``make_source`` gives the source that other settings describe; it raises certs.errors.CertsError."""
        self.settings = settings
        self.source = source
        self.attempts = AttemptLog()
        self.requests = RequestQueue()
        self.generation: Generation | None = None
        self.clock_jump: tuple[datetime, float] | None = None  # when it was noticed, and by how many seconds
        self._contexts: Contexts | None = None
        self._clock = clock
        self._hub = hub
        self._supervisor = supervisor
        self._configuration = configuration
        self._make_source = make_source
        self._schedule = RenewalSchedule(random_unit)
        self._retry_at: datetime | None = None
        self._timed: asyncio.Future[Attempt] | None = None  # the attempt that the clock asked for last
        self._source_changed = asyncio.Event()
        self.rejected: Certificate | None = None  # the leaf of material that came whole, and was refused

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
        """Put what the source says by itself into the queue; of another one, once there is another."""
        while True:
            self._source_changed.clear()
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(self._follow(self.source), name="follow the source")
                await self._source_changed.wait()
                following.cancel()

    async def _follow(self, source: Source) -> None:
        async for event in source.follow():
            if source is not self.source:
                return  # what it says is nobody's any more
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
        """Fetch, judge, prove, put to use; what it came to is recorded, and shown. A configuration that may be applied
        live is put to use together with the material it names, or not at all."""
        started = self._clock.monotonic()
        before = self.generation
        previous = before.material.identity.serial if before else ""
        change = await self._configuration.look() if batch.configures else None
        applies = change if change is not None and not change.restart_keys else None
        settings = applies.settings if applies is not None else self.settings
        source = self.source
        self.rejected = None
        try:
            if settings.identity != self.settings.identity:
                source = self._make_source(settings)
                material = await _first_of(source)
            else:
                material = await self._fetch(batch)
            self.rejected = material.leaf
            warnings = judge_material(settings, material, self._clock.now())
            if applies is None and before is not None and material.digest == before.material.digest:
                outcome = Outcome.UNCHANGED
            else:
                warnings += await self._use(material, settings, applies)
                outcome = Outcome.APPLIED
        except CertsError as error:
            attempt = self._refused(error, batch.trigger, previous)
            applies = None
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
            if source is not self.source:
                self.source = source
                self._source_changed.set()
            if before is None or material.leaf != before.material.leaf or not self.source.renews:
                self._schedule.succeeded(
                    material.leaf.not_valid_before_utc,
                    material.leaf.not_valid_after_utc,
                    at,
                    self._clock.monotonic(),
                )
        if batch.configures:
            attempt = _with_configuration(attempt, change, self._configuration.state, applied=applies is not None)
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
        return await _first_of(self.source)

    async def _use(self, material: Material, settings: Settings, change: Change | None) -> tuple[str, ...]:
        """What is to be said of it, in words."""
        number = self.generation.number + 1 if self.generation else 1
        contexts = build_contexts(settings, material, number)
        notes: tuple[str, ...] = ()
        if change is None:
            await self._supervisor.apply(contexts)
        else:
            notes = tuple(_said_of(await self._supervisor.configure(settings, contexts)))
            self.settings = settings
            self._configuration.applied(change)
        self._contexts = contexts
        self.generation = Generation(number, material, self._clock.now())
        return notes

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
            level = logging.INFO if attempt.configuration == "applied" else logging.WARNING
            _log.log(level, "configuration changed: %s", attempt.configuration, extra={"fields": fields})
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


async def _first_of(source: Source) -> Material:
    found = await source.read()
    return found if found is not None else await source.renew()


def _said_of(changes: Sequence[PolicyChange]) -> Iterator[str]:
    """Who is connected, and would not be let in any more."""
    for closes, what in ((True, "are closed"), (False, "stay open (close_on_policy_change)")):
        found = [change for change in changes if change.closes is closes]
        if found:
            who = ", ".join(sorted({change.identity for change in found})[:_MOST_NAMED])
            yield f"{len(found)} connections of peers that the rules let in no more {what}: {who}"


def _with_configuration(
    attempt: Attempt, change: Change | None, state: ConfigurationState | None, *, applied: bool
) -> Attempt:
    if applied and change is not None:
        return replace(attempt, configuration="applied", configuration_changes=change.keys)
    if state is None:
        return attempt
    if state.error:
        return replace(attempt, configuration="invalid", configuration_changes=(state.error,))
    warnings = attempt.warnings
    if state.restart:
        warnings += (f"the configuration was not applied: {', '.join(state.restart)} can only change with a restart",)
    return replace(attempt, configuration="not applied", configuration_changes=state.changes, warnings=warnings)
