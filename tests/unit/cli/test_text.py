"""Text for terminals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.cli.text import duration, remaining, safe_text, say_lines, size, table, time_text

anything = st.text(alphabet=st.characters(exclude_categories=()))


@given(text=anything)
def test_any_text_is_made_printable_and_stays_on_its_line(text: str) -> None:
    shown = safe_text(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")


@given(text=anything)
def test_text_for_a_cell_keeps_to_its_width(text: str) -> None:
    assert len(safe_text(text, 20)) <= 20


def test_plain_text_is_left_as_it_is() -> None:
    assert safe_text("spiffe://prod/ns/a, Größe 3") == "spiffe://prod/ns/a, Größe 3"


@given(rows=st.lists(st.tuples(anything, anything)))
def test_a_table_has_a_line_for_each_row_whatever_is_in_it(rows: list[tuple[str, str]]) -> None:
    assert len(table(("A", "B"), rows).split("\n")) == len(rows) + 1


def test_columns_are_aligned() -> None:
    assert table(("NAME", "COUNT"), [("a", 1), ("longer", 1234)], frozenset({"COUNT"})) == (
        "NAME    COUNT\na           1\nlonger   1234"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**3, "5.0 GiB"), (3 * 1024**5, "3072.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25s"), (12, "12s"), (75, "1m 15s"), (3 * 3600 + 120, "3h 2m"), (200_000, "2d 7h"), (-75, "-1m 15s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_and_what_is_left() -> None:
    now = datetime(2026, 11, 23, 23, 15, tzinfo=UTC)
    later = datetime(2026, 11, 24, 1, 15, 30, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert remaining(later, now) == "in 1h 0m"
    assert remaining(now, later) == "1h 0m ago"
    assert (remaining(None, now), remaining(now, None)) == ("-", "-")
    assert time_text(later) == "2026-11-24T00:15:30Z", "in UTC, and of this second"
    assert time_text(None) == "-"


def test_of_several_lines_each_is_made_safe(capsys: pytest.CaptureFixture[str]) -> None:
    say_lines("one\x1b[31m\n\ntwo\r", err=True)
    assert capsys.readouterr() == ("", "one\\x1b[31m\n\ntwo\\x0d\n")
