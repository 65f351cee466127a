"""The charts of the past: what is asked for, what is drawn, and what a sidecar that talks nonsense does to them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ui_bench import bench
from ui_world import HOSTILE, NOW, degraded, healthy, stamp

from tui.lines import ASCII_GLYPHS
from tui.model import Model
from tui.pages.traffic import traffic_page
from tui.past import ALL, SPANS, Axis, By, Whose, a_second, choices, span_named, step_seconds
from tui.plan import Ask, Interest, asks
from tui.records import Json, Past, decoded
from tui.sheet import Look
from tui.tabs import TRAFFIC
from tui.text import SafeText, ascii_only


def model(reply: Json | None = None, span: int = 1) -> Model:
    world, known = degraded(), Model(SafeText("x"))
    known.take_status(world.document("status"), 1.0, NOW, 0.0)
    told = world.past(SPANS[span].span_s, SPANS[span].step_s) if reply is None else reply
    known.take_past(told, SPANS[span], 1.0)
    return known


def page(known: Model, width: int = 79, height: int = 20, span: str = "15 min", whose: Whose = ALL, **more: Any) -> str:
    sheet = traffic_page(known.snapshot(1.0), Look(NOW, width, height, **more), span, whose)
    assert max(line.width for line in sheet.lines) <= max(width, 20)
    return "\n".join(line.plain for line in sheet.lines)


def test_each_figure_says_what_it_measures_in_which_unit() -> None:
    shown = page(model())
    for words in ("requests/s", "5xx 14.5", "failures/s", "failed 14.5", "bytes/s", "p50 9.0ms", "p99 15ms"):
        assert words in shown
    assert "request p50 36ms p95 210ms p99 570ms" in shown
    assert shown.count("23:15:00Z") == 3  # in the head, and under each column


def test_reloads_and_problems_are_marked_where_they_were() -> None:
    shown = page(model())
    axis = next(row for row in shown.splitlines() if "!" in row and "└" in row)
    marks = [axis.index(letter) for letter in "!R"]
    assert marks == sorted(marks)
    assert "R 23:06:40Z reload refused (signal)" in shown
    assert "! 23:11:00Z critical: no upstream ans" in shown


def test_eighty_columns_and_twenty_rows_hold_every_chart() -> None:
    assert len(page(model()).splitlines()) <= 20


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (76, 20), (119, 36), (199, 46), (400, 120)])
@pytest.mark.parametrize("span", [span.name for span in SPANS])
def test_every_size_is_filled_and_none_overflows(size: tuple[int, int], span: str) -> None:
    known = model(span=[each.name for each in SPANS].index(SafeText(span)))
    shown = page(known, *size, span=span)
    assert max(map(len, shown.splitlines())) >= size[0] - 3


def test_ascii() -> None:
    shown = ascii_only(SafeText(page(model(), glyphs=ASCII_GLYPHS)))
    assert "?" not in shown


def test_one_listener() -> None:
    known = model()
    assert "listener payments" in page(known, whose=Whose(key="payments"))
    assert "failed 0.0" in page(known, whose=Whose(key="payments"))
    assert "failed 10.9" in page(known, whose=Whose(key="web"))


def test_without_requests_there_are_no_charts_of_them() -> None:
    reply = degraded().past(900, 10)
    for series in (reply["total"], *reply["listeners"]):
        series["requests"] = {}
    shown = page(model(reply))
    assert "request" not in shown
    assert "connections/s" in shown


def test_only_the_time_since_the_sidecar_began() -> None:
    world = healthy()
    world.status["uptime_s"] = 300
    known = Model(SafeText("x"))
    known.take_status(world.document("status"), 1.0, NOW, 0.0)
    assert known.span("").name == "15 min"
    known.take_past(world.past(900, 10), known.span(""), 1.0)
    shown = page(known, span="")
    assert "since 23:10:00Z" in shown
    assert "no reload and no problem in this time" not in shown


@pytest.mark.parametrize(
    ("uptime_s", "name", "expected"),
    [(0, "", "1 min"), (61, "", "15 min"), (901, "", "2 h"), (1e9, "", "2 h"), (5, "2 h", "2 h"), (5, "?", "2 h")],
)
def test_the_span_is_the_shortest_that_holds_all_there_is(uptime_s: float, name: str, expected: str) -> None:
    assert span_named(name, uptime_s).name == expected


def test_rates_go_by_what_is_counted_of_a_step() -> None:
    reply = degraded().past(900, 10)
    reply |= {"since": stamp(NOW - timedelta(seconds=895)), "until": stamp(NOW - timedelta(seconds=2))}
    past = decoded(Past, reply)
    seconds = step_seconds(past)
    assert (seconds[0], seconds[1], seconds[-1]) == (5.0, 10.0, 8.0)
    assert a_second([10, 10], [5.0, 0.0]) == [2.0, None]


def test_a_column_shows_the_highest_of_what_it_covers() -> None:
    past = decoded(Past, degraded().past(900, 10))
    axis = Axis.until(NOW, 900, 45)  # two steps each
    values = [float(number) for number in range(90)]
    assert axis.spread(values, past) == [float(number) for number in range(1, 90, 2)]
    assert Axis.until(NOW, 900, 180).spread(values, past)[:4] == [0.0, 0.0, 1.0, 1.0]


def test_it_is_asked_for_as_often_as_there_is_something_new() -> None:
    known = model(span=2)

    def asked(monotonic: float, span: str) -> bool:
        return Ask.HISTORY in list(asks(Interest(needs=TRAFFIC.needs, span=span), known, monotonic))

    assert not asked(20.9, "2 h")
    assert asked(21.0, "2 h")
    assert asked(1.0, "1 min")


def test_an_older_sidecar_has_no_history() -> None:
    known = model()
    known.pasts.clear()
    known.troubles["history"] = SafeText("there is no such path")
    assert "no history: there is no such path" in page(known)


def test_hostile_names_are_shown_and_obeyed_by_nobody() -> None:
    for text in HOSTILE:
        reply = degraded().past(900, 10, upstream="*", identity="*")
        for kept, series in (("kept_upstreams", "upstreams"), ("kept_identities", "identities")):
            reply[kept][0] |= {"key": text, "name": text}
            reply[series][0] |= {"key": text, "name": text}
        for by in (By.UPSTREAM, By.IDENTITY):
            (key, _), *_ = choices(decoded(Past, reply), by)
            assert page(model(reply), whose=Whose(by, key)).replace("\n", "").isprintable()
        reply["listeners"][0]["name"] = text
        for mark in reply["marks"]:
            mark |= {"name": text, "subject": text, "message": text, "kind": text}
        for series in (reply["total"], *reply["listeners"]):
            series["failures"] = {text: series["failures"]["upstream_refused"]}
        name = decoded(Past, reply).listeners[0].name
        assert page(model(reply), whose=Whose(key=name)).replace("\n", "").isprintable()


_numbers = st.lists(st.none() | st.integers() | st.floats() | st.text(max_size=3), max_size=5)
_times = st.none() | st.sampled_from(
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", stamp(NOW), stamp(NOW - timedelta(minutes=3)), "soon"]
)


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("since", "until", "first_at"), _times)
        | {"step_s": st.integers(-5, 2**70), "steps": st.integers(-5, 2**70)}
        | {"marks": st.lists(st.fixed_dictionaries({"at": _times}), max_size=3)}
        | {"total": st.dictionaries(st.sampled_from(sorted(degraded().past(60, 1)["total"])), _numbers, max_size=9)}
    ),
    st.booleans(),
)
def test_nonsense_is_survived(nonsense: dict[str, Any], keep_times: bool) -> None:
    reply = degraded().past(900, 10)
    kept = ("since", "until", "first_at", "step_s") if keep_times else ()
    page(model({**nonsense, **{name: reply[name] for name in kept}}))


async def test_the_keys_choose_the_span_and_the_listener(tmp_path: Path) -> None:
    async with bench(tmp_path, healthy()) as desk:
        await desk.press("7")
        await desk.second()
        assert "Last 2 h  all listeners" in desk.text
        for key, words in (
            ("t", "Last 1 min"),
            ("t", "Last 15 min"),
            ("T", "Last 1 min"),
            ("l", "listener web"),
            ("l", "listener payments"),
            ("l", "all listeners"),
            ("L", "listener payments"),
            ("b", "all upstreams"),
            ("l", "upstream 127.0.0.1:8080"),
            ("b", "all identities"),
            ("l", "identity spiffe://"),
            ("l", "identity backup"),
            ("l", "identity all others"),
            ("l", "all identities"),
            ("B", "all upstreams"),
        ):
            await desk.press(key)
            await desk.second()
            assert words in desk.text
