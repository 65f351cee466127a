"""The last two hours: steps, quantiles, workers, clocks that jump, and problems that come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from unit.certs.forge import ManualClock
from unit.control.world import snapshot, upstream

from tlsidecar.api.words import Severity
from tlsidecar.control.history import MOST_IDENTITIES, MOST_UPSTREAMS, History, ProblemMark, TooFine, Window
from tlsidecar.control.interface import Problem
from tlsidecar.control.series import REASONS, Ring, Sums
from tlsidecar.control.tracks import COARSE_STEP_S
from tlsidecar.dataplane.snapshot import ListenerCounters, PartyRecord, TrafficCounters, UpstreamRecord, WorkerSnapshot


class Past:
    """A history of one listener's counters in each of some workers, and the clock that it goes by."""

    def __init__(self, workers: int = 1) -> None:
        self.clock = ManualClock()
        self.history = History(self.clock)
        self.workers = [ListenerCounters() for _ in range(workers)]

    def second(self, seconds: float = 1.0, worker: int = 0, **requests: int) -> None:
        """So many seconds go by, at the end of which it is looked at."""
        counters = self.workers[worker]
        for code, count in requests.items():
            counters.requests[code[1:]] = counters.requests.get(code[1:], 0) + count
        self.clock.advance(timedelta(seconds=seconds))
        self.look()

    def look(self) -> None:
        self.history.observe([snapshot(each, worker=number) for number, each in enumerate(self.workers)])

    def steps(self, ago_s: float, step_s: int) -> Sequence[Sums]:
        window = self.history.window(self.clock.now() - timedelta(seconds=ago_s), step_s)
        assert len(window.of("web")) == window.steps
        return window.of("web")

    def ok(self, ago_s: float, step_s: int) -> list[int]:
        return [sums.requests["2xx"] for sums in self.steps(ago_s, step_s)]


def test_each_second_of_the_last_two_minutes() -> None:
    past = Past()
    for count in range(200):
        past.second(_2xx=count)
    assert past.ok(3, 1) == [197, 198, 199]
    assert past.ok(120, 1) == list(range(80, 200))
    in_between = past.ok(60, 7)[1:-1]
    assert [later - earlier for earlier, later in pairwise(in_between)] == [49] * 7


def test_steps_of_ten_seconds_for_two_hours() -> None:
    past = Past()
    for _ in range(7400):
        past.second(_2xx=1)
    window = past.history.window(past.clock.now() - timedelta(hours=3), COARSE_STEP_S)
    assert (window.until - window.since, window.steps) == (timedelta(hours=2), 720)
    assert past.ok(7200, 10) == [10] * 720
    assert past.ok(7200, 3600)[1:-1] == [3600]
    assert 7200 <= sum(past.ok(7200, 3600)) <= 7210
    with pytest.raises(TooFine, match="step is 10s at least"):
        past.ok(300, 9)


def test_steps_that_are_not_kept_are_the_next_longer_ones() -> None:
    past = Past()
    for _ in range(600):
        past.second(_2xx=1)
    window = past.history.window(past.clock.now() - timedelta(minutes=5), 15)
    assert window.step_s == 20


def test_what_is_counted_begins_with_the_process_and_ends_with_the_last_second() -> None:
    past = Past()
    began = past.clock.now()
    for _ in range(75):
        past.second(_2xx=1)
    window = past.history.window(began - timedelta(hours=1), 60)
    assert (window.since, window.until) == (began, began + timedelta(seconds=75))
    assert sum(sums.requests["2xx"] for sums in window.of("web")) == 75
    assert window.first_at <= began < window.first_at + timedelta(seconds=60)


def test_the_last_minute_forgets_a_slow_beginning() -> None:
    past = Past()
    past.workers[0].handshake_seconds.observe(9.0)
    past.second()
    assert past.history.lately("web").handshake_seconds.observations == 1
    past.workers[0].handshake_seconds.observe(0.004)
    for _ in range(59):
        past.second()
    past.workers[0].handshake_seconds.observe(0.004)
    past.second()
    assert past.history.lately("web").handshake_seconds.quantile(0.99) < 0.01  # type: ignore[operator]
    for _ in range(60):
        past.second()
    assert past.history.lately("web").handshake_seconds.quantile(0.99) is None
    assert past.history.lately("nobody's").handshakes == 0


def test_before_the_first_look() -> None:
    past = Past()
    window = past.history.window(past.clock.now() - timedelta(minutes=1), 1)
    assert (window.listeners, window.since) == ((), window.until)


def test_several_workers_are_one_listener() -> None:
    past = Past(workers=2)
    for worker, seconds in ((0, 0.002), (1, 0.2), (1, 0.3)):
        past.workers[worker].handshake_seconds.observe(seconds)
        past.workers[worker].handshakes["ok", ""] = past.workers[worker].handshakes.get(("ok", ""), 0) + 1
    past.workers[1].handshakes["failed", "no_certificate"] = 1
    past.workers[1].connections_active = past.workers[0].connections_active = 4
    past.workers[1].failures["upstream_refused"] = past.workers[0].failures["upstream_refused"] = 2
    past.second()
    (sums,) = past.steps(1, 1)
    assert (sums.handshakes, sums.handshakes_failed, sums.connections_active) == (3, 1, 8)
    assert sums.failures == {"upstream_refused": 4}
    assert sums.handshake_seconds.quantile(0.99) == pytest.approx(0.5, rel=0.1)


def test_a_look_that_comes_late_is_shared_among_the_seconds() -> None:
    past = Past()
    past.second(_2xx=1)
    past.second(4, _2xx=42)
    assert past.ok(5, 1) == [1, 10, 11, 10, 11]


def test_a_look_in_between_tells_nothing_twice() -> None:
    past = Past()
    past.second(0.6, _2xx=5)
    past.look()
    past.second(0.4, _2xx=5)
    past.second()
    assert past.ok(3, 1) == [5, 5]


def test_open_connections_are_those_at_the_end_of_the_step() -> None:
    past = Past()
    for active in (5, 9, 0, 0):
        past.workers[0].connections_active = active
        past.second()
    assert [sums.connections_active for sums in past.steps(4, 1)] == [5, 9, 0, 0]
    assert past.steps(60, 10)[-1].connections_active == 0


def test_a_counter_that_goes_back_is_nothing() -> None:
    past = Past()
    past.second(_2xx=100)
    past.workers[0].requests["2xx"] = 0
    past.second(_2xx=3)
    past.second(_2xx=4)
    assert past.ok(3, 1) == [100, 0, 4]


def test_a_wall_clock_that_jumps_tears_no_hole() -> None:
    past = Past()
    for _ in range(30):
        past.second(_2xx=1)
    past.clock.jump(timedelta(hours=5))
    for _ in range(30):
        past.second(_2xx=1)
    assert sum(past.ok(60, 1)) == 60
    window = past.history.window(past.clock.now() - timedelta(minutes=1), 1)
    assert window.until == past.clock.now()
    assert window.since == past.clock.now() - timedelta(minutes=1)


def test_the_next_look_is_due_when_a_second_begins() -> None:
    past = Past()
    past.clock.advance(timedelta(seconds=0.25))
    assert past.history.due_in_s() == pytest.approx(0.75)
    past.clock.advance(timedelta(seconds=0.749))  # a timer that is a little early
    assert past.history.due_in_s() == pytest.approx(1.001)


def test_every_count_survives_being_packed() -> None:
    sums = Sums(range(1, len(Sums().values) + 1), {REASONS[0]: 7, REASONS[-1]: 2**31})
    packed = sums.pack()
    assert packed is not None
    assert (Sums.unpack(packed).values, Sums.unpack(packed).failures) == (sums.values, sums.failures)
    assert Sums().pack() is None
    huge = Sums([2**70] * len(sums.values)).pack()
    assert huge is not None
    assert Sums.unpack(huge).requests["2xx"] == 2**32 - 1


def test_a_ring_stays_as_large_as_it_is() -> None:
    ring = Ring(1, 120)
    for second in range(1000):
        ring.add(second, Sums(range(1, len(Sums().values) + 1), {"upstream_refused": 1}))
    assert ring.bytes_kept < 120 * 256
    assert ring.joined(0, 1000).connections == 120 * Sums(range(1, len(Sums().values) + 1)).connections
    ring.add(5000, Sums())
    assert ring.joined(4000, 5001).requests["2xx"] == 0


def problem(code: str, *, since_s: float | None = None, severity: Severity = Severity.CRITICAL) -> Problem:
    since = None if since_s is None else ManualClock().now() + timedelta(seconds=since_s)
    return Problem(severity, code, f"{code} it is", since, "web")


def turned(past: Past) -> list[tuple[str, bool]]:
    turns: Sequence[ProblemMark] = past.history.marks(past.clock.now() - timedelta(hours=2))
    return [(turn.code, turn.over) for turn in turns]


def test_a_problem_begins_and_is_over_once() -> None:
    past = Past()
    past.clock.advance(timedelta(seconds=100))
    past.history.note([problem("upstream_down", since_s=90)])
    past.clock.advance(timedelta(seconds=1))
    past.history.note([problem("upstream_down", since_s=90), problem("draining")])
    past.clock.advance(timedelta(seconds=1))
    past.history.note([])
    assert turned(past) == [("upstream_down", False), ("draining", False), ("upstream_down", True), ("draining", True)]
    first = past.history.marks(past.clock.now() - timedelta(hours=2))[0]
    assert (first.at, first.subject) == (ManualClock().now() + timedelta(seconds=90), "web")
    assert turned(past)[1:] == [
        (turn.code, turn.over) for turn in past.history.marks(past.clock.now() - timedelta(seconds=5))
    ]


def test_a_problem_older_than_the_process_begins_with_it() -> None:
    past = Past()
    past.history.note([problem("certificate_expired", since_s=-86400)])
    (turn,) = past.history.marks(past.clock.now() - timedelta(hours=2))
    assert turn.at == past.clock.now()


def test_problems_that_flap_are_bounded() -> None:
    past = Past()
    for _ in range(2000):
        past.history.note([problem("upstream_down")])
        past.history.note([])
    assert len(turned(past)) == 500


# Upstreams and identities.


def traffic(requests: int, *, active: int = 0) -> TrafficCounters:
    return TrafficCounters(connections_active=active, requests={"2xx": requests}, bytes_out=requests * 100)


class Peers:
    """A history of what parties did; ``worker`` and ``number`` tell which counter it is."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.history = History(self.clock)
        self.parties: dict[tuple[int, str], PartyRecord] = {}
        self.upstreams: dict[int, UpstreamRecord] = {}

    def has_done(self, key: str, requests: int, *, worker: int = 0, number: int = 1) -> None:
        self.parties[worker, key] = PartyRecord(key, f"name of {key}", number, traffic(requests, active=1))

    def second(self, seconds: float = 1.0) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        self.history.observe([self._snapshot(worker) for worker in sorted({worker for worker, _ in self.parties})])

    def _snapshot(self, worker: int) -> WorkerSnapshot:
        whole = snapshot(worker=worker)
        parties = tuple(party for (each, _), party in self.parties.items() if each == worker)
        upstreams = (self.upstreams[worker],) if worker in self.upstreams else ()
        return replace(whole, listeners=(replace(whole.listeners[0], parties=parties, upstreams=upstreams),))

    def window(self) -> Window:
        return self.history.window(self.clock.now() - timedelta(seconds=60), 1)

    def ok(self) -> dict[str, list[int]]:
        window = self.window()
        return {each.key: [sums.requests["2xx"] for sums in window.steps_of(each.ring)] for each in window.identities}


def test_an_identity_is_kept_over_all_workers_and_from_its_first_request() -> None:
    peers = Peers()
    peers.second()
    peers.has_done("a", 5)
    peers.second()
    peers.has_done("a", 7)
    peers.has_done("a", 100, worker=1)
    peers.second()
    del peers.parties[1, "a"]  # it has nothing more to do with that worker
    peers.has_done("a", 8)
    peers.second()
    peers.has_done("a", 2, number=2)  # counted anew
    peers.second()
    assert peers.ok() == {"a": [0, 5, 102, 1, 2]}
    (charted,) = peers.window().identities
    assert (charted.name, charted.since) == ("name of a", peers.clock.now() - timedelta(seconds=4))


def test_who_does_more_takes_a_place_and_who_is_idle_loses_it() -> None:
    peers = Peers()
    for number in range(MOST_IDENTITIES):
        peers.has_done(f"idle {number}", 3)
    peers.second()
    for done in range(0, 3000, 100):
        peers.has_done("busy", done)
        peers.second()
    kept = peers.ok()
    assert len(kept) == MOST_IDENTITIES
    assert next(iter(kept)) == "busy"
    assert sum(kept["busy"]) < 2900  # what it did before is not its own
    assert set(kept["busy"]) == {0, 100}


def test_as_busy_as_another_takes_no_place_from_it() -> None:
    peers = Peers()
    for done in range(0, 6000, 100):
        for number in range(MOST_IDENTITIES + 3):
            peers.has_done(f"busy {number}", done)
        peers.second()
    assert list(peers.ok()) == [f"busy {number}" for number in range(MOST_IDENTITIES)]


def test_a_name_that_is_gone_for_hours_is_let_go() -> None:
    peers = Peers()
    peers.has_done("a", 5)
    peers.second()
    peers.parties = {(0, "b"): PartyRecord("b", "b", 1, traffic(1))}
    for _ in range(1200):
        peers.second(10)
    assert [each.key for each in peers.window().identities] == ["b"]


def test_an_upstream_is_kept_over_all_workers() -> None:
    peers = Peers()
    for worker in (0, 1):
        peers.has_done("a", 1, worker=worker)
        peers.upstreams[worker] = replace(upstream("s:1"), traffic=traffic(3 + worker, active=2))
    peers.second()
    (charted,) = peers.window().upstreams
    (sums,) = peers.window().steps_of(charted.ring)
    assert (charted.key, sums.requests["2xx"], sums.connections_active) == ("s:1", 7, 4)


def test_two_hours_of_all_that_is_kept_take_less_than_a_megabyte() -> None:
    """As busy as can be: every second another count in most columns of one listener, upstreams and identities."""
    chance, clock = Random(13), ManualClock()
    history = History(clock)
    counters = ListenerCounters()
    parties = [TrafficCounters() for _ in range(MOST_IDENTITIES)]
    upstreams = [TrafficCounters() for _ in range(MOST_UPSTREAMS)]
    for _ in range(7300 // 40):
        for each in (counters, *parties, *upstreams):
            each.requests = {name: each.requests.get(name, 0) + chance.randrange(3000) for name in ("2xx", "4xx")}
            each.exchange_seconds.counts = [n + chance.randrange(900) for n in each.exchange_seconds.counts]
            each.bytes_in += chance.randrange(10**7)
            each.bytes_out += chance.randrange(10**8)
            each.connections_active = chance.randrange(1000)
        whole = snapshot(counters, *(replace(upstream(f"s:{n}"), traffic=each) for n, each in enumerate(upstreams)))
        records = tuple(PartyRecord(str(number), "", 1, each) for number, each in enumerate(parties))
        whole = replace(whole, listeners=(replace(whole.listeners[0], parties=records),))
        clock.advance(timedelta(seconds=40))
        history.observe([whole])
    assert 100_000 < history.bytes_kept < 1_000_000
