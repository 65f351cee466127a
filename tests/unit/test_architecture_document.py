"""What docs/architecture.md names is there: files and folders, the tree at its head, and every name in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text()
PACKAGES = ("certs", "tlsidecar", "tui")
# Where a name without its whole path may be meant.
PLACES = [
    "",
    "tlsidecar",
    "tlsidecar/api",
    "tlsidecar/control/problems",
    "tlsidecar/dataplane",
    "tlsidecar/dataplane/http1",
    "tlsidecar/dataplane/outbound",
]
NAMES = sorted(set(re.findall(r"`([\w/]+(?:\.py|\.toml|/))`", TEXT)))
_DESCRIPTIONS_AT = 29  # the column of the tree's right side
_NOT_OF_THE_CODE = {"make", "check"}


def tree() -> Iterator[str]:
    """The path of each file (without its ending) and folder that the tree at the head draws."""
    above: list[tuple[int, str]] = []
    for line in TEXT.split("```")[1].strip("\n").splitlines():
        indent = len(line) - len(line.lstrip())
        names = line[:_DESCRIPTIONS_AT].split()
        while above and above[-1][0] >= indent:
            above.pop()
        base = above[-1][1] if above else ""
        yield from (f"{base}{name}" for name in names)
        if names and names[0].endswith("/"):
            above.append((indent, f"{base}{names[0]}"))


def in_the_code() -> set[str]:
    """Every module, class, function, parameter, attribute and variable of ours."""
    found: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            found |= {path.stem, path.parent.name}
            for node in ast.walk(ast.parse(path.read_bytes())):
                match node:
                    case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                        found.add(name)
                    case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                        found.add(name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_file_and_folder_is_there(name: str) -> None:
    assert any((ROOT / place / name).exists() for place in PLACES)


@pytest.mark.parametrize("path", tree())
def test_the_tree_is_that_of_the_house(path: str) -> None:
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / f"{path}.py").is_file()


def test_the_tree_draws_every_room() -> None:
    """A package that is new has a place in it."""
    drawn = {path.rstrip("/") for path in tree()}
    rooms = {
        str(path.parent.relative_to(ROOT))
        for package in ("tlsidecar",)
        for path in (ROOT / package).glob("*/__init__.py")
    }
    assert rooms - drawn == {"tlsidecar/demo", "tlsidecar/inject", "tlsidecar/migrate"}  # each beside one command


def test_each_name_is_one_of_the_code() -> None:
    known = in_the_code()
    words = {
        word
        for name in re.findall(r"`([A-Za-z_][\w.]*)(?:\(\))?`", TEXT)
        if not name.endswith((".py", ".toml"))
        for word in name.split(".")
    }
    assert len(words) > 30
    assert {word for word in words if word not in known} - _NOT_OF_THE_CODE == set()


def test_there_are_names_to_look_for() -> None:
    assert len(NAMES) > 30
    assert len(list(tree())) > 40
