"""All identities of ours, each with a rotation of its own, and the configuration that they are declared in.

An identity is renewed, refused and retried by itself: a source that hangs or fails holds up no other. A configuration
that may be applied live is put to use together with the material of every identity that it names, or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from certs.clock import Clock
from certs.errors import CertsError
from certs.renewal import RandomUnit
from certs.sources import Source
from tlsidecar.control.configuration import Change
from tlsidecar.control.interface import Attempt, ConfigurationState, Trigger, most_telling
from tlsidecar.control.requests import Answer, Batch, RequestQueue
from tlsidecar.control.rotation import Proved, Rotation, refusal
from tlsidecar.control.sources import crl_downloads_of
from tlsidecar.dataplane.snapshot import PolicyChange
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe.events import EventHub
from tlsidecar.pace import Pace
from tlsidecar.settings import IdentitySettings, Settings

# Peers in one sentence.
_MOST_NAMED = 10
_CRLS_LOOKED_AT_EVERY_S = 1.0

_log = logging.getLogger("tlsidecar.control.rotation")

MakeSource = Callable[[IdentitySettings], Source]
Begin = Callable[[str, Callable[[], Awaitable[None]]], "asyncio.Task[None]"]


class Applier(Protocol):
    """What new material and settings are put to use in: every worker, or none of them yet."""

    async def apply(self, contexts: Contexts) -> None:
        """Returns once new connections under its identity get these contexts."""
        ...

    async def configure(self, settings: Settings, contexts: Sequence[Contexts]) -> Sequence[PolicyChange]:
        """Returns once new connections are served by these settings; whose peers the new rules let in no more."""
        ...


class ConfigurationOnDisk(Protocol):
    """See :class:`tlsidecar.control.configuration.Configuration`."""

    @property
    def state(self) -> ConfigurationState | None: ...

    async def look(self) -> Change | None: ...

    def applied(self, change: Change) -> None: ...


class Identities:
    """The rotations by name, in the order of the configuration. Lives on one event loop."""

    def __init__(
        self,
        settings: Settings,
        make_source: MakeSource,
        clock: Clock,
        hub: EventHub,
        supervisor: Applier,
        configuration: ConfigurationOnDisk,
        pace: Pace,
        *,
        attempted: Callable[[], object] = lambda: None,
        random_unit: RandomUnit = random.random,
    ) -> None:
        """``make_source`` gives the source that an identity describes; it raises certs.errors.CertsError. ``attempted``
        is called after each attempt, before whoever asked for it goes on."""
        self.reloads = RequestQueue()
        self._settings = settings
        self._make_source = make_source
        self._clock = clock
        self._hub = hub
        self._supervisor = supervisor
        self._configuration = configuration
        self._pace = pace
        self._attempted = attempted
        self._random_unit = random_unit
        self._begin: Begin | None = None
        self._running: dict[str, list[asyncio.Task[None]]] = {}
        self._rotations = {each.name: self._rotation(each, settings) for each in settings.identities}

    def __repr__(self) -> str:
        return f"<Identities {list(self._rotations.values())}>"

    def _rotation(self, identity: IdentitySettings, settings: Settings) -> Rotation:
        return Rotation(
            identity.name,
            settings,
            self._make_source(identity),
            self._clock,
            self._hub,
            self._supervisor.apply,
            self._pace,
            attempted=self._attempted,
            crl_downloads=crl_downloads_of(identity, self._clock),
            random_unit=self._random_unit,
        )

    # What is known.

    @property
    def rotations(self) -> Sequence[Rotation]:
        return tuple(self._rotations.values())

    def called(self, name: str) -> Rotation:
        """Raises KeyError."""
        return self._rotations[name]

    @property
    def contexts(self) -> Sequence[Contexts]:
        """The generations that new connections get, one of each identity."""
        return [rotation.contexts for rotation in self.rotations]

    @property
    def clock_jump(self) -> tuple[datetime, float] | None:
        """When the wall clock was last found to have jumped, and by how many seconds."""
        return max(filter(None, (rotation.clock_jump for rotation in self.rotations)), default=None)

    def attempts(self, limit: int) -> Sequence[Attempt]:
        """The newest of all, newest first."""
        each = (rotation.attempts.newest(limit) for rotation in self.rotations)
        merged = heapq.merge(*each, key=_age_of, reverse=True)
        return [attempt for attempt, _ in zip(merged, range(limit), strict=False)]

    # What is asked of them.

    async def first_material(self) -> Sequence[Attempt]:
        """Fetch, judge and prove the material to begin with, of those identities that have none yet."""
        return await asyncio.gather(
            *(self._first_of(rotation) for rotation in self.rotations if rotation.generation is None)
        )

    async def _first_of(self, rotation: Rotation) -> Attempt:
        if rotation.crl_downloads is not None:
            await rotation.crl_downloads.refresh()
        return await rotation.attempt(Batch(asyncio.get_running_loop().create_future(), [Trigger.START]))

    def serve(self, begin: Begin) -> None:
        """Run the loops of each; ``begin`` runs one by its name."""
        self._begin = begin
        begin("reloading the configuration", self._serve_reloads)
        begin("fetching revocation lists", self._fetch_crls)
        for rotation in self.rotations:
            self._begin_rotation(rotation)

    def _begin_rotation(self, rotation: Rotation) -> None:
        if self._begin is not None:
            of = f" of {rotation.name}" if self._settings.names_identities else ""
            self._running[rotation.name] = [
                self._begin(f"reloading{of}", rotation.serve_requests),
                self._begin(f"following the source{of}", rotation.follow_source),
            ]

    async def _serve_reloads(self) -> None:
        while True:
            await self.run_reload(await self.reloads.next())
            self._attempted()

    async def _fetch_crls(self) -> None:
        while True:
            for rotation in self.rotations:
                if rotation.crl_downloads is not None:
                    await rotation.crl_downloads.refresh()
            await asyncio.sleep(_CRLS_LOOKED_AT_EVERY_S)

    def tick(self) -> None:
        """Ask for what is due by the wall clock. Called every second or so."""
        for rotation in self.rotations:
            rotation.tick()

    def request_rotation(self, name: str | None = None) -> Sequence[Answer]:
        """Have one identity, or all of them, renew. Raises KeyError when there is none of that name."""
        wanted = self.rotations if name is None else (self.called(name),)
        return [rotation.requests.join(Trigger.ADMIN, renew=True) for rotation in wanted]

    # A reload: the configuration, and with it the material of all.

    async def run_reload(self, reload: Batch) -> None:
        """Look at the configuration, make the attempts, and answer ``reload``. What waits for an identity by itself is
        part of it."""
        batches: dict[str, Batch] = {}
        found: Sequence[Attempt]
        try:
            change = await self._configuration.look()
            await self._pace.step()
            batches = {rotation.name: _joined(rotation, reload) for rotation in self.rotations}
            if change is None or change.restart_keys:
                found = await asyncio.gather(*(self._attempt(each, batches[each.name]) for each in self.rotations))
            else:
                found = await self._change(change, reload.trigger, batches)
            await self._pace.step()  # before what follows from it is judged
        except Exception as error:
            for batch in (reload, *batches.values()):
                batch.fail(error)
            raise
        attempts = tuple(found)
        if any(attempt.configuration for attempt in attempts):
            _log_configuration(attempts)
        for batch in (reload, *batches.values()):
            batch.settle(attempts)

    async def _attempt(self, rotation: Rotation, batch: Batch) -> Attempt:
        """With what is to be said of a configuration that is not applied."""
        attempt = await rotation.attempt(batch, lambda attempt: _not_applied(attempt, self._configuration.state))
        batch.settle((attempt,))
        return attempt

    async def _change(self, change: Change, trigger: Trigger, batches: Mapping[str, Batch]) -> Sequence[Attempt]:
        """All of it or nothing. What each identity is to have is proved first, while the others go on being renewed;
        then it is put to use in one moment in which nothing else is replaced."""
        settings = change.settings
        started = self._clock.monotonic()
        results = await asyncio.gather(*(self._prove(each, settings, batches) for each in settings.identities))
        refused = {name: result for name, _, result in results if isinstance(result, CertsError)}
        proved = {rotation: result for _, rotation, result in results if rotation and isinstance(result, Proved)}
        if not refused:
            async with contextlib.AsyncExitStack() as locks:
                await self._take_all(locks)
                for rotation, result in proved.items():
                    try:
                        proved[rotation] = await rotation.prove_again(result, settings)
                    except CertsError as error:
                        refused[rotation.name] = error
                if not refused:
                    return await self._put_to_use(change, trigger, proved, started)
        attempts = [self._refusal(name, error, batches.get(name), trigger, started) for name, error in refused.items()]
        others = [rotation for rotation in self.rotations if rotation.name not in refused]
        found = await asyncio.gather(*(self._attempt(each, batches[each.name]) for each in others))
        return [*attempts, *found]

    async def _take_all(self, locks: contextlib.AsyncExitStack) -> None:
        """Every rotation's lock. None is held while another is waited for: an attempt that takes its time holds up
        nobody else's."""
        while busy := next((rotation for rotation in self.rotations if rotation.lock.locked()), None):
            async with busy.lock:
                pass
        for rotation in self.rotations:
            await locks.enter_async_context(rotation.lock)

    async def _put_to_use(
        self, change: Change, trigger: Trigger, proved: Mapping[Rotation, Proved], started: float
    ) -> Sequence[Attempt]:
        settings = change.settings
        contexts = [result.contexts for result in proved.values() if result.contexts is not None]
        notes = tuple(_said_of(await self._supervisor.configure(settings, contexts)))
        self._configuration.applied(change)
        applied: list[Attempt] = []
        for rotation, result in proved.items():
            attempt = rotation.adopt(result, trigger, settings)
            attempt = replace(
                attempt,
                warnings=attempt.warnings + (() if applied else notes),
                configuration="applied",
                configuration_changes=change.keys,
            )
            applied.append(rotation.record(attempt, started, renewal=False))
        self._keep_only({rotation.name: rotation for rotation in proved}, settings, tuple(applied))
        return applied

    async def _prove(
        self, identity: IdentitySettings, settings: Settings, batches: Mapping[str, Batch]
    ) -> tuple[str, Rotation | None, Proved | CertsError]:
        """What an identity is to have under new settings, or why it cannot."""
        name = identity.name
        rotation = self._rotations.get(name)
        try:
            if rotation is None:
                rotation = self._rotation(identity, settings)
                if rotation.crl_downloads is not None:
                    await rotation.crl_downloads.refresh()
                batch = Batch(asyncio.get_running_loop().create_future(), [Trigger.START])
                return name, rotation, await rotation.prove(batch, settings)
            batch = batches[name]
            if identity == rotation.settings.identity_called(name):
                return name, rotation, await rotation.prove(batch, settings)
            downloads = crl_downloads_of(identity, self._clock)
            if downloads is not None:
                await downloads.refresh()
            # What another source may have to order says nothing of the renewals of the one in use.
            source, batch = self._make_source(identity), replace(batch, renews=False)
            return name, rotation, await rotation.prove(batch, settings, source, downloads)
        except CertsError as error:
            return name, rotation, error

    def _refusal(self, name: str, error: CertsError, batch: Batch | None, trigger: Trigger, started: float) -> Attempt:
        """``batch`` is None for an identity that is to come."""
        state = self._configuration.state
        if batch is not None:
            rotation = self.called(name)
            attempt = _not_applied(rotation.refused(error, batch), state)
            return rotation.record(attempt, started, renewal=batch.renews)
        attempt = _not_applied(refusal(name, error, trigger, self._clock.now()), state)
        self.rotations[0].announce(attempt)  # one that is to come has no time line yet
        return attempt

    def _keep_only(self, wanted: dict[str, Rotation], settings: Settings, attempts: tuple[Attempt, ...]) -> None:
        """These are the identities from now on: those that are new begin, and those that are gone end. Whoever still
        waits for one that is gone gets ``attempts``."""
        before, self._rotations, self._settings = self._rotations, wanted, settings
        for name in before.keys() - wanted.keys():
            for task in self._running.pop(name, ()):
                task.cancel()
            before[name].leave(attempts)
        for name in wanted.keys() - before.keys():
            self._begin_rotation(wanted[name])


def _joined(rotation: Rotation, reload: Batch) -> Batch:
    """What waits for one identity, as part of a reload; not what is to be ordered, which may take its time."""
    waiting = rotation.requests.take_reading() or Batch(asyncio.get_running_loop().create_future())
    return replace(waiting, triggers=[*reload.triggers, *waiting.triggers], event=None)


def _age_of(attempt: Attempt) -> datetime:
    assert attempt.at is not None, "who makes one knows when"
    return attempt.at


def _said_of(changes: Sequence[PolicyChange]) -> Iterator[str]:
    """Who is connected, and would not be let in any more."""
    for closes, what in ((True, "are closed"), (False, "stay open (close_on_policy_change)")):
        found = [change for change in changes if change.closes is closes]
        if found:
            who = ", ".join(sorted({change.identity for change in found})[:_MOST_NAMED])
            yield f"{len(found)} connections of peers that the rules let in no more {what}: {who}"


def _not_applied(attempt: Attempt, state: ConfigurationState | None) -> Attempt:
    """What is to be said of a configuration on disk that is not the one in force."""
    if state is None:
        return attempt
    if state.error:
        return replace(attempt, configuration="invalid", configuration_changes=(state.error,))
    warnings = attempt.warnings
    if state.restart:
        warnings += (f"the configuration was not applied: {', '.join(state.restart)} can only change with a restart",)
    return replace(attempt, configuration="not applied", configuration_changes=state.changes, warnings=warnings)


def _log_configuration(attempts: Sequence[Attempt]) -> None:
    attempt = most_telling(attempts)
    fields = {
        "trigger": str(attempt.trigger),
        "outcome": str(attempt.outcome),
        "configuration": attempt.configuration,
        "changes": list(attempt.configuration_changes),
    }
    level = logging.INFO if attempt.configuration == "applied" else logging.WARNING
    _log.log(level, "configuration changed: %s", attempt.configuration, extra={"fields": fields})
