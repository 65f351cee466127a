"""One identity's rotation as a transcript: what the source gives and the clock says goes in, what workers are given and
what is told comes out. With the configuration around it: test_identities.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from unit.certs import forge
from unit.control.world import SETTINGS, Issuer, ScriptedSource

from certs.errors import AuthorityError, MaterialError, MaterialReason
from certs.sources import Candidate, Failed, RenewalWanted
from tlsidecar.control.interface import Attempt, Outcome, Trigger
from tlsidecar.control.requests import Batch
from tlsidecar.control.rotation import Rotation, refusal
from tlsidecar.dataplane.tls import Contexts
from tlsidecar.observe.events import EventHub
from tlsidecar.pace import Pace

HOUR = timedelta(hours=1)
GONE = MaterialError(MaterialReason.MISSING_FILE, "tls.crt")
OTHER_RULES = replace(SETTINGS, listeners=(replace(SETTINGS.listeners[0], allow=("ou:sre",)),))


class Story:
    """A rotation, and in ``told`` what it did, in order."""

    def __init__(self, directory: Path, *, renews: bool = False) -> None:
        self.clock = forge.ManualClock()
        self.issuer = Issuer(directory / ("authority" if renews else "files"), self.clock)
        self.source = ScriptedSource(renews=renews)
        self.told: list[str] = []
        self.hub = EventHub(self.clock)
        self.rotation = Rotation(
            "default",
            SETTINGS,
            self.source,
            self.clock,
            self.hub,
            self.apply,
            Pace(lambda: False),
            attempted=lambda: self.told.append("attempted"),
            random_unit=lambda: 0.5,
        )

    async def apply(self, contexts: Contexts) -> None:
        assert self.rotation.generation is None or self.rotation.generation.number < contexts.generation
        self.told.append(f"apply {contexts.generation}")

    async def make(self, trigger: Trigger = Trigger.ADMIN, *, renew: bool = False) -> Attempt:
        """One attempt, asked for and made."""
        answer = self.rotation.requests.join(trigger, renew=renew)
        await self.turn()
        (attempt,) = answer.result()
        return attempt

    async def turn(self) -> None:
        await self.rotation.run_batch(await self.rotation.requests.next())

    def tick(self, after: timedelta = timedelta(0)) -> bool:
        """Whether the clock asks for something that much later."""
        self.clock.advance(after)
        self.rotation.tick()
        return "empty" not in repr(self.rotation.requests)

    @property
    def reported(self) -> list[tuple[object, ...]]:
        keys = ("outcome", "reason", "generation")
        return [tuple(event.fields[key] for key in keys) for event in self.hub.since(0, 100)]


@pytest.fixture
def files(tmp_path: Path) -> Story:
    """From a source that somebody else renews."""
    return Story(tmp_path)


@pytest.fixture
def authority(tmp_path: Path) -> Story:
    """From one that is to be asked in time."""
    return Story(tmp_path, renews=True)


async def test_a_transcript(files: Story) -> None:
    files.source.at_hand = GONE
    assert (await files.make(Trigger.START)).generation == 0
    files.source.at_hand = files.issuer.material()
    await files.make()
    await files.make()
    files.source.at_hand = GONE
    await files.make()
    files.source.at_hand = files.issuer.material()
    await files.make()
    assert files.told == ["apply 1", "apply 2"]
    assert files.reported == [
        ("refused", "missing_file", 0),
        ("applied", "", 1),
        ("unchanged", "", 1),
        ("refused", "missing_file", 1),
        ("applied", "", 2),
    ]


async def test_what_was_done_is_answered_though_the_identity_goes(
    files: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.source.at_hand = files.issuer.material()
    answer = files.rotation.requests.join(Trigger.ADMIN)
    turn = asyncio.ensure_future(files.turn())
    real_step = Pace.step

    async def step(pace: Pace) -> None:
        if files.rotation.generation is not None:
            turn.cancel()
        await real_step(pace)

    monkeypatch.setattr(Pace, "step", step)
    await asyncio.wait([turn])
    assert turn.cancelled()
    assert [each.generation for each in answer.result()] == [1]


async def test_the_first_refusal_is_for_whoever_starts_us_to_tell(
    files: Story, caplog: pytest.LogCaptureFixture
) -> None:
    """Later ones are an error in the log: what is served then is not what somebody wants to be served."""
    with caplog.at_level(logging.INFO):
        files.source.at_hand = GONE
        await files.make()
        assert caplog.records == []
        files.source.at_hand = files.issuer.material()
        await files.make()
        files.source.at_hand = GONE
        await files.make()
    assert [record.getMessage() for record in caplog.records] == [
        "material in use",
        "new material refused, the old one goes on serving",
    ]
    assert caplog.records[1].fields["reason"] == "missing_file"  # type: ignore[attr-defined] - as the log has it


async def test_what_cannot_be_served_is_known_by_its_leaf(files: Story) -> None:
    """Newer material that is refused is a problem of its own; a file that is gone is no material."""
    files.source.at_hand = files.issuer.material()
    await files.make()
    for_clients = replace(files.issuer.material(timedelta(hours=2)), chain=())
    files.source.at_hand = for_clients
    attempt = await files.make()
    assert (attempt.outcome, attempt.reason) == (Outcome.REFUSED, "chain_incomplete")
    assert files.rotation.rejected == for_clients.leaf
    files.source.at_hand = GONE
    await files.make()
    assert files.rotation.rejected is None
    assert files.told == ["apply 1"]


async def test_an_attempt_says_what_is_different_and_how_long_it_took(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    first = await files.make()
    assert first.differences == ()
    files.source.at_hand = files.issuer.material(timedelta(hours=2))
    slow = files.source.read

    async def read() -> object:
        files.clock.advance(timedelta(seconds=3))
        return await slow()

    files.source.read = read  # type: ignore[method-assign, assignment] - the same, later
    second = await files.make()
    assert (second.previous_serial, second.duration_s) == (first.serial, 3.0)
    assert second.at == files.clock.now()
    assert [each.what for each in second.differences] == ["key", "lifetime"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(GONE, "missing_file"), (AuthorityError("pki: the clock went back"), "authority_failed")],
)
def test_an_error_of_any_kind_has_a_reason(error: MaterialError | AuthorityError, reason: str) -> None:
    attempt = refusal("mesh", error, Trigger.TIMER, forge.NOW)
    assert (attempt.identity, attempt.outcome, attempt.reason) == ("mesh", Outcome.REFUSED, reason)
    assert (attempt.detail, attempt.at, attempt.generation) == (str(error), forge.NOW, 0)


async def test_the_clock_asks_once_and_again_when_that_has_been_answered(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material(24 * HOUR)
    await authority.make()
    assert not authority.tick(15.9 * HOUR)
    assert authority.tick(0.1 * HOUR)
    batch = authority.rotation.requests.take()
    assert batch is not None
    assert (batch.triggers, batch.renews) == ([Trigger.TIMER], True)
    assert not authority.tick(HOUR), "it is under way"
    authority.source.fresh = authority.issuer.material()
    await authority.rotation.run_batch(batch)
    assert not authority.tick(), "and done"


async def test_a_defect_in_an_attempt_does_not_end_what_the_clock_asks_for(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material(24 * HOUR)
    await authority.make()
    authority.source.fresh = None  # nobody said what to give: an AssertionError
    assert authority.tick(17 * HOUR)
    with pytest.raises(AssertionError):
        await authority.turn()
    assert authority.tick()


@pytest.mark.leaps
async def test_material_of_the_future_is_asked_for_at_its_moment_whoever_renews(files: Story) -> None:
    """Sooner than after any other failure."""
    moment = files.clock.now() + timedelta(seconds=20)
    files.source.at_hand = MaterialError(MaterialReason.NOT_YET_VALID, retry_at=moment)
    await files.make(Trigger.START)
    assert not files.tick(timedelta(seconds=19))
    assert files.tick(timedelta(seconds=1))
    files.source.at_hand = files.issuer.material()
    await files.turn()
    assert not files.tick(HOUR), "once it is there nothing of it is left"


async def test_a_clock_that_goes_back_is_noticed_with_its_sign(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.make()
    files.tick()
    files.clock.jump(-HOUR)
    files.tick()
    assert files.rotation.clock_jump == (files.clock.now(), -3600.0)
    files.tick(HOUR)
    assert files.rotation.clock_jump is not None
    assert files.rotation.clock_jump[0] == files.clock.now() - HOUR, "time that passes is no jump"


async def test_what_others_see_of_it_follows_from_who_renews(files: Story, authority: Story) -> None:
    assert files.rotation.state().generation is None
    for story in (files, authority):
        story.source.at_hand = story.source.fresh = story.issuer.material(24 * HOUR)
        await story.make()
    state = authority.rotation.state()
    assert (state.source, state.renews, state.soft_crl) == ("a script", True, False)
    assert state.next_renewal_at == authority.clock.now() + 16 * HOUR
    assert state.renewal_overdue_at == authority.clock.now() + 16 * HOUR + timedelta(minutes=1)
    state = files.rotation.state()
    assert (state.next_renewal_at, state.renewal_overdue_at, state.renewal_failures) == (None, None, 0)
    authority.source.fresh = GONE
    await authority.make(renew=True)
    assert authority.rotation.state().renewal_failures == 1


async def test_those_who_asked_find_everything_judged(files: Story) -> None:
    """``attempted`` is called before whoever waits goes on."""
    files.source.at_hand = files.issuer.material()
    loop = asyncio.get_running_loop()
    serving = loop.create_task(files.rotation.serve_requests())
    answer = files.rotation.requests.join(Trigger.ADMIN)
    answer.add_done_callback(lambda _: files.told.append("answered"))
    await answer
    assert files.told == ["apply 1", "attempted", "answered"]
    serving.cancel()


async def following(story: Story) -> Callable[[], object]:
    """Follow the source; what is returned ends that."""
    task = asyncio.get_running_loop().create_task(story.rotation.follow_source())
    await asyncio.sleep(0)
    return task.cancel


@pytest.mark.leaps
async def test_what_the_source_says_is_done_one_after_the_other(authority: Story) -> None:
    authority.source.fresh = authority.issuer.material()
    await authority.make()
    authority.source.calls.clear()
    authority.source.fresh = authority.issuer.material()
    end = await following(authority)
    events = [Candidate(authority.issuer.material()), Failed(GONE), RenewalWanted("the CA says so")]
    for event in events:
        authority.source.events.put_nowait(event)
    for _ in events:
        await authority.turn()
        assert "empty" in repr(authority.rotation.requests), "the next one waits until this one is answered"
    assert authority.reported[1:] == [("applied", "", 2), ("refused", "missing_file", 2), ("applied", "", 3)]
    assert authority.source.calls == ["renew"], "what was said is not read again"
    end()


async def test_whoever_asks_to_renew_is_not_put_off_with_what_was_said(authority: Story) -> None:
    """A candidate that arrives while an order waits is part of it, and what is ordered is newer."""
    authority.source.fresh = authority.issuer.material()
    await authority.make()
    fresh = authority.source.fresh = authority.issuer.material()
    authority.rotation.requests.join(Trigger.FILE_CHANGE, event=Candidate(authority.issuer.material()))
    answer = authority.rotation.requests.join(Trigger.ADMIN, renew=True)
    await authority.turn()
    (attempt,) = answer.result()
    assert (attempt.serial, attempt.trigger) == (fresh.identity.serial, Trigger.FILE_CHANGE)


async def test_a_proof_is_made_again_upon_what_is_in_use_by_then(files: Story) -> None:
    files.source.at_hand = files.issuer.material()
    await files.make()
    batch = Batch(asyncio.get_running_loop().create_future(), [Trigger.ADMIN])
    proved = await files.rotation.prove(batch, OTHER_RULES)
    assert await files.rotation.prove_again(proved, OTHER_RULES) is proved
    assert proved.contexts is not None
    assert proved.contexts.generation == 2, "other settings make a generation even of the same material"
    newer = files.source.at_hand = files.issuer.material()
    await files.make()
    again = await files.rotation.prove_again(proved, OTHER_RULES)
    assert again.contexts is not None
    assert (again.contexts.generation, again.material) == (3, newer)
    assert files.told == ["apply 1", "apply 2"], "a proof puts nothing to use"


def test_nobody_asks_for_contexts_before_there_are_any(files: Story) -> None:
    with pytest.raises(AssertionError, match="no generation yet"):
        _ = files.rotation.contexts
    assert repr(files.rotation) == "<Rotation default generation=0 <RequestQueue empty>>"
