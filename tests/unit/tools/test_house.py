"""Import cycles are seen however they are hidden, and so are tasks that nobody owns."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from textwrap import dedent

import pytest

_spec = importlib.util.spec_from_file_location("house", Path(__file__).parents[3] / "tools" / "house.py")
assert _spec is not None
assert _spec.loader is not None
house = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(house)

LATE = "def f():\n    from pack import {}\n"
ONLY_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.{0} import {0}\n"


def write(root: Path, files: dict[str, str]) -> dict[str, Path]:
    for name, text in files.items():
        path = root / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for package in (path.parent, root / "pack"):
            (package / "__init__.py").touch()
        path.write_text(text)
    modules: dict[str, Path] = house.modules_in(root, ["pack"])
    return modules


@pytest.mark.parametrize("back", ["import pack.a\n", "from pack import a\n", "from .a import x\n", "from . import a\n"])
def test_a_cycle_of_two(tmp_path: Path, back: str) -> None:
    modules = write(tmp_path, {"a.py": "from pack.b import y\n", "b.py": back})
    assert "import cycle: pack.a -> pack.b -> pack.a" in house.import_problems(modules)


@pytest.mark.parametrize("hidden", [LATE, ONLY_TYPES])
def test_a_hidden_import_counts(tmp_path: Path, hidden: str) -> None:
    modules = write(tmp_path, {"a.py": hidden.format("b"), "b.py": "import pack.c\n", "c.py": hidden.format("a")})
    assert "import cycle: pack.a -> pack.b -> pack.c -> pack.a" in house.import_problems(modules)


def test_rooms_that_lead_to_each_other_though_no_module_does(tmp_path: Path) -> None:
    files = {"one/a.py": "import pack.two.a\n", "two/a.py": "", "two/b.py": "import pack.one.b\n", "one/b.py": ""}
    problems = house.import_problems(write(tmp_path, files))
    assert problems == ["cycle between rooms of pack: pack.one.a -> pack.two.a, pack.two.b -> pack.one.b"]


def test_a_front_that_gathers_its_own_modules_is_no_cycle(tmp_path: Path) -> None:
    files = {"one/a.py": "from pack.one.b import x\n", "one/b.py": "", "one/__init__.py": "from pack.one.a import y\n"}
    assert house.import_problems(write(tmp_path, files)) == []


def test_a_known_arrow_is_passed_over_until_it_closes_nothing(tmp_path: Path) -> None:
    modules = write(tmp_path, {"a.py": "import pack.b\nimport pack.c\n", "b.py": "import pack.a\n", "c.py": ""})
    assert house.import_problems(modules, ["pack.b -> pack.a"]) == []
    assert house.import_problems(modules, ["pack.b -> pack.a", "pack.a -> pack.c", "pack.c -> pack.a"]) == [
        "known arrow pack.a -> pack.c: it closes no cycle any more",
        "known arrow pack.c -> pack.a: there is no such import any more",
    ]


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("asyncio.create_task(f())", [1]),
        ("asyncio.get_running_loop().create_task(f())", [1]),
        ("self._loop.create_task(f())", [1]),
        ("make = loop.create_task\nmake(f())", [1]),
        ("asyncio.ensure_future(f())", [1]),
        ("tasks.create_task(f())\nself._tasks.create_task(f())\ngroup.create_task(f())", []),
    ],
)
def test_a_task_has_an_owner(tmp_path: Path, code: str, lines: list[int]) -> None:
    path = tmp_path / "module.py"
    path.write_text(dedent(code))
    assert house.unowned_tasks(path) == lines


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("from dataclasses import field, dataclass", [1]),
        ("import dataclasses\n@dataclasses.dataclass(frozen=True)\nclass A: ...", [2]),
        ("from tlsidecar.lazy_dataclass import dataclass\nfrom dataclasses import field, replace", []),
    ],
)
def test_a_dataclass_is_lazy(tmp_path: Path, code: str, lines: list[int]) -> None:
    path = tmp_path / "module.py"
    path.write_text(code)
    assert house.eager_dataclasses(path) == lines


def test_a_scenario_that_looks_once_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(
        dedent("""
        def test_it(sidecar):
            assert sidecar.metric("a", b="c") == 1
            with sidecar:
                assert 2 == other.sidecar.metric("a")
                assert sidecar.refusals()[0]["reason"] == "x"
            assert sidecar.metric("a") == 0
            assert sidecar.metric("a") >= 1
            assert sidecar.refusals() == []
            eventually(lambda: sidecar.metric("a") == 1)

            def look():
                assert sidecar.metric("a") == 1

            eventually(look)
        """)
    )
    assert sorted(house.hasty_looks(path)) == [3, 5, 6]
