"""The locks: one resolution, complete, by hash, and free of where anything was fetched from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

_ENTRY = re.compile(
    r"(?P<requirement>[^\s#\\][^\\\n]*?) ?\\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)


def read_lock(name: str) -> dict[str, tuple[Requirement, frozenset[str]]]:
    """Each package with its pin and its hashes."""
    text = (ROOT / "locks" / name).read_text()
    found = {}
    for entry in _ENTRY.finditer(text):
        requirement = Requirement(entry["requirement"])
        found[canonicalize_name(requirement.name)] = (
            requirement,
            frozenset(re.findall(r"sha256:\w+", entry["hashes"])),
        )
    rest = _ENTRY.sub("", text)
    assert [line for line in rest.splitlines() if line and not line.startswith("#")] == [], "a line without a hash"
    return found


@pytest.mark.parametrize("name", ["dev.txt", "image.txt", "build.txt", "manifests.txt"])
def test_every_package_has_one_version_and_its_hashes(name: str) -> None:
    lock = read_lock(name)
    assert lock
    for requirement, hashes in lock.values():
        assert [specifier.operator for specifier in requirement.specifier] == ["=="]
        assert hashes


@pytest.mark.parametrize("name", ["dev.txt", "image.txt", "build.txt"])
def test_no_lock_says_where_it_was_fetched_from(name: str) -> None:
    text = (ROOT / "locks" / name).read_text()
    assert not re.search(r"https?:|file:|^-|--(index|extra-index|find-links|trusted-host)", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["image.txt", "build.txt"])
def test_every_lock_is_a_part_of_the_one_for_development(name: str) -> None:
    dev, part = read_lock("dev.txt"), read_lock(name)
    assert set(part) < set(dev)
    for package, (requirement, hashes) in part.items():
        assert (requirement.specifier, hashes) == (dev[package][0].specifier, dev[package][1]), package


def test_every_requirement_of_the_project_is_locked_within_its_bounds() -> None:
    project = PROJECT["project"]
    runtime, extras = project["dependencies"], project["optional-dependencies"]
    everything = [*runtime, *extras["fast"], *extras["ui"], *PROJECT["dependency-groups"]["dev"]]
    sources = [line for line in (ROOT / "locks/build.in").read_text().splitlines() if not line.startswith("#")]
    build = [*PROJECT["build-system"]["requires"], *sources]
    for wanted, name in ((everything, "dev.txt"), (runtime, "image.txt"), (build, "build.txt")):
        lock = read_lock(name)
        for text in wanted:
            requirement = Requirement(text)
            (pin,) = lock[canonicalize_name(requirement.name)][0].specifier
            assert requirement.specifier.contains(Version(pin.version)), f"{text} is not what {name} has: make lock"


def test_what_the_image_gets_has_no_extras_and_no_tools() -> None:
    not_there = {"textual", "rich", "uvloop", "pytest", "ruff", "hatchling", "pip", "setuptools"}
    assert not not_there & set(read_lock("image.txt"))
