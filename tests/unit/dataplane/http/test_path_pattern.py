"""Path patterns: what they match, and which of them match all that another one does."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.dataplane.http.patterns import PATTERNS

from tlsidecar.dataplane.http import readings
from tlsidecar.dataplane.http.path_pattern import PathPattern, PatternTree


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/a", [b"/a"], [b"/a/", b"/A", b"/ab", b"/"]),
        ("/a/*", [b"/a/b"], [b"/a/", b"/a", b"/a/b/c"]),
        ("/a/b*d", [b"/a/bd", b"/a/bcd"], [b"/a/b", b"/a/bdx"]),
        ("/a/**", [b"/a", b"/a/", b"/a/b/c"], [b"/ab", b"/b/a"]),
        ("/**/z", [b"/z", b"/a/b/z"], [b"/z/a", b"/"]),
        ("/a/**/z", [b"/a/z", b"/a/b/c/z"], [b"/a", b"/z"]),
    ],
)
def test_patterns(pattern: str, matching: list[bytes], others: list[bytes]) -> None:
    compiled = PathPattern.parse(pattern)
    split = readings.PLAIN.segments
    assert [path for path in matching + others if compiled.matches(split(path.decode()))] == matching


@pytest.mark.parametrize("text", ["a", "", "/é", "/a?b", "/a#b", "/a//b", "/../a", "/%61", "/**/**", "/a*b*c", "/%2f"])
def test_a_pattern_that_no_path_can_match_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"path|segment|pattern"):
        PathPattern.parse(text)


@given(st.lists(PATTERNS, min_size=2, max_size=12))
def test_the_tree_finds_all_that_cover_one_and_no_other(texts: list[str]) -> None:
    *before, last = [PathPattern.parse(text) for text in texts]
    tree = PatternTree()
    for number, pattern in enumerate(before):
        tree.add(pattern, number)
    assert tree.covering(last) == [number for number, pattern in enumerate(before) if pattern.covers(last)]


def test_the_tree_compares_with_those_alone_that_begin_alike() -> None:
    tree = PatternTree()
    for number in range(200):
        tree.add(PathPattern.parse(f"/api/thing{number}/**"), number)
    with mock.patch.object(PathPattern, "covers", autospec=True, side_effect=PathPattern.covers) as compared:
        assert tree.covering(PathPattern.parse("/api/thing7/*/keys")) == [7]
    assert compared.call_count == 1
