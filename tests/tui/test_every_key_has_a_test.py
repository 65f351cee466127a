"""A key that no test presses fails here: the bindings of every screen and widget, held against what the tests press."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from textual.binding import Binding

from tui.app import Console
from tui.screens.base import ConsoleScreen
from tui.screens.choice import Field, Question, Window
from tui.screens.detail import DetailScreen
from tui.screens.fleet import FleetRows, FleetScreen
from tui.screens.main import MainScreen
from tui.tabs import TABS
from tui.widgets.rows import Rows

OWNERS = (Console, ConsoleScreen, MainScreen, DetailScreen, FleetScreen, Field, Window, Question, Rows, FleetRows)
TESTS = Path(__file__).parent


@cache
def pressed() -> set[str]:
    """Every text that stands in a call of ``press`` or is a parameter of a test that presses."""
    found: set[str] = set()
    for path in TESTS.glob("test_*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and _presses(function):
                found |= {node.value for node in ast.walk(function) if _is_text(node)}  # type: ignore[attr-defined]
    return found


def _presses(function: ast.AST) -> bool:
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}
    return bool(names & {"press", "look"})


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def bindings() -> Iterator[tuple[str, str, str]]:
    for owner in OWNERS:
        for binding in owner.__dict__.get("BINDINGS", ()):
            assert isinstance(binding, Binding)
            yield owner.__name__, binding.action, binding.key


@pytest.mark.parametrize(("owner", "action", "keys"), list(bindings()))
def test_a_binding_is_pressed_somewhere(owner: str, action: str, keys: str) -> None:
    assert set(keys.split(",")) & pressed(), f"{owner}: {action}"


def test_a_tabs_own_keys_are_pressed_somewhere() -> None:
    shown = {key for tab in TABS for _, _, key in tab.hints}
    assert shown <= pressed()
