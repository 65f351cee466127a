"""Path patterns of a few short segments, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from tlsidecar.dataplane.http.path_pattern import PathPattern


def _is_pattern(text: str) -> bool:
    try:
        PathPattern.parse(text)
    except ValueError:
        return False
    return True


PATTERNS = (
    st.lists(st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "**", ""]), min_size=1, max_size=4)
    .map(lambda parts: "/" + "/".join(parts))
    .filter(_is_pattern)
)
