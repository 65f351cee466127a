"""A flood of events is told as one, and nothing else is lost in it."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta

from tui.floods import TOLD_EACH, Floods
from tui.records import Event, event_of

NOW = datetime(2026, 11, 23, 23, 15, tzinfo=UTC)


def event(seq: int, kind: str, second: float, **fields: object) -> Event:
    at = (NOW + timedelta(seconds=second)).isoformat()
    return event_of(kind, {"seq": seq, "at": at, **fields})


def test_what_comes_now_and_then_is_told_each() -> None:
    log: deque[Event] = deque(maxlen=2000)
    floods = Floods()
    for number in range(TOLD_EACH):
        floods.add(log, event(number + 1, "opened", 0.1 * number, id=number))
        floods.add(log, event(100 + number, "closed", 0.1 * number, id=number))
    assert len(log) == 2 * TOLD_EACH
    floods.add(log, event(50, "opened", 1.0))
    assert [each.seq for each in log][-1] == 50


def test_a_flood_is_a_line_that_counts() -> None:
    log: deque[Event] = deque(maxlen=2000)
    floods = Floods()
    for number in range(500):
        floods.add(log, event(number + 1, "opened", number / 500, listener="raw" if number % 5 else "web"))
        if number == 250:
            floods.add(log, event(9999, "reload", 0.5, outcome="applied"))
    assert [each.kind for each in log].count("opened") == TOLD_EACH + 1
    assert [each.kind for each in log].count("reload") == 1
    gathered = next(each for each in log if "more" in each.summary)
    assert gathered.summary == "495 more in this second: raw 396, web 99"
    for number in range(50_000):
        floods.add(log, event(10_000 + number, "closed", 2 + number / 5000, listener=f"l{number}"))
    assert [each.kind for each in log].count("closed") <= 11 * (TOLD_EACH + 1)


def test_hostile_names_stay_text() -> None:
    log: deque[Event] = deque(maxlen=2000)
    floods = Floods()
    for number in range(20):
        floods.add(log, event(number + 1, "opened", 0.0, listener="\x1b[31m\u202e" + "x" * 500))
    assert all(each.summary.isprintable() for each in log)
    assert max(len(each.summary) for each in log) < 600


def test_without_a_time_there_is_no_flood() -> None:
    log: deque[Event] = deque(maxlen=10)
    floods = Floods()
    for number in range(8):
        floods.add(log, event_of("opened", {"seq": number}))
    assert len(log) == 8
