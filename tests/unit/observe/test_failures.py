"""The failure log: by listener, upstream and reason, with the newest of each."""

from __future__ import annotations

from tlsidecar.observe.failures import FailureLog
from tlsidecar.outcomes import Failure, Reason


def failure(at: float = 1.0, reason: Reason = Reason.UPSTREAM_REFUSED, upstream: str = "a:1", **fields: str) -> Failure:
    return Failure(at, "web", upstream, reason, **fields)  # type: ignore[arg-type] - the tests name only text fields


def test_like_failures_are_counted_together_and_the_newest_group_comes_first() -> None:
    log = FailureLog()
    log.record(failure(1.0, identity="one", detail="first"))
    log.record(failure(2.0, upstream="b:1"))
    log.record(failure(3.0, reason=Reason.UPSTREAM_TIMEOUT))
    log.record(failure(4.0, identity="two", detail="newest"))
    found = [(group.upstream, group.reason, group.count) for group in log.newest()]
    assert found == [("a:1", "upstream_refused", 2), ("a:1", "upstream_timeout", 1), ("b:1", "upstream_refused", 1)]
    newest = log.newest(1)[0]
    assert (newest.first_at, newest.last_at, newest.last_identity, newest.detail) == (1.0, 4.0, "two", "newest")


def test_it_is_bounded_and_counts_on() -> None:
    log = FailureLog(kept_groups=2)
    for number in range(5):
        log.record(failure(upstream=f"u:{number}", detail="x" * 10_000))
    assert [group.upstream for group in log.newest()] == ["u:4", "u:3"]
    assert log.total == 5
    assert len(log.newest()[0].detail) < 1000
