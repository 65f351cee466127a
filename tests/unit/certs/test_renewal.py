"""A year of renewals in milliseconds, with failures and clocks that jump."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.certs import forge

from certs.renewal import (
    MAX_BACKOFF,
    MAX_PATIENCE,
    MIN_INTERVAL,
    RenewalSchedule,
    backoff,
    patience,
    renewal_time,
    spacing,
)

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
LIFETIME = 24 * HOUR
BACKDATE = 5 * MINUTE
LONGEST_SLEEP_S = 60.0


@given(
    lifetime_s=st.integers(1, 400 * 86400),
    age_s=st.integers(-3600, 400 * 86400),
    unit=st.floats(0, 1, exclude_max=True),
)
def test_a_renewal_is_due_at_two_thirds_of_what_is_left(lifetime_s: int, age_s: int, unit: float) -> None:
    starts = forge.NOW - timedelta(seconds=age_s)
    ends = starts + timedelta(seconds=lifetime_s)
    due = renewal_time(starts, ends, forge.NOW, lambda: unit)
    left = ends - max(starts, forge.NOW)
    assert due >= forge.NOW + spacing(left)
    if left > timedelta(seconds=2):
        assert max(starts, forge.NOW) + left * 0.6 <= due <= max(starts, forge.NOW) + left * 0.72
        assert due < ends


@given(life_s=st.integers(30, 400 * 86400), unit=st.floats(0, 1, exclude_max=True))
def test_a_renewal_is_late_before_a_tenth_of_any_life_is_left(life_s: int, unit: float) -> None:
    life = timedelta(seconds=life_s)
    schedule = RenewalSchedule(lambda: unit)
    schedule.succeeded(forge.NOW, forge.NOW + life, forge.NOW, 0.0)
    assert schedule.due is not None
    assert schedule.overdue_at == schedule.due + patience(life) <= forge.NOW + life * 0.9
    assert spacing(life) <= patience(life) <= MAX_PATIENCE
    assert patience(life) == MAX_PATIENCE or life < timedelta(minutes=10)


@given(failures=st.integers(1, 100), left_s=st.integers(-1000, 10**7), unit=st.floats(0, 1, exclude_max=True))
def test_back_off_stays_between_a_minute_and_an_hour(failures: int, left_s: int, unit: float) -> None:
    wait = backoff(failures, timedelta(seconds=left_s), lambda: unit)
    assert MIN_INTERVAL <= wait <= MAX_BACKOFF
    if left_s > 600:
        assert wait <= max(MIN_INTERVAL, timedelta(seconds=left_s) / 10)


@given(life_s=st.integers(1, 86400), share=st.floats(0.01, 1), failures=st.integers(1, 100))
def test_ten_attempts_fit_into_the_last_third_of_any_life(life_s: int, share: float, failures: int) -> None:
    life = timedelta(seconds=life_s)
    wait = backoff(failures, life * share, lambda: 0.99, life)
    assert spacing(life) <= wait <= max(spacing(life), life * share / 10)
    assert spacing(life) <= max(life / 30, timedelta(seconds=1))
    assert wait <= max(spacing(life), backoff(failures, timedelta(0), lambda: 0.99))


def test_back_off_grows() -> None:
    waits = [backoff(count, timedelta(days=30), lambda: 0.99) for count in range(1, 9)]
    assert waits == sorted(waits)
    assert waits[0] < waits[3] < waits[-1]
    assert waits[-1] > MAX_BACKOFF * 0.9


class Simulation:
    """The control loop as it uses a schedule: look at the clocks, attempt when due; what is not due is slept over."""

    def __init__(self, seed: int = 1, lifetime: timedelta = LIFETIME) -> None:
        self.clock = forge.ManualClock()
        self.random = random.Random(seed)
        self.schedule = RenewalSchedule(self.random.random)
        self.lifetime = lifetime
        self.attempts: list[tuple[float, datetime]] = []
        self.successes = 0
        self.expired_s = 0.0
        self.jumps: list[timedelta] = []
        self.issuer_works = True
        self._renew()

    def run(self, duration: timedelta) -> None:
        end = self.clock.monotonic() + duration.total_seconds()
        while self.clock.monotonic() < end:
            step = timedelta(seconds=max(self._asleep_s(), 0.001))
            self.clock.advance(step)
            assert self.schedule.not_after is not None
            if self.clock.now() > self.schedule.not_after:
                self.expired_s += step.total_seconds()
            jump = self.schedule.observe(self.clock.now(), self.clock.monotonic())
            if jump:
                self.jumps.append(jump)
            if self.schedule.is_due(self.clock.now(), self.clock.monotonic()):
                self._attempt()

    def _asleep_s(self) -> float:
        """Until the next attempt, as far as one can tell now; never over a minute, since clocks may jump."""
        schedule, last = self.schedule, self.schedule.last_attempt_monotonic
        assert schedule.due is not None
        assert last is not None
        wait_s = (schedule.due - self.clock.now()).total_seconds()
        wait_s = max(wait_s, last + spacing(schedule.life).total_seconds() - self.clock.monotonic())
        return min(max(wait_s, 0.0), LONGEST_SLEEP_S)

    def _attempt(self) -> None:
        self.attempts.append((self.clock.monotonic(), self.clock.now()))
        if self.issuer_works:
            self._renew()
        else:
            self.schedule.failed(self.clock.now(), self.clock.monotonic())

    def _renew(self) -> None:
        now = self.clock.now()
        self.successes += 1
        self.schedule.succeeded(now - BACKDATE, now + self.lifetime, now, self.clock.monotonic())

    def assert_no_storm(self) -> None:
        times = [monotonic for monotonic, _ in self.attempts]
        assert all(later - earlier >= spacing(self.lifetime).total_seconds() for earlier, later in pairwise(times))


def test_a_year_of_daily_certificates() -> None:
    simulation = Simulation()
    simulation.run(timedelta(days=365))
    simulation.assert_no_storm()
    assert simulation.expired_s == 0
    assert 365 * 1.4 <= simulation.successes <= 365 * 1.7  # one every sixteen hours
    assert simulation.jumps == []


def test_a_fleet_spreads() -> None:
    dues = {renewal_time(forge.NOW, forge.NOW + LIFETIME, forge.NOW, random.Random(seed).random) for seed in range(100)}
    assert max(dues) - min(dues) > 2 * HOUR
    assert len({due.replace(minute=due.minute // 15 * 15, second=0, microsecond=0) for due in dues}) > 5


def test_an_issuer_away_for_six_hours_leaves_no_gap() -> None:
    simulation = Simulation()
    simulation.run(15 * HOUR)
    simulation.issuer_works = False
    simulation.run(6 * HOUR)
    failed = len(simulation.attempts)
    assert 4 <= failed <= 20
    simulation.issuer_works = True
    simulation.run(2 * HOUR)
    assert simulation.successes == 2
    assert simulation.expired_s == 0
    simulation.assert_no_storm()


def test_an_issuer_away_past_expiry_is_asked_at_most_hourly_and_then_used_at_once() -> None:
    simulation = Simulation()
    simulation.issuer_works = False
    simulation.run(timedelta(days=10))
    simulation.assert_no_storm()
    attempts = len(simulation.attempts)
    assert 150 <= attempts <= 1200
    simulation.issuer_works = True
    simulation.run(MAX_BACKOFF + MINUTE)
    assert simulation.successes == 2


@pytest.mark.parametrize("jump", [timedelta(days=30), -timedelta(days=30), -HOUR, HOUR, timedelta(days=-3650)])
def test_a_jump_of_the_clock_makes_no_storm_and_no_gap(jump: timedelta) -> None:
    simulation = Simulation()
    simulation.run(10 * HOUR)
    simulation.clock.jump(jump)
    simulation.run(2 * MINUTE)
    assert [abs(noticed - jump) < timedelta(seconds=1) for noticed in simulation.jumps] == [True]
    simulation.run(timedelta(days=5))
    simulation.assert_no_storm()
    # Renewals go on at their usual pace whatever the wall clock says.
    assert 5 <= simulation.successes <= 12
    # After a jump forward the certificate is expired until the renewal that the jump makes due.
    assert simulation.expired_s <= 2 * LONGEST_SLEEP_S


def test_a_clock_that_was_wrong_and_is_set_right_again() -> None:
    simulation = Simulation()
    simulation.clock.jump(timedelta(days=365))
    simulation.run(HOUR)
    simulation.clock.jump(timedelta(days=-365))
    simulation.run(timedelta(days=3))
    simulation.assert_no_storm()
    assert simulation.successes >= 4
    assert len(simulation.jumps) == 2


def test_a_suspended_machine_renews_when_it_wakes() -> None:
    """Asleep, the wall clock goes on and the monotonic one does not: to us it is a jump forward."""
    simulation = Simulation()
    simulation.run(HOUR)
    simulation.clock.jump(20 * HOUR)
    simulation.run(2 * MINUTE)
    assert simulation.successes == 2


def test_a_slow_drift_is_not_a_jump() -> None:
    simulation = Simulation()
    for _ in range(500):
        simulation.run(MINUTE)
        simulation.clock.jump(timedelta(milliseconds=200))
    assert simulation.jumps == []


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("run"), st.integers(1, 48)),
            st.tuples(st.just("jump"), st.integers(-500, 500)),
            st.tuples(st.just("issuer"), st.integers(0, 1)),
        ),
        max_size=12,
    ),
    st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_whatever_happens_there_is_no_storm_and_it_recovers(events: list[tuple[str, int]], seed: int) -> None:
    simulation = Simulation(seed)
    for kind, amount in events:
        if kind == "run":
            simulation.run(amount * HOUR)
        elif kind == "jump":
            simulation.clock.jump(amount * HOUR)
        else:
            simulation.issuer_works = bool(amount)
    simulation.assert_no_storm()
    simulation.issuer_works = True
    simulation.run(26 * HOUR)
    assert simulation.schedule.not_after is not None
    assert simulation.schedule.not_after > simulation.clock.now()
    assert simulation.schedule.failures == 0
    simulation.assert_no_storm()


@pytest.mark.parametrize("lifetime", [timedelta(seconds=30), MINUTE, 5 * MINUTE, HOUR, timedelta(days=90)])
def test_any_lifetime(lifetime: timedelta) -> None:
    simulation = Simulation(lifetime=lifetime)
    simulation.run(lifetime * 4)
    simulation.assert_no_storm()
    assert simulation.expired_s == 0
    assert 6 <= simulation.successes <= 8


def test_a_life_of_a_minute_survives_an_issuer_that_is_away_for_a_quarter_of_it() -> None:
    simulation = Simulation(lifetime=MINUTE)
    for _ in range(20):
        simulation.issuer_works = True
        while simulation.schedule.failures or simulation.schedule.not_after < simulation.clock.now() + MINUTE / 2:  # type: ignore[operator]
            simulation.run(timedelta(seconds=1))
        simulation.issuer_works = False
        simulation.run(timedelta(seconds=15))
    assert simulation.expired_s == 0
    simulation.assert_no_storm()
    simulation.run(HOUR)  # long expired: it is taken up within a life all the same
    simulation.issuer_works = True
    simulation.run(MINUTE)
    assert simulation.schedule.failures == 0


def test_a_jump_makes_nothing_due_within_a_minute_of_the_last_attempt() -> None:
    clock = forge.ManualClock()
    schedule = RenewalSchedule(random.Random(1).random)
    schedule.succeeded(clock.now(), clock.now() + LIFETIME, clock.now(), clock.monotonic())
    clock.jump(timedelta(days=2))
    assert not schedule.is_due(clock.now(), clock.monotonic())
    clock.advance(MINUTE - timedelta(milliseconds=1))
    assert not schedule.is_due(clock.now(), clock.monotonic())
    clock.advance(timedelta(milliseconds=1))
    assert schedule.is_due(clock.now(), clock.monotonic())


def test_nothing_is_due_before_the_first_success() -> None:
    schedule = RenewalSchedule(random.Random(1).random)
    clock = forge.ManualClock()
    assert not schedule.is_due(clock.now(), clock.monotonic())
    schedule.failed(clock.now(), clock.monotonic())
    assert not schedule.is_due(clock.now(), clock.monotonic())
    clock.advance(2 * MINUTE)
    assert schedule.is_due(clock.now(), clock.monotonic())
