"""All keys, to read: those of the list where there is one, those of a replay in a replay, none that changes anything
where that is switched off; whatever the width."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tui.lines import ASCII_GLYPHS, UNICODE_GLYPHS, Glyphs
from tui.pages.fleet import FLEET_COLUMNS
from tui.screens.help import Help
from tui.tabs import TABS
from tui.text import cell_width


def _help(
    columns: int = 100,
    glyphs: Glyphs = UNICODE_GLYPHS,
    *,
    fleet: bool = False,
    read_only: bool = False,
    replay: bool = False,
) -> list[str]:
    class Shown(Help):
        console = SimpleNamespace(glyphs=glyphs)  # type: ignore[assignment]
        app = SimpleNamespace(size=SimpleNamespace(width=columns), update_styles=lambda *_, **__: None)  # type: ignore[assignment]

    page = Shown(fleet, read_only=read_only, replay=replay).page(0)
    return [line.plain.rstrip() for line in page.lines]


def test_the_letters_of_every_column_are_told() -> None:
    text = "\n".join(_help())
    assert "Sidecars" not in text.partition("Sort by a column")[2]
    listed = "\n".join(_help(fleet=True)).partition("Sort by a column")[2]
    assert "Sidecars" in listed
    for columns in (FLEET_COLUMNS, *(tab.columns for tab in TABS)):
        for column in columns:
            if column.letter:
                assert f"{column.letter} {column.label.lower()}" in listed


def test_what_cannot_be_done_is_not_offered() -> None:
    assert "each asks first" in " ".join("\n".join(_help()).split())
    read_only = " ".join("\n".join(_help(read_only=True)).split())
    assert "switched off by --read-only" in read_only
    assert "each asks first" not in read_only


def test_a_replay_begins_with_its_own_keys() -> None:
    assert _help(replay=True)[0] == "Replay"
    assert "Replay" not in _help()


@pytest.mark.parametrize("columns", [1, 30, 80, 200])
def test_it_is_as_wide_as_its_window_at_most(columns: int) -> None:
    lines = _help(columns, ASCII_GLYPHS, fleet=True, replay=True)
    assert max(map(cell_width, lines)) <= max(columns - 6, 72)  # type: ignore[arg-type]
    assert all(line.isprintable() for line in lines)
