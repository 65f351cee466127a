"""The bytecode of tests with their assertions rewritten, made once by all processes of a run together.

Of a fresh checkout nothing is there yet, and each process of pytest-xdist would rewrite each of the modules, all at the
same time: two thirds of what collecting costs. So each begins with a share of them, and finds the rest made by others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from _pytest.assertion import rewrite

TESTS = Path(__file__).parents[1]


def rewrite_share(config: pytest.Config) -> None:
    """Where this is one of several processes that collect all tests, and may leave bytecode behind."""
    workers = getattr(config, "workerinput", {}).get("workercount", 0)
    if workers and not sys.dont_write_bytecode and any(Path(argument).resolve() == TESTS for argument in config.args):
        number = int(config.workerinput["workerid"].removeprefix("gw"))  # type: ignore[attr-defined]
        largest_first = sorted(TESTS.rglob("test_*.py"), key=lambda path: (path.stat().st_size, path), reverse=True)
        for path in largest_first[number::workers]:
            _rewrite(path, config)


def _rewrite(path: Path, config: pytest.Config) -> None:
    """As pytest's own loader does, which reads it then."""
    place = rewrite.get_cache_dir(path) / f"{path.stem}{rewrite.PYC_TAIL}"
    if rewrite._read_pyc(path, place) is None and rewrite.try_makedirs(place.parent):
        made_of, code = rewrite._rewrite_test(path, config)
        rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, made_of, place)
