"""The controller: the one place that decides which material is in use, and in which state the process is.

Candidates come from the source, are judged by the preflight, become the contexts of a new generation, are proved by a
handshake in memory, and only then replace one reference in every worker. A candidate that fails anywhere changes
nothing but what is shown.

Everything that asks for a reload (signal, file change, admin call, timer) joins one queue: requests that wait are
answered together by the next run, and runs never overlap.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from OpenSSL import SSL

from certs.clock import Clock
from certs.errors import CertsError, MaterialError, MaterialReason
from certs.material import Material
from certs.preflight import preflight
from certs.renewal import RenewalSchedule
from certs.sources import Source
from tlsidecar.control.interface import (
    Attempt,
    DrainOutcome,
    Generation,
    Outcome,
    Problem,
    ReloadCounts,
    State,
    Trigger,
)
from tlsidecar.control.problems import Facts, Findings
from tlsidecar.control.sources import roles_of
from tlsidecar.control.upstream_health import UpstreamHealth
from tlsidecar.dataplane.snapshot import (
    ConnectionDetail,
    ConnectionPage,
    ConnectionQuery,
    WorkerSnapshot,
)
from tlsidecar.dataplane.tls import Contexts, ProofError, prove
from tlsidecar.observe import events
from tlsidecar.observe.events import EventHub
from tlsidecar.observe.refusals import RefusalLog
from tlsidecar.outcomes import Reason
from tlsidecar.settings import Mode, Settings
from tlsidecar.workers.handle import Crew, WorkerHandle
from tlsidecar.workers.merge import connections_of

# A file caught while it is being written is read again, so often and after so long, before it is called bad.
TORN_READ_ATTEMPTS = 4
TORN_READ_WAIT_S = 0.15

# Signals and file changes that follow each other sooner share one reload; admin calls do not wait.
RELOAD_SPACING_S = 1.0

_log = logging.getLogger("tlsidecar.control.controller")


class StartError(Exception):
    """The process cannot begin to serve; the text is one clear line."""


class Controller:
    """Implements :class:`tlsidecar.control.interface.Control`; lives on one event loop."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        clock: Clock,
        refusals: RefusalLog,
        hub: EventHub,
        *,
        set_log_level: Callable[[str], None],
        dropped_log_lines: Callable[[], int],
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.refusals = refusals
        self.events = hub
        self.reload_counts = ReloadCounts()
        self.upstream_health = UpstreamHealth(settings.listeners, hub)
        self.crew: Crew | None = None
        self.stopping = asyncio.Event()
        self.forced = False
        self._source = source
        self._roles = roles_of(settings)
        self._set_log_level = set_log_level
        self._dropped_log_lines = dropped_log_lines
        self._log_level = settings.log.level
        self._state = State.STARTING
        self._started_at = clock.now()
        self._generation: Generation | None = None
        self._contexts: Contexts | None = None
        self._attempt: Attempt | None = None
        self._refused_since: datetime | None = None
        self._retry_at: datetime | None = None
        self._draining_since: datetime | None = None
        self._schedule = RenewalSchedule(random_unit)
        self._findings = Findings()
        self._problems: list[Problem] = []
        self._snapshots: list[WorkerSnapshot] = []
        self._clock_jump: tuple[datetime, float] | None = None
        self._pending: asyncio.Future[Attempt] | None = None
        self._pending_triggers: list[Trigger] = []
        self._wanted = asyncio.Event()
        self._drain: asyncio.Task[DrainOutcome] | None = None
        self._tasks: asyncio.TaskGroup | None = None

    def __repr__(self) -> str:
        number = self._generation.number if self._generation else 0
        return f"<Controller {self._state.value} generation={number}>"

    # What is known.

    @property
    def state(self) -> State:
        return self._state

    @property
    def started_at(self) -> datetime:
        return self._started_at

    @property
    def generation(self) -> Generation | None:
        return self._generation

    @property
    def contexts(self) -> Contexts:
        assert self._contexts is not None, "no generation yet"
        return self._contexts

    @property
    def source(self) -> str:
        return self._source.describe()

    @property
    def last_attempt(self) -> Attempt | None:
        return self._attempt

    @property
    def next_renewal_at(self) -> datetime | None:
        if self._source.renewal_due is None and not self._schedule.failures:
            return None
        return self._schedule.due

    @property
    def log_level(self) -> str:
        return self._log_level

    def problems(self) -> Sequence[Problem]:
        self._judge()
        return self._problems

    @property
    def workers(self) -> Sequence[WorkerHandle]:
        return self.crew.workers if self.crew is not None else ()

    def is_live(self) -> bool:
        """Whether anything is served at all: one of several workers is replaced without ending the others, which a
        failing liveness probe would do."""
        return any(worker.is_live for worker in self.workers) or not self.workers

    def is_ready(self) -> bool:
        if self._state not in (State.READY, State.DEGRADED) or self._generation is None:
            return False
        return self._generation.material.leaf.not_valid_after_utc > self.clock.now() and self.upstream_health.is_ready

    async def snapshots(self) -> Sequence[WorkerSnapshot]:
        self._snapshots = list(await asyncio.gather(*(worker.snapshot() for worker in self.workers)))
        if self._snapshots:
            first = self._snapshots[0]
            self._snapshots[0] = replace(first, log_lines_dropped=first.log_lines_dropped + self._dropped_log_lines())
        return self._snapshots

    async def caught_up(self) -> None:
        """Returns when everything that workers have announced so far has arrived."""
        if len(self.workers) > 1:
            await asyncio.gather(*(worker.snapshot() for worker in self.workers))

    async def connections(self, query: ConnectionQuery) -> ConnectionPage:
        return await connections_of(self.workers, query)

    async def connection(self, connection_id: int) -> ConnectionDetail | None:
        for worker in self.workers:
            detail = await worker.connection(connection_id)
            if detail is not None:
                return detail
        return None

    async def close_connection(self, connection_id: int) -> bool:
        for worker in self.workers:
            if await worker.close_connection(connection_id):
                return True
        return False

    def set_log_level(self, level: str) -> None:
        self._set_log_level(level)
        self._log_level = level
        for worker in self.workers:
            worker.set_log_level(level)

    # Life.

    async def first_material(self) -> Contexts:
        """Load, judge and prove the material to begin with. Raises :class:`StartError`."""
        attempt = await self._attempt_reload([Trigger.START])
        if attempt.outcome is not Outcome.APPLIED:
            raise StartError(f"{attempt.detail} ({attempt.reason})")
        return self.contexts

    def serving(self, tasks: asyncio.TaskGroup) -> None:
        """Everything is bound: ready. ``tasks`` gets the controller's own loops."""
        self._tasks = tasks
        self._enter(State.READY)
        tasks.create_task(self._reload_loop(), name="reload")
        tasks.create_task(self._watch_loop(), name="watch the source")
        tasks.create_task(self._clock_loop(), name="renewal and clock")

    async def reload(self, trigger: Trigger) -> Attempt:
        return await asyncio.shield(self.request_reload(trigger))

    def request_reload(self, trigger: Trigger) -> asyncio.Future[Attempt]:
        """Join the next run; the future ends with what it came to."""
        if self._pending is None:
            self._pending = asyncio.get_running_loop().create_future()
        self._pending_triggers.append(trigger)
        self._wanted.set()
        return self._pending

    async def rotate(self) -> Attempt:
        return await self.reload(Trigger.ADMIN)

    async def drain(self, timeout_s: float | None = None) -> DrainOutcome:
        if self._drain is None:
            assert self._tasks is not None
            self._drain = self._tasks.create_task(self._run_drain(timeout_s), name="drain")
        return await asyncio.shield(self._drain)

    async def shutdown(self) -> None:
        self.stopping.set()

    # Reloading.

    async def _reload_loop(self) -> None:
        loop = asyncio.get_running_loop()
        last_unasked = -RELOAD_SPACING_S
        while True:
            await self._wanted.wait()
            if Trigger.ADMIN not in self._pending_triggers:
                wait_s = last_unasked + RELOAD_SPACING_S - loop.time()
                while wait_s > 0 and Trigger.ADMIN not in self._pending_triggers:
                    await asyncio.sleep(min(wait_s, 0.05))
                    wait_s = last_unasked + RELOAD_SPACING_S - loop.time()
                last_unasked = loop.time()
            pending, triggers = self._pending, self._pending_triggers
            self._pending, self._pending_triggers = None, []
            self._wanted.clear()
            if pending is None:
                continue
            try:
                attempt = await self._attempt_reload(triggers)
            except Exception as error:
                _log.exception("a reload failed for a reason of ours")
                pending.set_exception(error)
                pending.exception()  # whoever asked may be gone: then nobody else would fetch it
                continue
            if not pending.done():
                pending.set_result(attempt)

    async def _attempt_reload(self, triggers: Sequence[Trigger]) -> Attempt:
        started = time.perf_counter()
        trigger = triggers[0]
        before = self._generation
        previous = before.material.identity.serial if before else ""
        try:
            material = await self._load()
            warnings = self._judge_material(material)
            if before is not None and material.digest == before.material.digest:
                outcome = Outcome.UNCHANGED
            else:
                await self._put_to_use(material)
                outcome = Outcome.APPLIED
        except CertsError as error:
            attempt = self._refused(error, trigger, previous)
        else:
            attempt = Attempt(
                at=self.clock.now(),
                trigger=trigger,
                outcome=outcome,
                generation=self._generation.number if self._generation else 0,
                previous_serial=previous,
                serial=material.identity.serial,
                warnings=warnings,
            )
            self._refused_since = self._retry_at = None
            if outcome is Outcome.APPLIED:
                leaf = material.leaf
                self._schedule.succeeded(
                    leaf.not_valid_before_utc, leaf.not_valid_after_utc, attempt.at, self.clock.monotonic()
                )
        attempt = _with_duration(attempt, time.perf_counter() - started)
        self._attempt = attempt
        self._record(attempt)
        return attempt

    async def _load(self) -> Material:
        loop = asyncio.get_running_loop()
        for remaining in range(TORN_READ_ATTEMPTS - 1, -1, -1):
            try:
                return await loop.run_in_executor(None, self._source.load)
            except MaterialError as error:
                if not error.retry or not remaining:
                    raise
                await asyncio.sleep(TORN_READ_WAIT_S)
        raise AssertionError("unreachable")

    def _judge_material(self, material: Material) -> tuple[str, ...]:
        identity = self.settings.identity
        return preflight(
            material,
            self._roles,
            self.clock.now(),
            timedelta(seconds=identity.clock_skew_s),
            soft_crl=identity.crl_policy == "soft",
        )

    async def _put_to_use(self, material: Material) -> None:
        number = self._generation.number + 1 if self._generation else 1
        contexts = build_contexts(self.settings, material, number)
        await asyncio.gather(*(worker.apply(contexts) for worker in self.workers))
        self._contexts = contexts
        self._generation = Generation(number, material, self.clock.now())

    def _refused(self, error: CertsError, trigger: Trigger, previous: str) -> Attempt:
        now = self.clock.now()
        reason = error.reason.value if isinstance(error, MaterialError) else MaterialReason.AUTHORITY_FAILED.value
        self._refused_since = self._refused_since or now
        self._retry_at = error.retry_at if isinstance(error, MaterialError) else None
        self._schedule.failed(now, self.clock.monotonic())
        return Attempt(
            at=now,
            trigger=trigger,
            outcome=Outcome.REFUSED,
            reason=reason,
            detail=str(error),
            generation=self._generation.number if self._generation else 0,
            previous_serial=previous,
        )

    def _record(self, attempt: Attempt) -> None:
        counts = self.reload_counts
        key = (attempt.outcome.value, attempt.reason)
        counts.by_outcome[key] = counts.by_outcome.get(key, 0) + 1
        if attempt.outcome is not Outcome.REFUSED:
            counts.last_success_at = attempt.at.timestamp()
        told = {
            "trigger": attempt.trigger.value,
            "outcome": attempt.outcome.value,
            "reason": attempt.reason,
            "detail": attempt.detail,
            "generation": attempt.generation,
            "previous_serial": attempt.previous_serial,
            "serial": attempt.serial,
            "duration_s": round(attempt.duration_s, 6),
        }
        self.events.publish(events.RELOAD, told)
        if attempt.outcome is Outcome.REFUSED:
            if self._generation is not None:
                _log.error("new material refused, the old one goes on serving", extra={"fields": told})
        elif attempt.outcome is Outcome.APPLIED:
            _log.info("material in use", extra={"fields": told})
            for warning in attempt.warnings:
                _log.warning("about the material: %s", warning)
        else:
            _log.debug("the material is unchanged", extra={"fields": told})
        self._judge()

    async def _watch_loop(self) -> None:
        """Look at the source's files; reload when they change, also while they are bad and may get better."""
        loop = asyncio.get_running_loop()
        seen = await loop.run_in_executor(None, self._source.fingerprint)
        while True:
            await asyncio.sleep(self.settings.identity.poll_interval_s)
            fingerprint = await loop.run_in_executor(None, self._source.fingerprint)
            if fingerprint != seen:
                seen = fingerprint
                await asyncio.wait([self.request_reload(Trigger.FILE_CHANGE)])

    async def _clock_loop(self) -> None:
        """Renew when it is time by the wall clock, and notice when that clock jumps."""
        while True:
            now, monotonic = self.clock.now(), self.clock.monotonic()
            jump = self._schedule.observe(now, monotonic)
            if jump:
                self._clock_jump = (now, jump.total_seconds())
                _log.warning("the wall clock jumped", extra={"fields": {"seconds": jump.total_seconds()}})
            retry_due = self._retry_at is not None and now >= self._retry_at
            renews = self._source.renewal_due is not None or self._schedule.failures
            if retry_due or (renews and self._schedule.is_due(now, monotonic)):
                await asyncio.wait([self.request_reload(Trigger.TIMER)])
            self._judge()
            wait_s = min(self._schedule.sleep_s(self.clock.now(), self.clock.monotonic()), 1.0)
            await asyncio.sleep(max(wait_s, 0.1))

    # Draining.

    async def _run_drain(self, timeout_s: float | None) -> DrainOutcome:
        loop = asyncio.get_running_loop()
        began = loop.time()
        if timeout_s is None:
            timeout_s = max(listener.limits.drain_timeout_s for listener in self.settings.listeners)
        self._draining_since = self.clock.now()
        if self.crew is not None:
            self.crew.stop_listening()
        self._enter(State.DRAINING)
        present = sum(await asyncio.gather(*(worker.drain() for worker in self.workers)))
        try:
            async with asyncio.timeout(timeout_s):
                for worker in self.workers:
                    await worker.drained()
        except TimeoutError:
            pass
        forced = sum(await asyncio.gather(*(worker.close_all(Reason.DRAIN_FORCED) for worker in self.workers)))
        outcome = DrainOutcome(not forced, present - forced, forced, loop.time() - began)
        self.forced = self.forced or bool(forced)
        told = {
            "outcome": "drained" if outcome.drained else "forced",
            "closed": outcome.closed,
            "forced": forced,
            "duration_s": round(outcome.duration_s, 3),
        }
        self.events.publish(events.DRAIN, told)
        _log.info("drained" if outcome.drained else "drain timed out: connections were cut", extra={"fields": told})
        return outcome

    # State.

    def _judge(self) -> None:
        """Rank what is wrong; a critical finding is what makes the state degraded."""
        jump = self._clock_jump
        self._problems = self._findings.rank(
            Facts(
                now=self.clock.now(),
                generation=self._generation,
                last_attempt=self._attempt,
                refused_since=self._refused_since,
                draining_since=self._draining_since,
                soft_crl=self.settings.identity.crl_policy == "soft",
                snapshots=self._snapshots,
                upstreams_down=self.upstream_health.down(),
                dropped_log_lines=max(
                    self._dropped_log_lines(), sum(snapshot.log_lines_dropped for snapshot in self._snapshots)
                ),
                workers_failing={
                    number: worker.failing for number, worker in enumerate(self.workers) if worker.failing is not None
                },
                clock_jump_at=jump[0] if jump else None,
                clock_jump_s=jump[1] if jump else 0.0,
            )
        )
        if self._state in (State.READY, State.DEGRADED):
            critical = any(problem.severity.value == "critical" for problem in self._problems)
            self._enter(State.DEGRADED if critical else State.READY)

    def _enter(self, state: State) -> None:
        if state is self._state:
            return
        previous, self._state = self._state, state
        told = {"state": state.value, "previous": previous.value}
        if state is State.DEGRADED and self._problems:
            told["problem"] = self._problems[0].code
        self.events.publish(events.STATE, told)
        _log.log(logging.ERROR if state is State.DEGRADED else logging.INFO, state.value, extra={"fields": told})


def build_contexts(settings: Settings, material: Material, number: int) -> Contexts:
    """The contexts of a new generation, each proved by a handshake. Raises :class:`MaterialError`."""
    contexts = Contexts(number, material, settings.tls, soft_crl=settings.identity.crl_policy == "soft")
    for listener in settings.listeners:
        server_side = listener.mode is Mode.TERMINATE
        try:
            context = contexts.server(listener.protocol) if server_side else contexts.client(listener.protocol)
            prove(context, material, server_side=server_side)
        except ProofError as error:
            raise MaterialError(MaterialReason.HANDSHAKE_FAILED, str(error)) from None
        except SSL.Error as error:
            raise MaterialError(MaterialReason.HANDSHAKE_FAILED, f"OpenSSL refuses the material: {error}") from None
    return contexts


def _with_duration(attempt: Attempt, seconds: float) -> Attempt:
    return Attempt(
        attempt.at,
        attempt.trigger,
        attempt.outcome,
        attempt.reason,
        attempt.detail,
        attempt.generation,
        attempt.previous_serial,
        attempt.serial,
        seconds,
        attempt.warnings,
    )
