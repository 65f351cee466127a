"""The sidecar is asked for no more than the visible view needs."""

from __future__ import annotations

import pytest
from ui_world import healthy, stamp

from tui.model import Model
from tui.plan import MAX_REFUSALS, OVERVIEW_REFUSALS, Ask, Interest, asks
from tui.tabs import CERTIFICATES, CONFIG, CONNECTIONS, EVENTS, OVERVIEW, REFUSALS
from tui.tabs.tab import Tab
from tui.text import SafeText


@pytest.fixture
def model() -> Model:
    """With everything read at the monotonic moment 100."""
    world, model = healthy(), Model(SafeText("admin.sock"))
    model.take_status(world.document("status"), 100.0, world.now, 0.0)
    model.take_certificates(world.document("certificates"), 100.0)
    model.take_refusals({"total": 3, "refusals": world.refusals}, OVERVIEW_REFUSALS, 100.0)
    model.take_lately(world.past(60, 10), 100.0)
    return model


def _asks(view: Tab | None, model: Model, monotonic: float = 101.0, **interest: object) -> list[Ask]:
    return list(asks(Interest(needs=None if view is None else view.needs, **interest), model, monotonic))  # type: ignore[arg-type]


def test_at_first_everything_that_is_shown() -> None:
    world, model = healthy(), Model(SafeText("admin.sock"))
    model.take_status(world.document("status"), 100.0, world.now, 0.0)
    assert _asks(OVERVIEW, model) == [Ask.LATELY, Ask.CERTIFICATES, Ask.REFUSALS]
    assert _asks(CONNECTIONS, model) == [Ask.LATELY, Ask.CERTIFICATES, Ask.CONNECTIONS]
    assert _asks(None, model) == []


def test_the_last_minute_every_five_seconds_whatever_is_shown(model: Model) -> None:
    assert _asks(CONFIG, model, 104.0) == []
    assert _asks(CONFIG, model, 105.0) == [Ask.LATELY]
    assert _asks(CONFIG, model, 105.0, in_background=True) == []
    model.take_lately(None, 105.0)  # an older sidecar does not tell of it
    assert _asks(CONFIG, model, 109.0) == []


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (OVERVIEW, []),
        (CONNECTIONS, [Ask.CONNECTIONS]),
        (CERTIFICATES, []),
        (REFUSALS, []),
        (EVENTS, []),
        (CONFIG, []),
    ],
)
def test_a_second_later_only_what_moves(model: Model, view: Tab, expected: list[Ask]) -> None:
    assert _asks(view, model) == expected
    assert _asks(view, model, paused=True) == []


def test_certificates_every_ten_seconds_where_they_are_visible(model: Model) -> None:
    model.take_lately(None, 110.0)
    assert _asks(CERTIFICATES, model, 110.0) == [Ask.CERTIFICATES]
    assert _asks(OVERVIEW, model, 110.0) == [Ask.CERTIFICATES]
    assert _asks(CONFIG, model, 110.0) == []


def test_certificates_when_the_generation_or_the_problems_change(model: Model) -> None:
    world = healthy()
    world.status["generation"] = 4
    model.take_status(world.document("status"), 101.0, world.now, 0.0)
    assert _asks(CONFIG, model) == [Ask.CERTIFICATES]
    model.take_certificates(world.document("certificates"), 101.0)
    world.status["problems"] = [{"severity": "critical", "code": "reload_refused", "since": stamp(world.now)}]
    model.take_status(world.document("status"), 102.0, world.now, 0.0)
    assert _asks(CONNECTIONS, model, 102.0) == [Ask.CERTIFICATES, Ask.CONNECTIONS]


def test_refusals_when_their_total_changes(model: Model) -> None:
    world = healthy()
    world.refuse()
    model.take_status(world.document("status"), 101.0, world.now, 0.0)
    assert _asks(OVERVIEW, model) == [Ask.REFUSALS]
    assert _asks(REFUSALS, model) == [Ask.REFUSALS]
    assert _asks(CONFIG, model) == []


def test_many_refusals_are_read_less_often(model: Model) -> None:
    world = healthy()
    world.refuse()
    model.take_refusals({"total": 3, "refusals": world.refusals}, MAX_REFUSALS, 100.0)
    model.take_status(world.document("status"), 101.0, world.now, 0.0)
    world.refuse()
    model.take_status(world.document("status"), 101.0, world.now, 0.0)
    assert _asks(REFUSALS, model, 101.0, refusals_limit=MAX_REFUSALS) == []
    assert _asks(REFUSALS, model, 103.0, refusals_limit=MAX_REFUSALS) == [Ask.REFUSALS]


def test_more_refusals_when_the_reader_scrolls_on_and_there_are_more(model: Model) -> None:
    assert _asks(REFUSALS, model, refusals_limit=400) == []
    world = healthy()
    model.take_refusals({"total": 500, "refusals": world.refusals}, OVERVIEW_REFUSALS, 100.0)
    assert _asks(REFUSALS, model, refusals_limit=400) == [Ask.REFUSALS]


def test_one_connection_instead_of_the_table_until_it_is_gone(model: Model) -> None:
    assert _asks(CONNECTIONS, model, connection_id=7) == [Ask.CONNECTION]
    model.take_connection({"connection": {"id": 7}})
    model.take_connection_gone()
    assert _asks(CONNECTIONS, model, connection_id=7) == []
    model.leave_connection()
    assert _asks(CONNECTIONS, model, connection_id=8) == [Ask.CONNECTION]
