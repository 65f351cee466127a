"""Rules that keep peers' text from the terminal and the layers apart, checked on the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tui"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Widgets of the toolkit that parse markup in what they are given.
_MARKUP_WIDGETS = {"Static", "Label", "Button", "Tab", "TabPane", "Option", "OptionList", "DataTable", "Tree", "Log"}
_MAY_READ_RAW = {"records.py", "model.py", "once.py", "export.py", "events.py", "app.py"}


@cache  # once for all tests; and Python 3.11 fails to, once in a while, where other threads run (gh-106905)
def _trees() -> Sequence[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(), str(path))) for path in SOURCES]


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            yield function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", ""), node


def test_no_widget_that_parses_markup_is_used() -> None:
    used = [
        f"{path.name}:{call.lineno} {name}"
        for path, tree in _trees()
        for name, call in _calls(tree)
        if name in _MARKUP_WIDGETS
    ]
    assert used == []


def test_every_toast_switches_markup_off() -> None:
    toasts = [(path, call) for path, tree in _trees() for name, call in _calls(tree) if name == "notify"]
    assert len(toasts) == 1
    for path, call in toasts:
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        markup = options.get("markup")
        assert isinstance(markup, ast.Constant), f"{path.name}:{call.lineno}"
        assert markup.value is False


@pytest.mark.parametrize("name", ["from_markup", "markup", "border_title", "border_subtitle", "sub_title"])
def test_nothing_makes_or_sets_markup(name: str) -> None:
    for path, tree in _trees():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Attribute) and node.attr == name), f"{path.name}:{node.lineno}"


def test_rendering_is_by_spans_only() -> None:
    """Only the painter makes segments, and no widget overrides ``render``, whose text would be parsed."""
    for path, tree in _trees():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.FunctionDef) and node.name == "render"), f"{path.name}:{node.lineno}"
        if path.name != "painter.py":
            assert "Segment" not in [name for name, _ in _calls(tree)], path.name


def test_raw_json_is_read_in_few_places_and_never_drawn() -> None:
    for path, tree in _trees():
        if path.parent.name == "screens" or path.name in _MAY_READ_RAW:
            continue
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Attribute) and node.attr == "raw"), f"{path.name}:{node.lineno}"


def test_screens_only_hand_raw_json_on_to_copying_and_saving() -> None:
    for path in (PACKAGE / "screens").glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and function.name != "exported":
                attributes = [node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)]
                assert "raw" not in attributes, f"{path.name}:{function.name}"


def test_only_the_toolkits_own_layer_imports_it() -> None:
    screens = {"base.py", "main.py", "detail.py", "choice.py", "fleet.py", "stack.py"}
    may = {
        "app.py",
        "palette.py",
        "watch.py",
        "drawing.py",
        "painter.py",
        "bar.py",
        "filter_bar.py",
        "rows.py",
        *screens,
    }
    for path, tree in _trees():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.partition(".")[0] for name in names}
            ours = [name for name in names if name.partition(".")[0] in {"tlsidecar", "certs"}]
            assert [name for name in ours if not name.startswith("tlsidecar.api")] == [], path.name
            if path.name not in may:
                assert not roots & {"textual", "rich"}, path.name


def test_the_plain_form_loads_neither_the_toolkit_nor_the_daemon() -> None:
    code = (
        "import sys, tui.cli\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "ours = {name for name in sys.modules if name.startswith('tlsidecar.') and '.api' not in name}\n"
        "ours.discard('tlsidecar.lazy_dataclass')  # the records of the API are made with it\n"
        "print(sorted(ours | roots & {'textual', 'rich', 'certs', 'cryptography', 'OpenSSL', 'pydantic'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
