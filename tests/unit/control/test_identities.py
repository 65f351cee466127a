"""All identities with the configuration that declares them: material and settings are put to use together, or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from unit.certs import forge
from unit.control.world import SETTINGS, Issuer, ScriptedSource

from certs.errors import MaterialError, MaterialReason
from certs.material import Material
from certs.sources import Candidate, Failed, RenewalWanted
from tlsidecar.control.configuration import Change
from tlsidecar.control.identities import Identities
from tlsidecar.control.interface import Attempt, ConfigurationState, Outcome, Trigger
from tlsidecar.dataplane.snapshot import PolicyChange
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe.events import EventHub
from tlsidecar.pace import Pace
from tlsidecar.settings import Settings

# Runs of one queue are a second apart, which passes at once.
pytestmark = pytest.mark.leaps

HOUR = timedelta(hours=1)
OTHER_RULES = replace(SETTINGS, listeners=(replace(SETTINGS.listeners[0], allow=("ou:sre",)),))
GONE = MaterialError(MaterialReason.MISSING_FILE, "tls.crt")


class Story:
    """A rotation over a scripted source; ``used`` are the generations that workers were given."""

    def __init__(self, directory: Path, settings: Settings = SETTINGS, *, renews: bool = False) -> None:
        self.settings = settings
        self.clock = forge.ManualClock()
        self.issuer = Issuer(directory, self.clock)
        self.source = ScriptedSource(renews=renews)
        self.used: list[int] = []
        self.configured: list[Settings] = []
        self.policy_changes: list[PolicyChange] = []
        self.state: ConfigurationState | None = None  # what is known of the configuration on disk
        self.change: Change | None = None
        self.other_source = ScriptedSource()
        sources = iter([self.source])
        self.identities = Identities(
            settings,
            lambda _identity: next(sources, self.other_source),
            self.clock,
            EventHub(self.clock),
            self,
            self,
            Pace(lambda: False),
            random_unit=lambda: 0.5,
        )
        self.rotation = self.identities.rotations[0]

    # The workers.

    async def apply(self, contexts: Contexts) -> None:
        self.used.append(contexts.generation)

    async def configure(self, settings: Settings, contexts: Sequence[Contexts]) -> Sequence[PolicyChange]:
        self.used += [each.generation for each in contexts]
        self.configured.append(settings)
        return self.policy_changes

    # The configuration.

    async def look(self) -> Change | None:
        return self.change

    def applied(self, change: Change) -> None:
        assert change is self.change
        self.change = self.state = None

    def edit(self, settings: Settings, *keys: str, restart: tuple[str, ...] = ()) -> None:
        self.change = Change(settings, keys, restart)
        self.state = ConfigurationState("tlsidecar.toml", self.clock.now(), keys, restart)

    async def ask(self, trigger: Trigger = Trigger.ADMIN, *, renew: bool = False, configure: bool = False) -> Attempt:
        if configure:
            answer = self.identities.reloads.join(trigger)
            await self.identities.run_reload(await self.identities.reloads.next())
        else:
            answer = self.rotation.requests.join(trigger, renew=renew)
            await self.turn()
        (attempt,) = answer.result()
        return attempt

    async def turn(self) -> None:
        await self.rotation.run_batch(await self.rotation.requests.next())

    async def start(self) -> Attempt:
        (attempt,) = await self.identities.first_material()
        return attempt

    def withhold(self, material: Material) -> asyncio.Event:
        """The source is asked to renew, and gives ``material`` only once the event is set."""
        issued = asyncio.Event()

        async def slow() -> Material:
            self.source.calls.append("renew")
            await issued.wait()
            return material

        self.source.renew = slow  # type: ignore[method-assign]
        return issued

    @property
    def is_idle(self) -> bool:
        return "empty" in repr(self.rotation.requests)


@pytest.fixture
def files(tmp_path: Path) -> Story:
    return Story(tmp_path)


@pytest.fixture
def authority(tmp_path: Path) -> Story:
    return Story(tmp_path, renews=True)


@pytest.fixture
def two(tmp_path: Path) -> Story:
    """Two identities: the first with ``source``, the second with ``other_source``."""
    names = ("mesh", "public")
    identities = tuple(replace(SETTINGS.identity, name=name) for name in names)
    listeners = (replace(SETTINGS.listeners[0], identities=names),)
    return Story(tmp_path, replace(SETTINGS, identities=identities, listeners=listeners))


async def test_the_first_material_the_same_again_and_new(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    assert (await files.start()).outcome is Outcome.APPLIED
    assert (await files.ask()).outcome is Outcome.UNCHANGED
    files.source.at_hand = files.issuer.material()
    attempt = await files.ask()
    assert (attempt.outcome, attempt.generation) == (Outcome.APPLIED, 2)
    assert attempt.previous_serial != attempt.serial
    assert files.used == [1, 2]


async def test_a_refused_candidate_changes_only_what_is_shown(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    files.source.at_hand = GONE
    attempt = await files.ask()
    assert (attempt.outcome, attempt.reason, attempt.generation) == (Outcome.REFUSED, "missing_file", 1)
    assert files.rotation.attempts.refused_since == files.clock.now()
    assert files.used == [1]
    files.source.at_hand = files.issuer.material()
    assert (await files.ask()).outcome is Outcome.APPLIED
    assert files.rotation.attempts.refused_since is None


async def test_a_source_with_nothing_at_hand_is_asked_to_order_the_first(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material()
    assert (await authority.start()).outcome is Outcome.APPLIED
    assert authority.source.calls == ["read", "renew"]


async def test_reload_reads_and_rotate_renews(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material()
    await authority.start()
    authority.source.calls.clear()
    assert (await authority.ask()).outcome is Outcome.UNCHANGED
    assert authority.source.calls == ["read"]
    authority.source.fresh = authority.issuer.material()
    assert (await authority.ask(renew=True)).outcome is Outcome.APPLIED
    assert authority.source.calls == ["read", "renew"]


async def test_it_renews_at_two_thirds_of_the_life_and_tries_again_after_a_failure(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material(24 * HOUR)
    await authority.start()
    assert authority.rotation.next_renewal_at == authority.clock.now() + 16 * HOUR
    authority.clock.advance(15 * HOUR)
    authority.rotation.tick()
    assert authority.is_idle
    authority.clock.advance(HOUR)
    authority.source.fresh = MaterialError(MaterialReason.AUTHORITY_FAILED, "the CA is away")
    authority.rotation.tick()
    authority.rotation.tick()  # once is enough while the first has not been answered
    await authority.turn()
    assert authority.is_idle
    assert (authority.rotation.renewal_failures, authority.source.calls[-1]) == (1, "renew")
    due = authority.rotation.next_renewal_at
    assert due is not None
    assert authority.clock.now() < due <= authority.clock.now() + HOUR
    authority.source.fresh = authority.issuer.material()
    authority.clock.advance(HOUR)
    authority.rotation.tick()
    await authority.turn()
    assert authority.rotation.renewal_failures == 0
    assert authority.used == [1, 2]


async def test_reading_what_is_at_hand_does_not_put_off_a_renewal_that_fails(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material()
    await authority.start()
    authority.source.fresh = GONE
    await authority.ask(renew=True)
    due = authority.rotation.next_renewal_at
    assert (await authority.ask()).outcome is Outcome.UNCHANGED
    assert (authority.rotation.next_renewal_at, authority.rotation.renewal_failures) == (due, 1)


async def test_a_renewal_that_failed_is_mended_by_one_that_succeeds_and_by_nothing_less(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material()
    await authority.start()
    authority.source.fresh = MaterialError(MaterialReason.ACME_FAILED, "the CA is away")
    await authority.ask(renew=True)
    failed_at = authority.clock.now()
    authority.clock.advance(HOUR)
    for configure in (False, True):
        assert (await authority.ask(configure=configure)).outcome is Outcome.UNCHANGED
        refusal = authority.rotation.state().refusal
        assert (refusal and refusal.detail, authority.rotation.state().refused_since) == (
            str(authority.source.fresh),
            failed_at,
        )
    authority.source.fresh = authority.issuer.material()
    await authority.ask(renew=True)
    assert (authority.rotation.state().refusal, authority.rotation.renewal_failures) == (None, 0)


async def test_what_cannot_be_read_is_no_reason_to_order_anything(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material(24 * HOUR)
    await authority.start()
    due, (good, authority.source.at_hand) = authority.rotation.next_renewal_at, (authority.source.at_hand, GONE)
    authority.source.calls.clear()
    assert (await authority.ask()).reason == "missing_file"
    assert (authority.rotation.next_renewal_at, authority.rotation.renewal_failures) == (due, 0)
    authority.clock.advance(timedelta(minutes=10))
    authority.rotation.tick()
    await authority.turn()
    assert authority.source.calls == ["read", "read"]
    assert authority.rotation.state().refusal is not None
    authority.source.at_hand = good
    authority.clock.advance(timedelta(minutes=30))
    authority.rotation.tick()
    await authority.turn()
    assert (authority.source.calls, authority.rotation.state().refusal) == (["read"] * 3, None)


async def test_files_have_no_renewal_time_and_are_read_again_while_they_are_bad(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    assert files.rotation.next_renewal_at is None
    files.clock.advance(23 * HOUR)
    files.rotation.tick()
    assert files.is_idle
    good, files.source.at_hand = files.source.at_hand, GONE
    await files.ask()
    assert (files.rotation.next_renewal_at, files.rotation.renewal_failures) == (None, 0)
    files.source.at_hand = good
    files.clock.advance(timedelta(minutes=10))
    files.rotation.tick()
    await files.turn()
    assert files.source.calls[-1] == "read"
    assert files.rotation.attempts.refused_since is None
    files.clock.advance(HOUR)
    files.rotation.tick()
    assert files.is_idle


async def test_material_that_will_be_good_is_tried_when_it_is(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    soon = files.clock.now() + timedelta(minutes=30)
    files.source.at_hand = MaterialError(MaterialReason.NOT_YET_VALID, retry_at=soon)
    await files.ask()
    files.source.at_hand = files.issuer.material()
    files.clock.advance(timedelta(minutes=30))
    files.rotation.tick()
    await files.turn()
    assert files.used == [1, 2]


async def test_a_jump_of_the_clock_is_noticed(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    files.rotation.tick()
    files.clock.jump(HOUR)
    files.rotation.tick()
    assert files.rotation.clock_jump == (files.clock.now(), 3600.0)


async def test_what_the_source_says_by_itself_is_taken_up(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material()
    await authority.start()
    authority.source.calls.clear()
    following = asyncio.get_running_loop().create_task(authority.rotation.follow_source())
    pushed = authority.issuer.material()
    authority.source.events.put_nowait(Candidate(pushed))
    await authority.turn()
    assert authority.rotation.generation is not None
    assert authority.rotation.generation.material is pushed
    authority.source.events.put_nowait(Failed(GONE))
    await authority.turn()
    assert authority.rotation.attempts.refused_since is not None
    assert authority.source.calls == []
    authority.source.fresh = authority.issuer.material()
    authority.source.events.put_nowait(RenewalWanted("another CA issues now"))
    await authority.turn()
    assert authority.source.calls == ["renew"]
    following.cancel()


async def test_a_configuration_that_may_change_live_is_applied_with_the_material(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    files.edit(OTHER_RULES, "listener[web].allow")
    assert (await files.ask()).configuration == ""  # a rotation reads no configuration
    attempt = await files.ask(configure=True)
    assert (attempt.outcome, attempt.generation) == (Outcome.APPLIED, 2)
    assert (attempt.configuration, attempt.configuration_changes) == ("applied", ("listener[web].allow",))
    assert (files.configured, files.rotation.settings) == ([OTHER_RULES], OTHER_RULES)
    assert (await files.ask(configure=True)).configuration == ""


async def test_whom_the_new_rules_let_in_no_more_is_listed(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    files.edit(OTHER_RULES, "listener[web].allow")
    files.policy_changes = [PolicyChange(1, "web", "a", closes=True), PolicyChange(2, "web", "b", closes=False)]
    attempt = await files.ask(configure=True)
    assert attempt.warnings == (
        "1 connections of peers that the rules let in no more are closed: a",
        "1 connections of peers that the rules let in no more stay open (close_on_policy_change): b",
    )


async def test_what_needs_a_restart_is_named_and_nothing_is_applied(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    files.edit(OTHER_RULES, "workers", "listener[web].allow", restart=("workers",))
    attempt = await files.ask(configure=True)
    assert (attempt.outcome, attempt.configuration) == (Outcome.UNCHANGED, "not applied")
    assert attempt.configuration_changes == ("workers", "listener[web].allow")
    assert "workers can only change with a restart" in attempt.warnings[0]
    assert (files.configured, files.rotation.settings) == ([], SETTINGS)


async def test_a_configuration_that_would_be_refused_is_said(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    files.state = ConfigurationState("tlsidecar.toml", files.clock.now(), error="line 3")
    attempt = await files.ask(configure=True)
    assert (attempt.configuration, attempt.configuration_changes) == ("invalid", ("line 3",))


async def test_another_source_is_used_and_followed_and_the_old_one_no_more(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    following = asyncio.get_running_loop().create_task(files.rotation.follow_source())
    await asyncio.sleep(0)
    moved = replace(SETTINGS, identities=(replace(SETTINGS.identity, cert=Path("other.crt")),))
    files.other_source.at_hand = files.issuer.material()
    files.edit(moved, "identity.cert")
    attempt = await files.ask(configure=True)
    assert (attempt.outcome, attempt.configuration) == (Outcome.APPLIED, "applied")
    assert files.rotation.source is files.other_source
    files.source.events.put_nowait(Candidate(files.issuer.material()))
    files.other_source.events.put_nowait(Candidate(files.issuer.material()))
    await files.turn()
    await asyncio.sleep(0.01)
    assert files.used == [1, 2, 3]
    assert files.is_idle
    following.cancel()


async def test_with_bad_material_nothing_of_it_is_applied(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    moved = replace(OTHER_RULES, identities=(replace(SETTINGS.identity, cert=Path("other.crt")),))
    files.other_source.at_hand = GONE
    files.edit(moved, "identity.cert", "listener[web].allow")
    attempt = await files.ask(configure=True)
    assert (attempt.outcome, attempt.reason, attempt.configuration) == (Outcome.REFUSED, "missing_file", "not applied")
    assert (files.rotation.source, files.rotation.settings, files.configured) == (files.source, SETTINGS, [])
    files.other_source.at_hand = files.issuer.material()
    assert (await files.ask(configure=True)).configuration == "applied"


async def test_a_defect_answers_whoever_asked_and_is_passed_on(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()

    async def broken() -> None:
        raise ZeroDivisionError

    files.source.read = broken  # type: ignore[method-assign,assignment] - a defect
    answer = files.rotation.requests.join(Trigger.ADMIN)
    with pytest.raises(ZeroDivisionError):
        await files.turn()
    with pytest.raises(ZeroDivisionError):
        answer.result()


async def test_a_slow_source_that_is_to_come_holds_up_nobody(files: Story) -> None:
    """While it is waited for, the one in use goes on; what that gave meanwhile is what the change is put upon."""
    files.source.at_hand = files.issuer.material()
    await files.start()
    moved = replace(SETTINGS, identities=(replace(SETTINGS.identity, cert=Path("other.crt")),))
    files.edit(moved, "identity.cert")
    answers = asyncio.Event()
    late = files.issuer.material()

    async def slow() -> Material:
        await answers.wait()
        return late

    files.other_source.read = slow  # type: ignore[method-assign]
    asked = asyncio.get_running_loop().create_task(files.ask(configure=True))
    await asyncio.sleep(0)
    files.source.at_hand = files.issuer.material()
    assert (await files.ask()).generation == 2
    assert not asked.done()
    answers.set()
    attempt = await asked
    assert (attempt.generation, attempt.serial, attempt.configuration) == (3, late.identity.serial, "applied")
    assert files.used == [1, 2, 3]


async def test_what_the_source_gave_later_is_what_a_change_is_applied_with(two: Story) -> None:
    """One identity's source is slow to be proved; the other's gives something newer before all is put to use."""
    mesh, public = two.identities.rotations
    two.source.at_hand = two.issuer.material()
    two.other_source.at_hand = two.issuer.material()
    await two.identities.first_material()
    other_rules = replace(two.settings, listeners=(replace(two.settings.listeners[0], allow=("ou:sre",)),))
    two.edit(other_rules, "listener[web].allow")
    answers = asyncio.Event()

    async def slow() -> Material | None:
        await answers.wait()
        return two.other_source.at_hand  # type: ignore[return-value]

    two.other_source.read = slow  # type: ignore[method-assign]
    answer = two.identities.reloads.join(Trigger.ADMIN)
    run = asyncio.get_running_loop().create_task(two.identities.run_reload(await two.identities.reloads.next()))
    await asyncio.sleep(0.01)
    newest = two.source.at_hand = two.issuer.material()
    mesh.requests.join(Trigger.FILE_CHANGE)
    await mesh.run_batch(await mesh.requests.next())
    assert mesh.generation is not None
    assert mesh.generation.number == 2
    answers.set()
    await run
    assert {attempt.configuration for attempt in answer.result()} == {"applied"}
    assert (mesh.generation.number, mesh.generation.material.digest) == (3, newest.digest)
    assert public.generation is not None
    assert public.generation.number == 2
    assert mesh.settings is public.settings is other_rules


async def test_an_order_holds_up_no_change_of_the_settings(authority: Story) -> None:
    """An issuer takes its time; rules change meanwhile, and what it gives in the end is judged by the new ones."""
    authority.source.fresh = authority.issuer.material()
    await authority.start()
    late = authority.issuer.material()
    issued = authority.withhold(late)
    authority.source.calls.clear()
    order = asyncio.get_running_loop().create_task(authority.ask(renew=True))
    await asyncio.sleep(0)
    waiting = authority.rotation.requests.join(Trigger.ADMIN, renew=True)
    authority.edit(OTHER_RULES, "listener[web].allow")
    attempt = await authority.ask(configure=True)
    assert (attempt.outcome, attempt.configuration, attempt.generation) == (Outcome.APPLIED, "applied", 2)
    assert not order.done()
    issued.set()
    attempt = await order
    assert (attempt.generation, attempt.serial) == (3, late.identity.serial)
    assert authority.rotation.settings is OTHER_RULES
    assert authority.used == [1, 2, 3]
    assert authority.source.calls == ["renew", "read"]
    assert not waiting.done()
    await authority.turn()
    assert waiting.done()


async def test_a_source_that_does_not_answer_holds_up_no_change_of_the_settings(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.start()
    files.source.at_hand = MaterialError(MaterialReason.SOURCE_TIMEOUT, "reading the files took longer than 30 s")
    files.edit(OTHER_RULES, "listener[web].allow")
    attempt = await files.ask(configure=True)
    assert (attempt.outcome, attempt.configuration, attempt.generation) == (Outcome.APPLIED, "applied", 2)
    assert attempt.warnings[0].startswith("what was in use stays: the source of the material did not answer in time")


async def test_a_change_orders_nothing_where_nothing_is_at_hand(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material()
    await authority.start()
    authority.source.at_hand = None  # as of one that was issued for other names, or whose file is gone
    authority.source.calls.clear()
    authority.edit(OTHER_RULES, "listener[web].allow")
    assert (await authority.ask(configure=True)).configuration == "applied"
    assert authority.source.calls == ["read"]


async def test_what_was_read_before_a_renewal_never_follows_it(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material()
    await authority.start()
    old, new = authority.source.at_hand, authority.issuer.material()
    answers = asyncio.Event()
    assert isinstance(old, Material)
    reads = iter([old, new])

    async def slow() -> Material:
        await answers.wait()
        return next(reads)

    authority.source.read = slow  # type: ignore[method-assign]
    reload = asyncio.get_running_loop().create_task(authority.ask(configure=True))
    await asyncio.sleep(0.01)
    authority.source.fresh = new
    assert (await authority.ask(renew=True)).serial == new.identity.serial
    answers.set()
    attempt = await reload
    assert (attempt.outcome, attempt.serial) == (Outcome.UNCHANGED, new.identity.serial)
    assert authority.used == [1, 2]


async def test_what_the_former_source_gives_late_is_nobodys(authority: Story) -> None:
    """It was ordered, and then the identity was given another source."""
    authority.source.fresh = authority.issuer.material()
    await authority.start()
    issued = authority.withhold(authority.issuer.material())
    order = asyncio.get_running_loop().create_task(authority.ask(renew=True))
    await asyncio.sleep(0)
    other = authority.other_source.at_hand = authority.issuer.material()
    authority.edit(replace(SETTINGS, identities=(replace(SETTINGS.identity, cert=Path("other.crt")),)), "identity.cert")
    assert (await authority.ask(configure=True)).serial == other.identity.serial
    issued.set()
    attempt = await order
    assert (attempt.outcome, attempt.serial) == (Outcome.UNCHANGED, other.identity.serial)
    assert authority.used == [1, 2]


async def test_a_renewal_goes_on_waiting_while_another_identity_keeps_a_change_back(two: Story) -> None:
    mesh, _public = two.identities.rotations
    two.source.renews = True
    two.source.fresh = two.issuer.material()
    two.other_source.at_hand = two.issuer.material()
    await two.identities.first_material()
    two.edit(
        replace(two.settings, listeners=(replace(two.settings.listeners[0], allow=("ou:sre",)),)), "listener[web].allow"
    )
    two.source.fresh = two.issuer.material()
    two.other_source.at_hand = GONE
    renewed = mesh.requests.join(Trigger.ADMIN, renew=True)
    two.source.calls.clear()
    two.identities.reloads.join(Trigger.ADMIN)
    await two.identities.run_reload(await two.identities.reloads.next())
    assert set(two.source.calls) == {"read"}
    await mesh.run_batch(await mesh.requests.next())
    (attempt,) = renewed.result()
    assert (attempt.outcome, attempt.generation, two.source.calls.count("renew")) == (Outcome.APPLIED, 2, 1)
    assert two.configured == []


async def test_whoever_waits_for_an_identity_that_goes_is_answered(two: Story) -> None:
    """For the attempt under way, and for the one to come."""
    public = two.identities.rotations[1]
    two.source.at_hand = two.issuer.material()
    two.other_source.at_hand = two.issuer.material()
    await two.identities.first_material()

    async def hangs() -> Material:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    two.other_source.renew = hangs  # type: ignore[method-assign]
    alone = replace(two.settings.listeners[0], identities=("mesh",))
    two.edit(
        replace(two.settings, identities=two.settings.identities[:1], listeners=(alone,)), "identity[public] removed"
    )
    async with asyncio.TaskGroup() as tasks:
        begun: list[asyncio.Task[None]] = []

        def begin(name: str, loop: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
            async def run() -> None:
                await loop()

            begun.append(tasks.create_task(run(), name=name))
            return begun[-1]

        two.identities.serve(begin)
        answers = [public.requests.join(Trigger.ADMIN, renew=True)]
        await asyncio.sleep(0.01)
        answers.append(public.requests.join(Trigger.ADMIN, renew=True))
        assert not any(answer.done() for answer in answers)
        reload = two.identities.reloads.join(Trigger.ADMIN)
        await reload
        assert [answer.result() for answer in answers] == [reload.result()] * 2
        for task in begun:
            task.cancel()
