"""Outages: when they begin, what they cost, and that they end with the first answers."""

from __future__ import annotations

from dataclasses import replace

from unit.control.world import at, snapshot, upstream

from tlsidecar.control.outages import Outage, Outages, served_of
from tlsidecar.dataplane.snapshot import ListenerCounters, latest


class Traffic:
    """One HTTP listener, looked at every second."""

    def __init__(self, protocol: str = "http") -> None:
        self.protocol = protocol
        self.outages = Outages()
        self.counters = ListenerCounters()
        self.second = 0
        self.up = [True]

    def serve(self, good: int = 0, failed: int = 0, reason: str = "") -> Outage | None:
        """One second with so much of each."""
        if self.protocol == "http":
            for code, count in (("2xx", good), ("5xx", failed)):
                self.counters.requests[code] = self.counters.requests.get(code, 0) + count
        else:
            for outcome, count in (("established", good), ("failed", failed)):
                self.counters.connections[outcome] = self.counters.connections.get(outcome, 0) + count
        if reason or self.protocol != "http":
            reason = reason or "upstream_refused"
            self.counters.failures[reason] = self.counters.failures.get(reason, 0) + failed
        self.second += 1
        upstreams = [upstream(f"u:{number}", up=up) for number, up in enumerate(self.up)]
        copied = self.counters.copy()
        self.outages.observe(
            at(self.second), float(self.second), [snapshot(copied, *upstreams, protocol=self.protocol)]
        )
        return next(iter(self.outages.now()), None)


def test_every_upstream_down_is_an_outage_with_what_it_cost_and_ends_when_one_is_up() -> None:
    traffic = Traffic()
    assert traffic.serve(good=100) is None
    traffic.up = [False]
    traffic.serve(failed=4, reason="upstream_refused")
    outage = traffic.serve(failed=5, reason="upstream_refused")
    assert outage is not None
    assert (outage.listener, outage.since, outage.cost, outage.what) == ("web", at(2), 9, "requests")
    assert [each.address for each in outage.upstreams] == ["u:0"]
    traffic.up = [True]
    assert traffic.serve(good=1) is None
    assert traffic.serve(good=1) is None


def test_one_upstream_of_two_down_is_none() -> None:
    traffic = Traffic()
    traffic.up = [False, True]
    assert traffic.serve(good=100) is None


def test_more_than_half_failing_is_an_outage_and_half_is_none() -> None:
    traffic = Traffic()
    traffic.serve()
    assert traffic.serve(good=10, failed=10) is None
    outage = traffic.serve(failed=3)
    assert outage is not None
    assert (outage.failed, outage.served, outage.upstreams, outage.main_reason) == (13, 23, (), "")


def test_it_names_the_reason_that_was_most_frequent() -> None:
    traffic = Traffic()
    traffic.serve()
    traffic.serve(failed=2, reason="upstream_closed")
    outage = traffic.serve(failed=20, reason="upstream_timeout")
    assert outage is not None
    assert outage.main_reason == "upstream_timeout"


def test_answers_that_break_off_or_say_it_in_grpcs_way_have_failed() -> None:
    for name, reason, says_grpc in (("broken_answers", "upstream_closed", False), ("grpc_errors", "", True)):
        traffic = Traffic()
        traffic.serve(good=10)
        setattr(traffic.counters, name, 12)
        if reason:
            traffic.counters.failures[reason] = 12
        outage = traffic.serve(good=12)
        assert outage is not None
        assert (outage.cost, outage.main_reason, outage.says_grpc) == (12, reason, says_grpc)


def test_what_the_service_answers_itself_outweighs_a_few_failures_of_another_kind() -> None:
    traffic = Traffic()
    traffic.serve()
    traffic.serve(failed=2, reason="upstream_reset")
    traffic.counters.requests["5xx"] += 20
    outage = traffic.serve()
    assert outage is not None
    assert (outage.main_reason, outage.says_grpc) == ("", False)


def test_an_accident_is_none() -> None:
    traffic = Traffic()
    traffic.serve()
    assert traffic.serve(failed=2) is None


def test_it_ends_soon_after_the_service_is_back_and_old_failures_do_not_begin_another() -> None:
    traffic = Traffic()
    traffic.serve()
    for _ in range(30):
        outage = traffic.serve(failed=100)
    assert outage is not None
    assert (outage.since, outage.cost) == (at(2), 3000)
    assert any(traffic.serve(good=100) is None for _ in range(6))
    assert traffic.serve(good=100) is None
    assert traffic.serve(good=100, failed=10) is None


def test_a_minute_without_anything_to_fail_ends_it() -> None:
    traffic = Traffic()
    traffic.serve()
    assert traffic.serve(failed=10) is not None
    for _ in range(62):
        outage = traffic.serve()
    assert outage is None


def test_connections_of_a_tcp_listener_are_judged_alike() -> None:
    traffic = Traffic("tcp")
    traffic.serve(good=1)
    outage = traffic.serve(good=2, failed=3)
    assert outage is not None
    assert (outage.what, outage.cost, outage.main_reason) == ("connections", 3, "upstream_refused")


def test_counters_that_went_back_are_another_process() -> None:
    traffic = Traffic()
    traffic.serve(good=1000)
    traffic.counters = ListenerCounters()
    assert traffic.serve(good=1) is None


def test_all_workers_count() -> None:
    outages = Outages()
    for second, failed in ((1, 0), (2, 2)):
        counters = ListenerCounters()
        counters.requests = {"5xx": failed}
        copies = [counters.copy() for _ in range(2)]
        outages.observe(at(second), float(second), [snapshot(each, worker=n) for n, each in enumerate(copies)])
    assert [outage.cost for outage in outages.now()] == [4]


def test_the_worker_that_tried_an_upstream_last_knows_best() -> None:
    outages = Outages()
    down, up = upstream(up=False, tried_at=5.0), upstream(up=True, tried_at=6.0)
    outages.observe(at(1), 1.0, [snapshot(None, down), snapshot(None, up, worker=1)])
    assert outages.now() == []


def test_another_listeners_success_in_another_worker_mends_no_handshake_that_this_one_refuses() -> None:
    refused = replace(upstream(up=False, tried_at=5.0), handshake_at=5.0, handshake_failed=True)
    others = upstream(up=True, tried_at=6.0)  # somebody else was served there
    assert latest(iter([refused, others])) is refused
    ours = replace(others, handshake_at=6.0)
    assert latest(iter([refused, ours])) is ours


def test_an_ambassador_counts_the_remotes_that_it_turned_away_and_others_do_not() -> None:
    """Over TCP nothing else tells of them: whoever asked was the local application, and got nothing."""
    counters = ListenerCounters()
    counters.connections |= {"established": 1, "failed": 2, "refused": 4}
    counters.failures |= {"upstream_refused": 2}
    counters.refusals |= {
        ("verify", "unknown_ca"): 3,
        ("handshake", "protocol_error"): 1,
        ("accept", "max_connections"): 9,
    }
    ambassador = served_of("tcp", counters, originates=True)
    assert (ambassador.served, ambassador.failed) == (7, 6)
    assert ambassador.errors["unknown_ca"] == 3
    assert (served_of("tcp", counters).served, served_of("tcp", counters).failed) == (3, 2)
