"""Which material of one identity is in use, and how it is replaced.

Candidates come from the source, are judged by the preflight, become the contexts of a new generation, are proved by a
handshake in memory, and only then replace one reference in every worker. A candidate that fails anywhere changes
nothing but what is shown.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from certs.certificate import Certificate
from certs.clock import Clock
from certs.differences import differences
from certs.errors import CertsError, MaterialError, MaterialReason
from certs.material import Material
from certs.renewal import RandomUnit, RenewalSchedule
from certs.sources import Candidate, Failed, RenewalWanted, Source
from tlsidecar.api.certificates import Difference
from tlsidecar.control.attempts import AttemptLog
from tlsidecar.control.interface import Attempt, Generation, IdentityState, Outcome, Trigger
from tlsidecar.control.proof import build_contexts, judge_material
from tlsidecar.control.requests import Batch, RequestQueue
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.lazy_dataclass import dataclass
from tlsidecar.observe import events
from tlsidecar.observe.events import EventHub
from tlsidecar.pace import Pace
from tlsidecar.settings import Settings

if TYPE_CHECKING:
    from certs.sources.crl_downloads import CrlDownloads

_log = logging.getLogger("tlsidecar.control.rotation")


class Apply(Protocol):
    """Puts a generation to use in every worker; returns once new connections under its identity get it."""

    async def __call__(self, contexts: Contexts) -> None: ...


@dataclass(frozen=True, slots=True)
class Proved:
    """A candidate that may be put to use: judged, and proved as the generation after ``upon``. ``contexts`` is None
    where it is what is in use already."""

    source: Source
    material: Material
    contexts: Contexts | None
    warnings: tuple[str, ...]
    upon: Generation | None
    differences: tuple[Difference[str], ...] = ()  # from what is in use
    crl_downloads: CrlDownloads | None = None  # what fetches the lists that it reads, where there are any on the web


class Rotation:
    """The material of one identity: in use, wanted, and what became of each attempt. Lives on one event loop."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        source: Source,
        clock: Clock,
        hub: EventHub,
        apply: Apply,
        pace: Pace,
        *,
        attempted: Callable[[], object] = lambda: None,
        crl_downloads: CrlDownloads | None = None,
        random_unit: RandomUnit = random.random,
    ) -> None:
        """``name`` is that of the identity in ``settings``, and ``source`` is its; ``pace`` is that of all who share
        the loop. ``attempted`` is called after each attempt, before whoever asked for it goes on."""
        self.name = name
        self.settings = settings
        self.source = source
        self.crl_downloads = crl_downloads
        self.attempts = AttemptLog()
        self.requests = RequestQueue()
        self.generation: Generation | None = None
        self.clock_jump: tuple[datetime, float] | None = None  # when it was noticed, and by how many seconds
        # Held by whoever replaces the material, or the settings that it is judged by; never while a source is waited
        # for, which may order something that takes minutes.
        self.lock = asyncio.Lock()
        self._contexts: Contexts | None = None
        self._clock = clock
        self._hub = hub
        self._apply = apply
        self._pace = pace
        self._attempted = attempted
        self._renewals = RenewalSchedule(random_unit)
        self._readings = RenewalSchedule(random_unit)  # of what is there, while it cannot be used
        self._retry_at: datetime | None = None
        self._timed: asyncio.Future[tuple[Attempt, ...]] | None = None  # of the attempt that the clock asked for last
        self._source_changed = asyncio.Event()
        self._under_way: Batch | None = None
        self.rejected: Certificate | None = None  # the leaf of material that came whole, and was refused

    def __repr__(self) -> str:
        number = self.generation.number if self.generation else 0
        return f"<Rotation {self.name} generation={number} {self.requests!r}>"

    @property
    def contexts(self) -> Contexts:
        assert self._contexts is not None, "no generation yet"
        return self._contexts

    @property
    def next_renewal_at(self) -> datetime | None:
        """When the source will be asked to renew; ``None`` where somebody else renews."""
        return self._renewals.due if self.source.renews else None

    @property
    def renewal_overdue_at(self) -> datetime | None:
        """From when on that is late; ``None`` where somebody else renews."""
        return self._renewals.overdue_at if self.source.renews else None

    @property
    def renewal_failures(self) -> int:
        """How often renewing has failed in a row; 0 where somebody else renews."""
        return self._renewals.failures if self.source.renews else 0

    def state(self) -> IdentityState:
        """What is known of it at this moment."""
        return IdentityState(
            name=self.name,
            generation=self.generation,
            source=self.source.describe(),
            renews=self.source.renews,
            next_renewal_at=self.next_renewal_at,
            renewal_overdue_at=self.renewal_overdue_at,
            renewal_failures=self.renewal_failures,
            last_attempt=self.attempts.last,
            refusal=self.attempts.refusal,
            refused_since=self.attempts.refused_since,
            rejected=self.rejected,
            crls_failing=self.crl_downloads.failing if self.crl_downloads is not None else {},
            soft_crl=self.settings.identity_called(self.name).crl_policy == "soft",
            counts=self.attempts.counts,
        )

    async def serve_requests(self) -> None:
        """Make the attempts that are asked for, for ever."""
        while True:
            await self.run_batch(await self.requests.next())
            self._attempted()

    async def run_batch(self, batch: Batch) -> None:
        """Make the attempt that ``batch`` asks for, and answer it."""
        self._under_way = batch
        try:
            attempt = await self.attempt(batch)
        except Exception as error:
            batch.fail(error)
            raise
        try:
            await self._pace.step()  # before what follows from it is judged
        finally:  # of an identity that goes meanwhile, too
            batch.settle((attempt,))

    def leave(self, attempts: tuple[Attempt, ...]) -> None:
        """The identity is no more: whoever waits for an attempt, or for the one under way, gets ``attempts``."""
        for batch in (self._under_way, self.requests.take()):
            if batch is not None:
                batch.settle(attempts)

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
        jump = self._renewals.observe(now, monotonic)
        self._readings.observe(now, monotonic)
        if jump:
            self.clock_jump = (now, jump.total_seconds())
            _log.warning("the wall clock jumped", extra={"fields": {"seconds": jump.total_seconds()}})
        if self._timed is not None and not self._timed.done():
            return
        if self._retry_at is not None and now >= self._retry_at:
            self._timed = self.requests.join(Trigger.TIMER)
        elif self.source.renews and self._renewals.is_due(now, monotonic):
            self._timed = self.requests.join(Trigger.TIMER, renew=True)
        elif self._readings.failures and self._readings.is_due(now, monotonic):
            self._timed = self.requests.join(Trigger.TIMER)

    async def attempt(self, batch: Batch, described: Callable[[Attempt], Attempt] = lambda attempt: attempt) -> Attempt:
        """Fetch, judge, prove, put to use; what it came to is recorded, and shown, as ``described``. Several may be
        under way: what was read is read again where something else was put to use meanwhile, so that what is older
        never follows what is newer."""
        started = self._clock.monotonic()
        while True:
            source, upon = self.source, self.generation
            fetched = await self._fetched(batch, source)
            async with self.lock:
                if source is self.source and (upon is self.generation or batch.renews or batch.event is not None):
                    return await self._settled(fetched, batch, described, started)
                if source is not self.source:
                    batch = replace(batch, renews=False, event=None)  # what the former one had is nobody's any more

    async def _fetched(self, batch: Batch, source: Source) -> Material | CertsError:
        try:
            return await self._fetch(batch, source)
        except CertsError as error:
            return error

    # By whoever holds the lock.

    async def _settled(
        self,
        fetched: Material | CertsError,
        batch: Batch,
        described: Callable[[Attempt], Attempt],
        started: float,
    ) -> Attempt:
        self.rejected = None
        try:
            if isinstance(fetched, CertsError):
                raise fetched
            self.rejected = fetched.leaf
            proved = await self._judged(fetched, self.settings, self.source, self.generation)
            if proved.contexts is not None:
                await self._apply(proved.contexts)
        except CertsError as error:
            attempt = self.refused(error, batch)
        else:
            attempt = self.adopt(proved, batch.trigger)
        return self.record(described(attempt), started, renewal=batch.renews)

    # For new settings. What it comes to is put to use, all or nothing, by whoever holds every rotation's lock.

    async def prove(
        self,
        batch: Batch,
        settings: Settings,
        source: Source | None = None,
        crl_downloads: CrlDownloads | None = None,
    ) -> Proved:
        """What ``batch`` asks for, of ``source`` where that is to replace the one there is, and what fetches its lists
        with it, fit to serve under ``settings``: other ones than in force make a new generation even of the same
        material. Changes nothing but what is shown. Raises certs.errors.CertsError."""
        upon, source = self.generation, source or self.source
        notes: tuple[str, ...] = ()
        if source is self.source and upon is not None:
            material, notes = await self._at_hand(source, upon.material)
        else:
            material = await self._fetch(batch, source)
        self.rejected = material.leaf
        proved = await self._judged(material, settings, source, upon)
        return replace(proved, warnings=notes + proved.warnings, crl_downloads=crl_downloads)

    async def _at_hand(self, source: Source, in_use: Material) -> tuple[Material, tuple[str, ...]]:
        """What there is without an order, and what is to be said of it: new settings wait for no issuer."""
        try:
            return await source.read() or in_use, ()
        except MaterialError as error:
            if error.reason is not MaterialReason.SOURCE_TIMEOUT:
                raise
            return in_use, (f"what was in use stays: {error}",)

    async def prove_again(self, proved: Proved, settings: Settings) -> Proved:
        """The same, upon what is in use by now, which may have been replaced since: what came later from the source in
        use is newer than what was proved of it. Raises certs.errors.CertsError."""
        if proved.upon is self.generation:
            return proved
        assert self.generation is not None, "something replaced it"
        material = proved.material if proved.source is not self.source else self.generation.material
        again = await self._judged(material, settings, proved.source, self.generation)
        return replace(again, crl_downloads=proved.crl_downloads)

    async def _judged(
        self, material: Material, settings: Settings, source: Source, before: Generation | None
    ) -> Proved:
        warnings = await self._pace.through(judge_material(settings, self.name, material, self._clock.now()))
        if settings is self.settings and before is not None and material.digest == before.material.digest:
            return Proved(source, material, None, warnings, before)
        number = before.number + 1 if before else 1
        contexts = await self._pace.through(build_contexts(settings, self.name, material, number))
        return Proved(source, material, contexts, warnings, before, _differences(before, material))

    def adopt(self, proved: Proved, trigger: Trigger, settings: Settings | None = None) -> Attempt:
        """It is in use now, under ``settings`` where those are new."""
        before = self.generation
        at = self._clock.now()
        material = proved.material
        if proved.contexts is not None:
            self._contexts = proved.contexts
            self.generation = Generation(proved.contexts.generation, material, at)
        self.settings = settings or self.settings
        self._retry_at = None
        if proved.source is not self.source:
            self.source, self.crl_downloads = proved.source, proved.crl_downloads
            self._source_changed.set()
        leaf, monotonic = material.leaf, self._clock.monotonic()
        self._readings.succeeded(leaf.not_valid_before_utc, leaf.not_valid_after_utc, at, monotonic)
        self.attempts.settle(renewal=False)
        if before is None or leaf != before.material.leaf or not self.source.renews:
            self._renewals.succeeded(leaf.not_valid_before_utc, leaf.not_valid_after_utc, at, monotonic)
            self.attempts.settle(renewal=True)
        return Attempt(
            at=at,
            trigger=trigger,
            outcome=Outcome.UNCHANGED if proved.contexts is None else Outcome.APPLIED,
            generation=self.generation.number if self.generation else 0,
            previous_serial=before.material.identity.serial if before else "",
            serial=material.identity.serial,
            warnings=proved.warnings,
            differences=proved.differences,
            identity=self.name,
        )

    def refused(self, error: CertsError, batch: Batch) -> Attempt:
        """What is in use stays in use. What cannot be read is read again, and is no reason to order anything."""
        now = self._clock.now()
        self._retry_at = error.retry_at if isinstance(error, MaterialError) else None
        schedule = self._renewals if batch.renews else self._readings
        schedule.failed(now, self._clock.monotonic())
        attempt = refusal(self.name, error, batch.trigger, now)
        if self.generation is None:
            return attempt
        serial = self.generation.material.identity.serial
        return replace(attempt, generation=self.generation.number, previous_serial=serial)

    def record(self, attempt: Attempt, started: float, *, renewal: bool) -> Attempt:
        """Keep it and report it; ``started`` is monotonic seconds, and ``renewal`` whether it was one."""
        attempt = replace(attempt, duration_s=self._clock.monotonic() - started)
        self.attempts.record(attempt, renewal=renewal)
        self.announce(attempt)
        return attempt

    async def _fetch(self, batch: Batch, source: Source) -> Material:
        """What the batch asks for: new material, what ``source`` has said by itself, or what it has now.
        Where nothing is there yet, it is a renewal."""
        if not batch.renews:
            match batch.event:
                case Candidate(material):
                    return material
                case Failed(error):
                    raise error
            found = await source.read()
            if found is not None:
                return found
            batch.renews = True
        return await source.renew()

    def announce(self, attempt: Attempt) -> None:
        """In the log and as an event."""
        fields: dict[str, object] = {
            "trigger": str(attempt.trigger),
            "outcome": str(attempt.outcome),
            "reason": attempt.reason,
            "detail": attempt.detail,
            "generation": attempt.generation,
            "previous_serial": attempt.previous_serial,
            "serial": attempt.serial,
            "identity": attempt.identity,
            "duration_s": round(attempt.duration_s, 6),
        }
        if attempt.configuration:
            fields |= {"configuration": attempt.configuration, "changes": list(attempt.configuration_changes)}
        self._hub.publish(events.RELOAD, fields)
        if attempt.outcome == Outcome.REFUSED:
            if self.generation is not None:
                _log.error("new material refused, the old one goes on serving", extra={"fields": fields})
        elif attempt.outcome == Outcome.APPLIED:
            changed = [f"{each.what}: {each.before} -> {each.after}" for each in attempt.differences]
            _log.info("material in use", extra={"fields": fields | {"differences": changed}})
            for warning in attempt.warnings:
                _log.warning("in use, but: %s", warning)
        else:
            _log.debug("the material is unchanged", extra={"fields": fields})


def refusal(identity: str, error: CertsError, trigger: Trigger, now: datetime) -> Attempt:
    """An attempt that ended with ``error``, for an identity that has nothing in use."""
    reason = error.reason if isinstance(error, MaterialError) else MaterialReason.AUTHORITY_FAILED
    return Attempt(now, trigger, Outcome.REFUSED, reason.value, str(error), identity=identity)


def _differences(before: Generation | None, material: Material) -> tuple[Difference[str], ...]:
    if before is None:
        return ()
    return tuple(Difference(*each) for each in differences(before.material, material))
