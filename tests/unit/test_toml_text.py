"""What is written for a tlsidecar.toml is read from there as it was."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tlsidecar.toml_text import toml

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_SCALARS = st.one_of(_TEXT, st.integers(-(1 << 63), (1 << 63) - 1), st.booleans(), st.floats(-1e9, 1e9))


@given(st.one_of(_SCALARS, st.lists(_SCALARS, max_size=4)))
def test_it_is_read_as_it_was(value: object) -> None:
    text = toml(value)
    assert tomllib.loads(f"value = {text}") == {"value": value}
    assert text.isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\x1b[2J\x7f\x9b\n", r'"a\u001b[2J\u007f\u009b\n"'),
        ("\u202eabc\u200b", r'"\u202eabc\u200b"'),
        ("žluťoučký 日本 🦊", '"žluťoučký 日本 🦊"'),
        ("\U000e0041", r'"\U000e0041"'),  # a tag, which no terminal shows
        (("a", 'b"'), r'["a", "b\""]'),
        (True, "true"),
        ([], "[]"),
    ],
)
def test_what_no_terminal_shows_is_spelled_out(value: object, text: str) -> None:
    assert toml(value) == text
