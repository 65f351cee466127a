"""Changes over their rate, denials that would fill the log, and what a browser sends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from unit.certs import forge

from tlsidecar.admin.access import Access
from tlsidecar.admin.guard import (
    CHANGES_AT_ONCE,
    TURNED_AWAY_LOGGED_AT_ONCE,
    ChangeGuard,
    MutationOutcome,
    TokenBucket,
    check_origin,
)
from tlsidecar.admin.messages import AdminRequest, ApiError, Reply
from tlsidecar.observe.audit import AuditLog, Caller

HOSTS = frozenset({"localhost"})


def request(headers: Mapping[str, str] | None = None, access: Access = Access.CONTROL) -> AdminRequest:
    return AdminRequest("POST", "/v1/reload", {}, headers or {}, b"", Caller(1000, 1000, 17), access)


def audited(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [getattr(record, "fields", {}) for record in caplog.records]


def test_a_bucket_gives_its_burst_then_its_rate() -> None:
    clock = forge.ManualClock()
    bucket = TokenBucket(rate=2.0, burst=3, clock=clock)
    assert [bucket.take() for _ in range(5)] == [0.0, 0.0, 0.0, 0.5, 0.5]
    clock.advance(timedelta(seconds=0.25))
    assert bucket.take() == pytest.approx(0.25)
    clock.advance(timedelta(seconds=0.25))
    assert bucket.take() == 0.0
    clock.advance(timedelta(hours=1))
    assert [bool(bucket.take()) for _ in range(4)] == [False, False, False, True]


def test_changes_over_the_rate_are_refused_and_traced(caplog: pytest.LogCaptureFixture) -> None:
    clock = forge.ManualClock()
    guard = ChangeGuard(AuditLog(clock), clock)
    with caplog.at_level(logging.INFO):
        for _ in range(CHANGES_AT_ONCE):
            guard.admit(request())
        with pytest.raises(ApiError) as refused:
            guard.admit(request())
    assert (refused.value.status, refused.value.headers) == (429, (("Retry-After", "1"),))
    (line,) = audited(caplog)
    assert (line["verb"], line["outcome"], line["detail"]) == ("POST /v1/reload", "denied", "over the rate of changes")


def test_a_stranger_who_keeps_trying_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = forge.ManualClock()
    guard = ChangeGuard(AuditLog(clock), clock)
    with caplog.at_level(logging.INFO):
        for _ in range(TURNED_AWAY_LOGGED_AT_ONCE + 5):
            guard.turned_away_at_the_door(Caller(1001), "not a member of the group")
        clock.advance(timedelta(seconds=1))
        guard.turned_away(request(), "view socket")
    lines = audited(caplog)
    assert len(lines) == TURNED_AWAY_LOGGED_AT_ONCE + 1
    assert lines[0]["verb"] == "connect"
    assert lines[-1]["detail"] == "view socket; 5 more denials not logged"


def test_nothing_is_changed_that_leaves_no_trace() -> None:
    class Full(AuditLog):
        writable = property(lambda self: False)  # type: ignore[assignment] # a disk that is full

    clock = forge.ManualClock()
    with pytest.raises(ApiError) as refused:
        ChangeGuard(Full(clock), clock).admit(request())
    assert refused.value.status == 503


@pytest.mark.parametrize(
    ("body", "audited_as", "outcome"),
    [
        (b'{"outcome":"applied"}', "", ("applied", "")),
        (b'{"closed":true}', "c17", ("done", "c17")),
        (b'{"error":{"code":"refused","message":"too many"}}', "", ("refused", "too many")),
    ],
)
def test_the_outcome_of_a_change_is_read_off_its_reply(body: bytes, audited_as: str, outcome: tuple[str, str]) -> None:
    found = MutationOutcome.of(Reply(200, body, audited=audited_as))
    assert (found.word, found.detail) == outcome


@pytest.mark.parametrize(
    ("headers", "access", "hosts", "passes"),
    [
        ({"host": "localhost"}, Access.CONTROL, HOSTS, True),
        ({"host": "LOCALHOST"}, Access.CONTROL, HOSTS, True),
        ({"host": "localhost:9000"}, Access.CONTROL, HOSTS, False),
        ({"host": "localhost:9000"}, Access.PROBE, HOSTS, True),  # a port is in the Host of a scrape over TCP
        ({"host": "[::1]:9000"}, Access.PROBE, frozenset({"[::1]"}), True),
        ({"host": "rebound.example"}, Access.PROBE, HOSTS, False),
        ({"host": "rebound.example"}, Access.PROBE, None, True),
        ({}, Access.CONTROL, HOSTS, False),
        ({"host": "localhost", "origin": "null"}, Access.CONTROL, HOSTS, False),
        ({"host": "localhost", "referer": "http://localhost/"}, Access.CONTROL, HOSTS, False),
        ({"origin": "https://a.example"}, Access.PROBE, None, False),
    ],
)
def test_what_a_browser_was_made_to_send_is_refused(
    headers: dict[str, str], access: Access, hosts: frozenset[str] | None, passes: bool
) -> None:
    if passes:
        check_origin(request(headers, access), hosts)
    else:
        with pytest.raises(ApiError) as refused:
            check_origin(request(headers, access), hosts)
        assert refused.value.status == 403
