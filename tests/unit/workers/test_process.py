"""What one of several workers makes of what is said for all of them."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from unit.control.world import SETTINGS

from tlsidecar.settings import Limits, Settings
from tlsidecar.workers import messages
from tlsidecar.workers.channel import MessageKind, frame, message
from tlsidecar.workers.process import serve, settings_of_one


def limited(**limits: int | None) -> Settings:
    return replace(SETTINGS, listeners=(replace(SETTINGS.listeners[0], limits=Limits(**limits)),))  # type: ignore[arg-type]


def parts(settings: Settings, workers: int, name: str) -> list[int | None]:
    return [getattr(settings_of_one(settings, number, workers).listeners[0].limits, name) for number in range(workers)]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("name", ["max_connections", "max_handshakes", "max_concurrent_requests"])
def test_the_parts_of_a_limit_add_up_to_it_and_differ_by_one_at_most(name: str, workers: int) -> None:
    for limit in (workers, 10, 1000, 1001):
        found = [part for part in parts(limited(**{name: limit}), workers, name) if part is not None]
        assert sum(found) == limit
        assert max(found) - min(found) <= 1


def test_a_limit_below_the_number_of_workers_leaves_each_something_but_no_more_connections_than_said() -> None:
    assert parts(limited(max_connections=2), 3, "max_connections") == [1, 1, 0]
    assert parts(limited(max_handshakes=2), 3, "max_handshakes") == [1, 1, 1]
    assert parts(limited(max_concurrent_requests=2), 3, "max_concurrent_requests") == [1, 1, 1]


def test_what_is_not_limited_stays_so_and_nothing_else_changes() -> None:
    settings = limited(max_connections=None, max_handshakes=None, max_concurrent_requests=None, max_header_fields=9)
    assert settings_of_one(settings, 1, 4) == settings


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", 0),
        (frame(MessageKind.QUESTION, 1, message(messages.START, b"{")), 1),
        (frame(MessageKind.QUESTION, 1, message(messages.APPLY, b"")), 1),
        (frame(MessageKind.ANSWER, 1, b""), 0),
    ],
    ids=["gone", "no start", "another question first", "no question"],
)
def test_a_controller_that_gives_up_before_it_began_is_no_failure_of_ours(sent: bytes, code: int) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)
        assert serve([theirs.detach()], None) == code
