"""Replies go in, in order; what a view needs comes out, frozen."""

from __future__ import annotations

from datetime import timedelta

from ui_world import World, healthy, stamp

from tui.model import Model
from tui.records import event_of
from tui.text import SafeText


def _take(model: Model, world: World, monotonic: float, round_trip_s: float = 0.0) -> None:
    model.take_status(world.document("status"), monotonic, world.now, round_trip_s)


def test_a_snapshot_stays_as_it_was() -> None:
    world, model = healthy(), Model(SafeText("admin.sock"))
    _take(model, world, 10.0)
    model.take_event(event_of("opened", {"seq": 1}))
    before = model.snapshot(10.0)
    world.advance(1, bytes_in=500, connections=3)
    _take(model, world, 11.0)
    model.take_event(event_of("closed", {"seq": 2}))
    assert before.status is not None
    assert before.status.totals.connections_total == 8484
    assert len(before.events) == 1
    after = model.snapshot(11.0)
    assert after.status is not None
    assert after.status.totals.connections_total == 8487
    assert after.rates.connections_per_minute == 180.0
    assert after.listener_rates["web"].bytes_in_per_s == 500.0
    assert after.quiet_s == 0.0
    assert model.snapshot(15.0).quiet_s == 4.0


def test_updates_count_what_changed() -> None:
    world, model = healthy(), Model(SafeText("admin.sock"))
    _take(model, world, 10.0)
    _take(model, world, 11.0)
    assert model.updates == 1
    world.advance(1)
    _take(model, world, 12.0)
    model.take_event(event_of("opened", {"seq": 1}))
    assert model.updates == 3


def test_clock_skew_is_measured_against_the_middle_of_the_round_trip() -> None:
    world, model = healthy(), Model(SafeText("admin.sock"))
    world.skew = timedelta(seconds=42)
    model.take_status(world.document("status"), 10.0, world.now + timedelta(seconds=1), round_trip_s=2.0)
    assert model.skew_s == 42.0
    assert model.snapshot(10.0).is_skewed
    world.skew = timedelta(seconds=2)
    _take(model, world, 11.0)
    assert not model.snapshot(11.0).is_skewed


def test_a_restart_forgets_what_was_the_other_process() -> None:
    world, model = healthy(), Model(SafeText("admin.sock"))
    _take(model, world, 10.0)
    model.take_certificates(world.document("certificates"), 10.0)
    model.take_refusals({"total": 3, "refusals": world.refusals}, 100, 10.0)
    model.take_event(event_of("opened", {"seq": 900}))
    world.status["pid"] = 4712
    world.status["started_at"] = stamp(world.now)
    _take(model, world, 11.0)
    assert model.restarts == 1
    assert model.refusals is None
    assert model.last_event_id is None
    assert model.certificates_key is None
    assert model.certificates is not None  # shown until the new ones are read
    assert not model.snapshot(11.0).rates.is_known


def test_losing_and_finding_the_socket() -> None:
    world, model = healthy(), Model(SafeText("admin.sock"))
    _take(model, world, 10.0)
    model.lose(SafeText("gone"), 12.5)
    model.lose(SafeText("gone"), 14.5)
    assert (model.link.attempt, model.link.last_reply_at, model.link.next_attempt_at) == (2, 10.0, 14.5)
    assert model.snapshot(13.0).status is not None
    _take(model, world, 15.0)
    assert not model.link.is_lost


def test_the_name_is_the_node_or_the_socket() -> None:
    world, model = healthy(), Model(SafeText("admin.sock"))
    assert model.snapshot(0.0).name == "admin.sock"
    _take(model, world, 10.0)
    assert model.snapshot(10.0).name == "web-1"
    assert model.snapshot(10.0).own_validity.not_after is not None
    assert Model(SafeText("x")).snapshot(0.0).own_validity.not_after is None


def test_events_are_bounded_and_remember_where_they_were() -> None:
    model = Model(SafeText("admin.sock"))
    for seq in range(1, 3001):
        model.take_event(event_of("opened", {"seq": seq}))
    model.take_event(event_of("lost", {"from": 1, "to": 2}))
    assert len(model.events) == 2000
    assert model.last_event_id == 3000


def test_events_of_before_a_restart_stay_and_are_not_taken_for_those_after_it() -> None:
    """Their numbers begin anew."""
    model = Model(SafeText("admin.sock"))
    for process in ("old", "new"):
        for seq in (1, 2):
            model.take_event(event_of("opened", {"seq": seq, "process": process}))
    snapshot = model.snapshot(0.0)
    assert [each.number for each in snapshot.events] == [1, 2, 3, 4]
    found = [event for number in (1, 3) if (event := snapshot.event(number)) is not None]
    assert [(each.seq, each.raw["process"]) for each in found] == [(1, "old"), (1, "new")]
    assert snapshot.event(0) is None


def test_another_moment_of_a_recording_is_no_restart() -> None:
    world, model = healthy(), Model(SafeText("x"))
    _take(model, world, 10.0)
    model.take_event(event_of("opened", {"seq": 1}))
    model.rewind()
    assert (model.restarts, model.status, list(model.events)) == (0, None, [])
    world.status["pid"] = 4712
    _take(model, world, 11.0)
    assert model.restarts == 0
