"""What the linters cannot say of our packages: no import cycle, no task that nobody owns, no dataclass of tlsidecar's
whose methods are made before anybody wants them, no scenario that looks only once at what comes a moment later.

A cycle counts inside every package, between modules and between the rooms (sub-packages) that hold them; imports inside
functions and under ``TYPE_CHECKING`` count like any other. A package's ``__init__`` is the module that is imported by
the package's name. ``[tool.house] known_arrows`` in pyproject.toml lists arrows ("importer -> imported") that are known
to close a cycle and are to go; one that closes none any more is an error, too.

A task belongs to a ``TaskGroup``, and those are called ``tasks`` or ``group`` here, or to a ``Background``:
``create_task`` of anything else (a loop's, asyncio's own) is refused, whatever the way to it.

A dataclass of ``tlsidecar`` is one of ``tlsidecar/lazy_dataclass.py``, which says why.

A sidecar counts and records what a client has seen the end of a moment later, in its own time: a scenario waits for a
metric with ``Sidecar.counts`` and for a refusal with ``Sidecar.refusal`` or ``newest_refusal``.

    python tools/house.py        prints what is wrong, and exits with 1 when something is
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("certs", "tlsidecar", "tui")
SCENARIOS = Path("tests/scenarios")
TASK_GROUPS = ("tasks", "group")
OWNER_OF_TASKS = Path("tlsidecar/background.py")
OWNER_OF_DATACLASSES = Path("tlsidecar/lazy_dataclass.py")

Arrows = dict[str, set[str]]


def modules_in(root: Path, packages: Iterable[str]) -> dict[str, Path]:
    """Every module of the packages, by its dotted name."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows_between(modules: Mapping[str, Path]) -> Arrows:
    """Which of the modules each of them imports, anywhere in it."""
    return {name: set(_imported(name, path, modules)) - {name} for name, path in modules.items()}


def _imported(name: str, path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in modules:
                    yield inner
                elif base in modules:
                    yield base


def rooms_of(arrows: Arrows, package: str) -> dict[str, dict[str, tuple[str, str]]]:
    """The arrows between the direct members of ``package``, each with one pair of modules that draws it. The package's
    own ``__init__`` is its front, and no room."""
    rooms: dict[str, dict[str, tuple[str, str]]] = {}
    for importer, imported in arrows.items():
        one = _room(importer, package)
        for other_module in imported:
            other = _room(other_module, package)
            if one and other and one != other:
                rooms.setdefault(one, {}).setdefault(other, (importer, other_module))
    return rooms


def _room(module: str, package: str) -> str:
    prefix = f"{package}." if package else ""
    if not module.startswith(prefix) or module == package:
        return ""
    return prefix + module[len(prefix) :].partition(".")[0]


def cycles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """A way round for each set of names that lead to one another."""
    found: list[list[str]] = []
    done: set[str] = set()
    for start in sorted(arrows):
        if start not in done:
            way = _way_round(start, arrows)
            if way:
                found.append(way)
                done.update(way)
    return found


def _way_round(start: str, arrows: Mapping[str, Iterable[str]]) -> list[str]:
    """The shortest way from ``start`` back to it; empty when there is none."""
    came_from: dict[str, str] = {}
    ahead = [start]
    for name in ahead:
        for following in sorted(arrows.get(name, ())):
            if following == start:
                way = [name]
                while way[-1] != start:
                    way.append(came_from[way[-1]])
                return way[::-1]
            if following not in came_from:
                came_from[following] = name
                ahead.append(following)
    return []


def import_problems(modules: Mapping[str, Path], known: Iterable[str] = ()) -> list[str]:
    """Each cycle as a sentence, and each known arrow that closes none."""
    arrows = arrows_between(modules)
    left = {name: set(imported) for name, imported in arrows.items()}
    for arrow in known:
        importer, _, imported = arrow.partition(" -> ")
        left.get(importer, set()).discard(imported)
    problems = _cycle_problems(modules, left)
    for arrow in known:
        importer, _, imported = arrow.partition(" -> ")
        if imported not in arrows.get(importer, ()):
            problems.append(f"known arrow {arrow}: there is no such import any more")
            continue
        left[importer].add(imported)
        if not _cycle_problems(modules, left):
            problems.append(f"known arrow {arrow}: it closes no cycle any more")
        left[importer].discard(imported)
    return problems


def _cycle_problems(modules: Mapping[str, Path], arrows: Arrows) -> list[str]:
    problems = [f"import cycle: {' -> '.join([*way, way[0]])}" for way in cycles(arrows)]
    packages = {name for name, path in modules.items() if path.name == "__init__.py"}
    for package in sorted(packages):
        rooms = rooms_of(arrows, package)
        for way in cycles(rooms):
            steps = [rooms[one][other] for one, other in zip(way, [*way[1:], way[0]], strict=True)]
            problems.append(f"cycle between rooms of {package}: " + ", ".join(f"{a} -> {b}" for a, b in steps))
    return problems


def unowned_tasks(path: Path) -> list[int]:
    """The lines that make a task which no TaskGroup owns."""
    lines = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if not isinstance(node, ast.Attribute) or node.attr not in ("create_task", "ensure_future"):
            continue
        owner = node.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        if node.attr == "ensure_future" or name.strip("_") not in TASK_GROUPS:
            lines.append(node.lineno)
    return lines


def eager_dataclasses(path: Path) -> list[int]:
    """The lines that name the standard library's decorator."""
    lines = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses":
            lines += [node.lineno for each in node.names if each.name == "dataclass"]
        elif isinstance(node, ast.Attribute) and node.attr == "dataclass":
            lines.append(node.lineno)
    return lines


def hasty_looks(path: Path) -> list[int]:
    """The lines of a scenario that hold a metric, or the newest refusal, once against what it should be. What stands in
    a function within a test is asked again and again; what should stay at nothing cannot be waited for."""
    lines = []
    outer = [node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)]
    for node in _but_for_inner(outer):
        if isinstance(node, ast.Subscript) and _calls(node.value, "refusals"):
            lines.append(node.lineno)
        elif isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
            compared = [node.test.left, *node.test.comparators]
            is_equal = all(isinstance(operator, ast.Eq) for operator in node.test.ops)
            nothing = any(isinstance(each, ast.Constant) and each.value == 0 for each in compared)
            if is_equal and not nothing and any(_calls(each, "metric") for each in compared):
                lines.append(node.lineno)
    return lines


def _but_for_inner(ahead: list[ast.FunctionDef]) -> Iterator[ast.AST]:
    """What stands in these functions, but not in those within them."""
    nodes: list[ast.AST] = list(ahead)
    for node in nodes:
        inner = ast.iter_child_nodes(node)
        nodes += [each for each in inner if not isinstance(each, ast.FunctionDef | ast.Lambda)]
    yield from nodes


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name


def main() -> int:
    """Print what is wrong; 1 when something is."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text()).get("tool", {}).get("house", {})
    modules = modules_in(ROOT, PACKAGES)
    problems = import_problems(modules, known.get("known_arrows", ()))
    for path in modules.values():
        place = path.relative_to(ROOT)
        if place != OWNER_OF_TASKS:
            problems += [f"{place}:{line}: a task that nobody owns" for line in unowned_tasks(path)]
        if place.parts[0] == "tlsidecar" and place != OWNER_OF_DATACLASSES:
            lines = eager_dataclasses(path)
            problems += [f"{place}:{line}: take dataclass from tlsidecar.lazy_dataclass" for line in lines]
    for path in sorted((ROOT / SCENARIOS).glob("*.py")):
        problems += [f"{path.relative_to(ROOT)}:{line}: looks once: wait for it" for line in hasty_looks(path)]
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
